"""GUDN, a guide network with label reinforcement (Wang et al., 2022): the names of a text's labels show the way.

    [CLS] text [SEP]                          -> pretrained layers -> [CLS] of the last n layers -> dropout -> Linear
    [CLS] names of its true labels [SEP]      -> the same layers   -> the same                   -> the same Linear
    loss = loss of the text + mean square of the difference of both pooled vectors + loss of the names

A prediction reads the text alone; the names are read in training only. n is 10 of BERT's 12 layers, the pooled vector
the model's own tanh layer over its last [CLS], and the dropout 0.5, as in the authors' code.

Decisions: names follow in the order of the labels' ids, without a separator, and are cut where the model has no more
positions; a document without labels is guided by [CLS] [SEP]. Both readings are rows of one step, so a correlation head
and every execution see them alike. The recipe's loss is that of both; where it sums over labels the square is counted L
times, so that the parts weigh as in the paper, which takes means. Ablations: guide=0, reinforcement=false; both: a
plain classifier. Left out: the label clusters with which the authors reach Wiki-500K.

Shapes: B documents, W positions, D hidden size, n layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmtc.bounds import Count, Natural, NotNegative, Share
from xmtc.data.batch import Batch, Labels
from xmtc.data.vocabulary import Vocabulary
from xmtc.decoders.linear import LinearDecoder
from xmtc.encoders.base import Encoded, Encoder
from xmtc.encoders.label_names import name_pieces
from xmtc.encoders.pretrained import Backbone
from xmtc.encoders.windows import windows
from xmtc.errors import InputError


class GUDN(Encoder):
    """features: (B, n D), in training (2 B, n D) with the names' behind each text's. last_layers: n, null for five
    sixths of the model's layers. guide: weight of the mean square; 0 leaves it out. reinforcement: whether the names'
    reading is classified too. reduction: of the recipe's loss. Cost in training: two texts a document."""

    name_tokens: Tensor
    name_offsets: Tensor

    def __init__(
        self,
        vocabulary: Vocabulary,
        text,
        num_labels: int,
        name: str = "minilm",
        pretrained: bool = True,
        last_layers: Count | None = None,
        guide: NotNegative = 1.0,
        reinforcement: bool = True,
        reduction: Literal["mean", "label_sum"] = "label_sum",
        dropout: Share = 0.5,
        lr_factor: float = 0.05,
        layer_decay: float = 1.0,
        freeze: int | Literal["none", "embeddings", "all"] = "none",
        lora: Natural = 0,
        checkpointing: bool = False,
        attention: str | None = None,
        offline: bool = False,
    ):
        super().__init__()
        self.text, self.vocabulary, self.reinforcement = text, vocabulary, reinforcement
        self.guide = guide * (num_labels if reduction == "label_sum" else 1)
        self.backbone = Backbone(
            vocabulary, name, pretrained, guide > 0, lr_factor, layer_decay, freeze, lora, checkpointing, attention,
            offline,
        )  # fmt: skip
        if self.backbone.pooler is not None:  # new, it would learn nothing but to make the distance small
            raise InputError(f"encoder.name={name}: has no pooler; take a model that has one, or encoder.guide=0")
        layers = self.backbone.model.config.num_hidden_layers
        self.last_layers = max(5 * layers // 6, 1) if last_layers is None else last_layers
        if not 1 <= self.last_layers <= layers:
            raise InputError(f"encoder.last_layers: {name} has {layers} layers, got {last_layers}")
        self.length = self.backbone.room(None, "encoder.text.length")
        self.dropout = nn.Dropout(dropout)
        # no part of the state: whoever trains tells them again, and nobody else reads them
        self.register_buffer("name_tokens", torch.zeros(0, dtype=torch.int64), persistent=False)
        self.register_buffer("name_offsets", torch.zeros(num_labels + 1, dtype=torch.int64), persistent=False)

    def prepare(self, labels: Labels, names: Sequence[str]) -> None:
        """Keeps the word pieces of all names: those of label l from name_offsets[l] on."""
        pieces = name_pieces(names, self.vocabulary.folder / "tokenizer.json")
        device = self.name_offsets.device
        self.name_tokens = torch.tensor([piece for ids in pieces for piece in ids], dtype=torch.int64, device=device)
        self.name_offsets = torch.tensor([0, *map(len, pieces)], device=device).cumsum(0)

    def forward(self, batch: Batch) -> Encoded:
        if len(batch) == 0:
            size = self.last_layers * self.backbone.size
            return Encoded(batch.tokens.new_zeros(0, size, dtype=torch.float32))
        features_BF, pooled_BD = self._read(batch.tokens, batch.lengths)
        if not self.training or not (self.guide or self.reinforcement):
            return Encoded(self.dropout(features_BF))
        names_BF, guiding_BD = self._read(*self.joined_names(batch.labels))
        readings = [features_BF, names_BF] if self.reinforcement else [features_BF]
        rows = self.dropout(torch.stack(readings, 1).flatten(0, 1))
        # the main loss is a mean over rows, the paper's a sum of the two readings' means
        encoded = Encoded(rows, main_weight=float(len(readings)), readings=len(readings))
        if self.guide:
            encoded.auxiliary["guide"] = self.guide * F.mse_loss(pooled_BD.float(), guiding_BD.float())
        return encoded

    def _read(self, tokens_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, n D), the last layer first, and pooled (B, D)."""
        backbone = self.backbone
        lengths_B = lengths_B if self.length is None else lengths_B.clamp(max=self.length)
        read = windows(tokens_BT, lengths_B, backbone.before, backbone.behind, backbone.padding)
        return backbone.firsts(read.ids, read.mask, self.last_layers)

    def joined_names(self, labels: Labels) -> tuple[Tensor, Tensor]:
        """Tokens (B, W) of the names of every document's labels, one name behind the other, and their numbers (B,)."""
        rows, ids = labels.inside(0, len(self.name_offsets) - 1)
        counts_P = self.name_offsets.diff()[ids]
        rows = rows.repeat_interleave(counts_P)
        before_P = counts_P.cumsum(0) - counts_P
        each = torch.arange(len(rows), device=ids.device)
        tokens = self.name_tokens[each + (self.name_offsets[ids] - before_P).repeat_interleave(counts_P)]
        lengths_B = torch.bincount(rows, minlength=len(labels))
        places = each - (lengths_B.cumsum(0) - lengths_B)[rows]
        joined_BW = tokens.new_zeros(len(labels), max(int(lengths_B.max()), 1))
        joined_BW[rows, places] = tokens
        return joined_BW, lengths_B

    def make_decoder(self, num_labels: int) -> LinearDecoder:
        return LinearDecoder(self.last_layers * self.backbone.size, num_labels)
