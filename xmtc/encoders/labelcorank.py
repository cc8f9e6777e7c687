"""LabelCoRank (Yan et al., JAIR 2025): a first prediction, widened by label co-occurrence, re-reads the text.

    text -> pretrained layers -> H (B,T,D), pooled P (B,D)
    S1 = sigmoid(P W2 + b2)                            first loss
    S2 = labels with S1 > alpha; S3 = labels that occur with them in training, until there are gamma
    S = S2 and S3, the most frequent label first       (no gradient through the choice)
    F = label table[S] + position table                (B,gamma,D)
    F^ = W4 ReLU(dropout(W3 F))                        D -> inner -> D
    multi-head attention: queries F^, keys and values H, padding masked; no residual, no norm, no output projection
    flatten (B, gamma D) -> Linear -> logits           second loss; loss = beta L1 + (1 - beta) L2

Built from the paper: the released code cannot run, and its selection is the ablation without the matrix. Decisions
where the paper is silent: co-occurrence is n_ij / n_i of training documents, diagonal 0, kept for the `partners`
strongest of each label; P is the model's own pooler, or a new one, tanh(h_cls W + b), where the model or its weights
have none (roberta-base is published without); inner size 512; dropout 0.3 within the feed-forward layers, on H and on
the attention; Xavier-normal output weights; if no label exceeds alpha, the five most probable stand in; if the labels
that occur with them run out, the most probable others fill up. gamma is at most the number of labels.

Ablations (table 8): selection=top_prob is "w/o correlation matrix", sort=none "w/o label ranking" (S2 by probability,
then S3 by score), positions=false "w/o position information". RoBERTa alone: encoder=transformer
encoder.pooling=pooler. A text is cut to what the model reads at once.

The decoder is gamma D x L: gamma times that of a plain classifier (MAG-CS: 425 M weights); `execution=chunked` takes
it in slices. The first stage scores all labels at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmtc.bounds import Bounds, Count, Natural, Probability, Share
from xmtc.data.batch import Batch, Labels
from xmtc.data.vocabulary import Vocabulary
from xmtc.decoders.linear import LinearDecoder
from xmtc.encoders.base import Encoded, Encoder
from xmtc.encoders.cooccurrence import expand, largest, partners
from xmtc.encoders.losses import binary_cross_entropy
from xmtc.encoders.pretrained import Backbone
from xmtc.encoders.windows import windows
from xmtc.errors import InputError


class LabelCoRank(Encoder):
    """features: (B, gamma D). gamma: labels that re-read the text. alpha: probability above which the first stage
    answers a label. beta: share of the first stage's loss. heads: of the attention, a divisor of D. counts: raw n_ij.
    partners: co-occurring labels kept of each label. reduction: of the first loss, as the recipe's of the second.
    """

    by_label = ("first.weight", "first.bias", "labels.weight")
    of_corpus = ("partners", "values", "frequency_rank")

    def __init__(
        self,
        vocabulary: Vocabulary,
        text,
        num_labels: int,
        name: str = "minilm",
        pretrained: bool = True,
        gamma: Count = 20,
        alpha: Probability = 0.3,
        beta: Annotated[float, Bounds(above=0, below=1)] = 0.25,  # at 0 labels that re-read would be random and stay so
        selection: Literal["cooccurrence", "top_prob"] = "cooccurrence",
        sort: Literal["frequency", "none"] = "frequency",
        positions: bool = True,
        counts: bool = False,
        partners: Count = 100,
        inner: Count = 512,
        heads: Count = 12,
        dropout: Share = 0.3,
        reduction: Literal["mean", "label_sum"] = "label_sum",
        lr_factor: float = 0.05,
        layer_decay: float = 1.0,
        freeze: int | Literal["none", "embeddings", "all"] = "none",
        lora: Natural = 0,
        checkpointing: bool = False,
        attention: str | None = None,
        offline: bool = False,
    ):
        super().__init__()
        self.text, self.num_labels, self.alpha, self.beta = text, num_labels, alpha, beta
        self.gamma, self.reduction, self.counts = min(gamma, num_labels), reduction, counts
        self.selection, self.sort = selection, sort
        self.backbone = Backbone(
            vocabulary, name, pretrained, True, lr_factor, layer_decay, freeze, lora, checkpointing, attention, offline
        )
        D = self.backbone.size
        if D % heads:
            raise InputError(f"encoder.heads={heads} does not divide the model's hidden size {D}")
        self.heads, self.length = heads, self.backbone.room(None, "encoder.text.length")
        self.first = nn.Linear(D, num_labels)
        self.labels = nn.Embedding(num_labels, D)
        self.positions = nn.Parameter(torch.randn(self.gamma, D)) if positions else None
        self.inner, self.outer = nn.Linear(D, inner), nn.Linear(inner, D)
        self.query, self.key, self.value = (nn.Linear(D, D) for _ in range(3))
        self.dropout = nn.Dropout(dropout)
        nn.init.xavier_normal_(self.first.weight)
        width = min(partners, max(num_labels - 1, 1))
        self.register_buffer("partners", torch.zeros(num_labels, width, dtype=torch.int64))
        self.register_buffer("values", torch.zeros(num_labels, width))
        self.register_buffer("frequency_rank", torch.arange(num_labels))

    def prepare(self, labels: Labels, names: Sequence[str]) -> None:
        """Co-occurrence and frequency, of training documents alone."""
        ids, values = partners(labels, self.num_labels, self.partners.shape[1], self.counts)
        self.partners.copy_(ids)
        self.values.copy_(values)
        order = torch.bincount(labels.ids, minlength=self.num_labels).argsort(descending=True, stable=True)
        self.frequency_rank[order] = torch.arange(self.num_labels)

    def forward(self, batch: Batch) -> Encoded:
        if len(batch) == 0:
            return Encoded(self.first.weight.new_zeros(0, self.gamma * self.backbone.size))
        hidden_BTD, mask_BT, first_BL = self._first(batch)
        features = self._read(self.select(first_BL), hidden_BTD, mask_BT)
        encoded = Encoded(features.flatten(1))
        if self.training:
            loss = binary_cross_entropy(first_BL, batch.labels)
            encoded.auxiliary["first"] = self.beta * (loss / self.num_labels if self.reduction == "mean" else loss)
            encoded.main_weight = 1 - self.beta
        return encoded

    def _first(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden states, mask and the first stage's logits (B, L)."""
        backbone = self.backbone
        lengths = batch.lengths if self.length is None else batch.lengths.clamp(max=self.length)
        read = windows(batch.tokens, lengths, backbone.before, backbone.behind, backbone.padding)
        hidden_BTD, pooled_BD = backbone(read.ids, read.mask)
        return hidden_BTD, read.mask, self.first(pooled_BD)

    def select(self, first_BL: Tensor) -> Tensor:
        """(B, gamma) int64: the labels S, in the order in which they re-read the text."""
        # a model that has diverged is told of by its loss, not by an order that does not exist
        probabilities_BL = torch.sigmoid(first_BL.detach()).nan_to_num(0.0)
        if self.selection == "cooccurrence":
            chosen = expand(probabilities_BL, self.partners, self.values, self.gamma, self.alpha)
        else:
            chosen = largest(probabilities_BL, self.gamma)
        if self.sort == "frequency":
            chosen = chosen.gather(1, self.frequency_rank[chosen].argsort(dim=1))
        return chosen

    def propose(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """For case studies: the first stage's logits (B, L) and the labels S (B, gamma)."""
        first_BL = self._first(batch)[2]
        return first_BL, self.select(first_BL)

    def _read(self, chosen_BG: Tensor, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """(B, gamma, D): what each chosen label reads."""
        label_BGD = self.labels(chosen_BG)
        if self.positions is not None:
            label_BGD = label_BGD + self.positions
        label_BGD = self.outer(F.relu(self.dropout(self.inner(label_BGD))))
        hidden_BTD = self.dropout(hidden_BTD)
        parts = (self.query(label_BGD), self.key(hidden_BTD), self.value(hidden_BTD))
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        rate = self.dropout.p if self.training else 0.0
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=mask_BT[:, None, None], dropout_p=rate)
        return read.transpose(1, 2).flatten(2)

    def make_decoder(self, num_labels: int) -> LinearDecoder:
        decoder = LinearDecoder(self.gamma * self.backbone.size, num_labels)
        nn.init.xavier_normal_(decoder.weight)
        return decoder
