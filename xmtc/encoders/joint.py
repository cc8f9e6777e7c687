"""Text and all labels in one input of a pretrained model (LACO, SeqTag): every token sees every label and back.

    [CLS] text [SEP] y_1 ... y_n [SEP]

Each label is one new token with a vector of its own, as wide as the model's word vectors (ELECTRA's are narrower than
its hidden states); the labels stand right behind the text, so their positions depend on its length, as in LACO's code.
Segment 0 for the text and the last [SEP], 1 for the labels, where the model has segments. The text is cut so that all
labels fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from xmtc.data.batch import Batch
from xmtc.encoders.label_names import name_pieces
from xmtc.encoders.pretrained import Backbone
from xmtc.encoders.windows import windows
from xmtc.errors import InputError


@dataclass
class Read:
    """words (B, M, D): hidden states of all positions but the labels, with mask (B, M); labels (B, n, D)."""

    words: Tensor
    mask: Tensor
    labels: Tensor


class JointInput(nn.Module):
    """joint: false reads the text alone, and the labels' vectors are trained as they are (LACO's "w/o JE").

    length: positions of an input, special tokens and labels counted. Cost: attention over length^2 positions.
    """

    def __init__(self, backbone: Backbone, num_labels: int, length: int = 320, joint: bool = True):
        super().__init__()
        self.backbone, self.num_labels, self.joint = backbone, num_labels, joint
        self.end = backbone.behind[-1:] if joint else ()
        special = len(backbone.before) + len(backbone.behind)
        most = backbone.room(None, "encoder.length")
        length = length if most is None else min(length, most + special)
        self.budget = length - special - len(self.end) - (num_labels if joint else 0)
        if self.budget < 1:
            raise InputError(
                f"encoder.length={length}: {num_labels:,} labels do not fit into it beside a text, and every label is "
                f"a token of the input; at most {length - special - len(self.end) - 1} labels, or another encoder"
            )
        # as word vectors they go in, as they are they stand beside hidden states
        width = backbone.model.get_input_embeddings().embedding_dim if joint else backbone.size
        self.vectors = nn.Parameter(torch.empty(num_labels, width))
        spread = getattr(backbone.model.config, "initializer_range", 0.02) or 0.02
        nn.init.normal_(self.vectors, 0, spread)

    @torch.no_grad()
    def start_as(self, names: Sequence[str], definition: Path) -> None:
        """Label vectors start as the mean of the word pieces of their names. definition: see `name_pieces`."""
        table = self.backbone.model.get_input_embeddings().weight
        if table.shape[1] != self.vectors.shape[1]:
            raise InputError(
                f"encoder.label_names: the model's word vectors have {table.shape[1]} numbers and its hidden states"
                f" {self.vectors.shape[1]}; with this model only where encoder.joint=true"
            )
        for label, ids in enumerate(name_pieces(names, definition)):
            if ids:
                self.vectors[label] = table[ids].mean(0)

    def keep(self, folder: Path) -> None:
        self.backbone.keep(folder)

    def forward(self, batch: Batch) -> Read:
        backbone, n = self.backbone, self.num_labels
        lengths = batch.lengths.clamp(max=self.budget)
        read = windows(batch.tokens, lengths, backbone.before, backbone.behind, backbone.padding)
        B = len(batch)
        if not self.joint:
            hidden, _ = backbone(read.ids, read.mask)
            return Read(hidden, read.mask, self.vectors.expand(B, -1, -1))
        extra, text_B = n + len(self.end), read.mask.sum(1)
        width = read.ids.shape[1] + extra
        ids = torch.cat([read.ids, read.ids.new_full((B, extra), backbone.padding)], 1)
        behind_BW = torch.arange(width, device=ids.device) - text_B[:, None]  # position behind the text
        slot_BW = (behind_BW >= 0) & (behind_BW < n)
        if self.end:
            ids = torch.where(behind_BW == n, self.end[0], ids)
        mask_BW = behind_BW < extra
        table = backbone.model.get_input_embeddings()
        embedded = torch.where(slot_BW[:, :, None], self.vectors[behind_BW.clamp(0, n - 1)], table(ids))
        more = {}
        if (getattr(backbone.model.config, "type_vocab_size", 0) or 0) > 1:
            more["token_type_ids"] = slot_BW.long()
        hidden, _ = backbone.embedded(embedded, mask_BW, **more)
        places_BN = text_B[:, None] + torch.arange(n, device=ids.device)
        places_BM = torch.arange(width - n, device=ids.device).expand(B, -1)
        mask_BM = places_BM < text_B[:, None] + len(self.end)
        places_BM = places_BM + n * (places_BM >= text_B[:, None])  # the last [SEP] follows the text
        return Read(_rows(hidden, places_BM), mask_BM, _rows(hidden, places_BN))


def _rows(hidden_BWD: Tensor, places_BM: Tensor) -> Tensor:
    """(B, M, D) positions of each document."""
    return hidden_BWD.gather(1, places_BM[:, :, None].expand(-1, -1, hidden_BWD.shape[2]))
