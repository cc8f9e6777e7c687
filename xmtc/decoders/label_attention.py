"""One attention query a label, one MLP for all labels (AttentionXML, You et al., NeurIPS 2019).

For a label with query q over states h_t:  p = softmax_t(q . h_t),  context = sum_t p_t h_t,  logit = MLP(context).

Decision: the MLP's first layer is linear and the p_t sum to one, so it moves inside the sum,
    W context + b = sum_t p_t (W h_t) + b,
and the contexts (B, l, D) are never built. Same value up to rounding; for AmazonCat-13K (B 200, D 400, m 100) it
spares a tensor of 4.3 GB and its gradient. Cost BTl(2D + 2m) + 2BTDm a call instead of 4BTlD + 2BlDm.

The attention (B, T, l) is the largest tensor; two or three of its size live at the peak of training. A call refuses
when one exceeds `max_attention_gib`: all labels of Wiki-500K at B 200 and T 500 would be 187 GiB; slices of them fit.

The softmax is over time (dim 1), which keeps the scores one plain matrix product and needs no copies.
bf16: the softmax is at least float32, the products in the autocast type.

Shapes: B documents, T tokens, D features, L labels, l labels in the slice, m first hidden layer of the MLP.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmtc.decoders.base import LabelDecoder
from xmtc.decoders.product import rows
from xmtc.errors import InputError


class LabelAttentionDecoder(LabelDecoder):
    """Logits over features (B, T, D) with mask (B, T); every document needs at least one real token.

    mlp: hidden sizes, ReLU after each; a last Linear to one number follows.
    label_bias: adds a bias per label (zero at the start), which `set_prior` needs; the paper has none.
    max_attention_gib: limit of one (B, T, l) float32 tensor, in GiB.
    """

    def __init__(
        self,
        features: int,
        num_labels: int,
        mlp: Sequence[int] = (256,),
        label_bias: bool = False,
        max_attention_gib: float = 64,
    ):
        super().__init__()
        self.num_labels, self.max_attention_gib = num_labels, max_attention_gib
        self.queries = nn.Parameter(torch.empty(num_labels, features))
        nn.init.xavier_uniform_(self.queries)
        sizes = [features, *mlp, 1]
        self.mlp = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False))
        for linear in self.mlp:
            nn.init.xavier_uniform_(linear.weight)
        self.bias = nn.Parameter(torch.zeros(num_labels)) if label_bias else None

    def forward(self, encoded, labels: slice = slice(None)) -> Tensor:
        states_BTD = encoded.features
        queries_lD = rows(self.queries, labels, states_BTD)
        self._check_memory(*states_BTD.shape[:2], len(queries_lD))
        scores_BTl = F.linear(states_BTD, queries_lD).masked_fill_(~encoded.mask[:, :, None], float("-inf"))
        attention_BTl = torch.softmax(scores_BTl, dim=1, dtype=torch.promote_types(scores_BTl.dtype, torch.float32))
        first, *rest = self.mlp
        values_BTm = F.linear(states_BTD, first.weight)
        hidden = attention_BTl.to(values_BTm.dtype).transpose(1, 2) @ values_BTm + first.bias  # (B, l, m)
        for linear in rest:
            hidden = linear(F.relu(hidden))
        logits_Bl = hidden.squeeze(-1)
        return logits_Bl if self.bias is None else logits_Bl + rows(self.bias, labels, logits_Bl)

    def _check_memory(self, documents: int, tokens: int, labels: int) -> None:
        gib = documents * tokens * labels * 4 / 2**30
        if gib > self.max_attention_gib:
            raise InputError(
                f"attention of {documents} documents x {tokens} tokens x {labels} labels needs {gib:.4g} GiB, over "
                f"encoder.max_attention_gib={self.max_attention_gib:g}: score the labels in slices "
                "(execution=chunked), lower the batch size, or raise encoder.max_attention_gib"
            )

    def label_parameters(self) -> dict[str, nn.Parameter]:
        return {"queries": self.queries} | ({} if self.bias is None else {"bias": self.bias})

    def features_shape(self, documents, tokens):
        return documents, tokens, self.queries.shape[1]

    @torch.no_grad()
    def set_prior(self, log_odds: Tensor) -> None:
        if self.bias is None:
            raise InputError("label attention has no bias per label to start at a prior: set encoder.label_bias=true")
        self.bias.copy_(log_odds)
