"""KimCNN (Kim, EMNLP 2014): one convolution a width, ReLU, the maximum over time; LACO's baseline.

    words (B,T,E) -> convolutions of width 3, 4, 5, 100 filters each -> ReLU -> max over time -> dropout -> Linear

Decisions: only windows that lie within a text are read, as if it stood alone (a text shorter than a width is filled up
with zeros), so padding changes nothing. PyTorch's default start of the convolutions; LACO quotes this row from others,
so there is no code to follow.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from xmtc.bounds import Count, Share
from xmtc.data.batch import Batch
from xmtc.data.embedding import WordVectors
from xmtc.data.vocabulary import Vocabulary
from xmtc.decoders.linear import LinearDecoder
from xmtc.encoders.base import Encoded, Encoder
from xmtc.errors import InputError


class KimCNN(Encoder):
    """features: (B, filters x len(widths)). filters: of each width. Cost 2BTE filters sum(widths)."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        text,
        embedding: WordVectors,
        widths: Sequence[Count] = (3, 4, 5),
        filters: Count = 100,
        dropout: Share = 0.5,
    ):
        super().__init__()
        if not widths:
            raise InputError("encoder.widths: expected at least one width")
        self.text = text
        self.embedding = embedding.make(vocabulary)
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding.size, filters, width) for width in widths)
        self.dropout = nn.Dropout(dropout)
        self.size = filters * len(widths)

    def forward(self, batch: Batch) -> Encoded:
        longest = int(batch.lengths.max()) if len(batch) else 0
        inside_BT = torch.arange(longest, device=batch.tokens.device) < batch.lengths[:, None]
        vectors_BET = (self.embedding(batch.tokens[:, :longest]) * inside_BT[:, :, None]).transpose(1, 2)
        maxima = []
        for convolution in self.convolutions:
            width = convolution.kernel_size[0]
            answers = F.relu(convolution(F.pad(vectors_BET, (0, max(width - longest, 0)))))
            starts = torch.arange(answers.shape[2], device=answers.device)
            outside = starts > (batch.lengths[:, None] - width).clamp(min=0)
            # ReLU is at least 0, so a window outside never wins over one inside
            maxima.append(answers.masked_fill(outside[:, None], 0).amax(2))
        return Encoded(self.dropout(torch.cat(maxima, dim=1)))

    def make_decoder(self, num_labels: int) -> LinearDecoder:
        return LinearDecoder(self.size, num_labels)
