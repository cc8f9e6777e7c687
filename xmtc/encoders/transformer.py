"""An encoder of the Hugging Face library that reads text: BERT, MiniLM, RoBERTa, DeBERTa ... (Devlin et al., 2019).

    tokens -> [CLS] tokens [SEP] (in windows, if long) -> pretrained layers -> pooling -> mean over windows -> dropout

Decisions
* `name` is `minilm` (weights from a package, no network), a local folder or a name on the hub; the tokenizer is that
  name's too. Only safetensors are read. A run directory keeps the architecture and its weights: prediction needs
  neither network nor the folder the weights came from.
* Pooling: `cls` the first position; `mean` over all positions that are not padding, special tokens included, as
  sentence-transformers does; `pooler` the model's own tanh layer over the first position (LabelCoRank's classifier), or
  a new one where the model or its weights have none. A pooler that is not used is left out, so that every parameter
  that may move does.
* Documents longer than a window are read in several, `stride` tokens apart; their features are averaged. So no length
  is refused; cost and memory grow with the number of windows.
* `lr_factor` is the learning rate of the pretrained weights in units of the recipe's: the layers above want a hundred
  times more. With `layer_decay` d, layer i of n (1 is the lowest) has lr_factor * d^(n - i) and the embeddings
  lr_factor * d^n.
* Frozen layers and embeddings also drop nothing out. `lora` trains low-rank updates of all linear layers instead
  (Hu et al., ICLR 2022; the package peft); everything else of the model is frozen. The updates are new weights: of
  `lr_factor` and `layer_decay` they take the latter alone.
* Tested with tiny weights: BERT, RoBERTa, DeBERTa 1 and 2, ModernBERT, NomicBERT, DistilBERT, ELECTRA, MobileBERT,
  RemBERT, MPNet, ALBERT, BigBird (in full attention), Longformer (its first position sees every other), XLNet (without
  its segments; its [CLS] is the last position, `cls` the first). ALBERT's layers share their weights: none can be
  frozen alone or have a rate of its own. `checkpointing` is refused where the library has none for a model (MPNet,
  ALBERT, XLNet).

Shapes: B documents, T tokens, N windows, W positions of a window, D hidden size.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from xmtc.bounds import Natural, Share
from xmtc.data.batch import Batch
from xmtc.data.vocabulary import Vocabulary
from xmtc.decoders.linear import LinearDecoder
from xmtc.encoders.base import Encoded, Encoder
from xmtc.encoders.pretrained import Backbone
from xmtc.encoders.windows import windows
from xmtc.errors import InputError


class Transformer(Encoder):
    """features: (B, D), D the model's hidden size.

    pretrained: false starts from random weights in the same architecture. window: tokens of a document read at once,
    null for as many as the model has positions; stride: null for windows that do not overlap. freeze: `embeddings`,
    `all`, or n for the embeddings and the n lowest layers; a new pooler never is frozen. lora: rank of the updates, 0
    for none. attention: null for the fastest that the model has (PyTorch's scaled_dot_product_attention where it can).
    checkpointing: activations of a layer are computed again in the backward pass, about a third more time for memory
    of one layer.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        text,
        name: str = "minilm",
        pretrained: bool = True,
        pooling: Literal["cls", "mean", "pooler"] = "mean",
        dropout: Share = 0.1,
        window: int | None = None,
        stride: int | None = None,
        lr_factor: float = 0.05,
        layer_decay: float = 1.0,
        freeze: int | Literal["none", "embeddings", "all"] = "none",
        lora: Natural = 0,
        checkpointing: bool = False,
        attention: str | None = None,
        offline: bool = False,
    ):
        super().__init__()
        self.text, self.pooling = text, pooling
        self.backbone = Backbone(
            vocabulary, name, pretrained, pooling == "pooler", lr_factor, layer_decay, freeze, lora, checkpointing,
            attention, offline,
        )  # fmt: skip
        self.window = self.backbone.room(window, "encoder.window")
        if stride is not None and not 1 <= stride <= (self.window or stride):
            raise InputError(f"encoder.stride: expected 1 to {self.window} (encoder.window), got {stride}")
        self.stride, self.dropout = stride, nn.Dropout(dropout)

    def forward(self, batch: Batch) -> Encoded:
        if len(batch) == 0:
            return Encoded(batch.tokens.new_zeros(0, self.backbone.size, dtype=torch.float32))
        backbone = self.backbone
        read = windows(
            batch.tokens, batch.lengths, backbone.before, backbone.behind, backbone.padding, self.window, self.stride
        )
        hidden_NWD, pooled_ND = backbone(read.ids, read.mask)
        features_ND = self._pool(hidden_NWD, pooled_ND, read.mask)
        if len(read.documents) > len(batch):
            summed = features_ND.new_zeros(len(batch), backbone.size).index_add(0, read.documents, features_ND)
            features_ND = summed / torch.bincount(read.documents, minlength=len(batch))[:, None]
        return Encoded(self.dropout(features_ND))

    def _pool(self, hidden_NWD: Tensor, pooled_ND: Tensor | None, mask_NW: Tensor) -> Tensor:
        if self.pooling == "pooler":
            return pooled_ND
        if self.pooling == "cls":
            return hidden_NWD[:, 0]
        weights_NW = mask_NW.to(hidden_NWD.dtype)
        return torch.einsum("nwd,nw->nd", hidden_NWD, weights_NW / weights_NW.sum(1, keepdim=True))

    def make_decoder(self, num_labels: int) -> LinearDecoder:
        return LinearDecoder(self.backbone.size, num_labels)
