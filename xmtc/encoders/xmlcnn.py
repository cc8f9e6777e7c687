"""XML-CNN (Liu et al. 2017) in the version of CorNet (Xun et al. 2020) and of its code.

Design
* Words -> vectors -> convolutions of width 2, 4, 8 -> ReLU -> max over 8 equal bins of time -> Linear -> ReLU ->
  dropout.
* Zero padding of width - 1 on both ends: T + width - 1 positions; bins from floor(i T'/8) to ceil((i + 1) T'/8).
* Padding is not masked: the papers convolve over the padded positions of a fixed length of 500. `text.fixed: false`
  cuts to the longest text of the batch in training instead, which changes the bins (so: not for `recipe=paper`);
  evaluation and prediction pad to the longest text of the training part (at most `text.length`).
* `normalise` (not in the papers, `recipe=modern` has it): layer or batch normalisation of the features. Features behind
  a ReLU are all positive, so a step of Adam moves every label's logit the same way; with their mean taken out, two to
  four times the learning rate is stable and one epoch passes what two reached (experiments/LOG.md).

The convolution is computed by distinct word. A convolution over word vectors is, position by position, a sum of `width`
products "weight slice x vector of one word", and a batch of 64 x 500 tokens holds only some thousand distinct words. So
each slice is multiplied with each distinct word once (U x E x 14F) and the positions only gather and add rows. Behind a
max over time the gradient reaches one position per (document, bin, filter): the backward pass adds up those few numbers
per word and needs no dense gradient over positions. Same function as Conv2d + AdaptiveMaxPool1d (tested, value and
gradient), at a fraction of the arithmetic; ties of the maximum go to the first position.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmtc.bounds import Count, Share
from xmtc.data.batch import Batch
from xmtc.data.embedding import WordVectors, rows_once
from xmtc.data.vocabulary import Vocabulary
from xmtc.decoders.linear import LinearDecoder
from xmtc.encoders.base import Encoded, Encoder
from xmtc.encoders.normalise import make_normalisation
from xmtc.errors import InputError


def bins(length: int, count: int) -> list[tuple[int, int]]:
    """The [start, stop) of adaptive max pooling of `length` positions into `count` bins."""
    return [(i * length // count, math.ceil((i + 1) * length / count)) for i in range(count)]


class WordConvolution(torch.autograd.Function):
    """max over bins of conv(words), for one width.

    words_BT: index of each token among the U distinct words of the batch. vectors_UE, weight_FWE: float.
    Returns (B, F, bins): no bias and no ReLU, which commute with the maximum. Cost 2UEFw + BTwF adds, memory B(T + w)F.
    """

    @staticmethod
    def forward(ctx, words_BT: Tensor, vectors_UE: Tensor, weight_FWE: Tensor, count: int) -> Tensor:
        F_, width, E = weight_FWE.shape
        B, T = words_BT.shape
        U = len(vectors_UE)
        # one more row of zeros stands for the padding on both ends
        table = vectors_UE.new_zeros(U + 1, width * F_)
        torch.mm(vectors_UE, weight_FWE.transpose(0, 1).reshape(width * F_, E).t(), out=table[:U])
        ends = words_BT.new_full((B, width - 1), U)
        padded = torch.cat([ends, words_BT, ends], dim=1)
        windows = padded.unfold(1, width, 1)  # (B, T', w)
        rows = windows * width + torch.arange(width, device=words_BT.device)
        length = T + width - 1
        summed = F.embedding_bag(rows.reshape(-1, width), table.view(-1, F_), mode="sum").view(B, length, F_)
        values, places = [], []
        for start, stop in bins(length, count):
            value, place = summed[:, start:stop].max(dim=1)
            values.append(value)
            places.append(place + start)
        ctx.save_for_backward(padded, vectors_UE, weight_FWE, torch.stack(places, dim=1))
        return torch.stack(values, dim=2)

    @staticmethod
    def backward(ctx, grad_BFN: Tensor):
        padded, vectors_UE, weight_FWE, places_BNF = ctx.saved_tensors
        F_, width, E = weight_FWE.shape
        B, N, _ = places_BNF.shape
        U = len(vectors_UE)
        # each winning position hands its gradient to the `width` words under its window
        offsets = torch.arange(width, device=padded.device)
        positions = places_BNF.reshape(B, N * F_, 1) + offsets  # (B, N F, w)
        words = padded.gather(1, positions.reshape(B, N * F_ * width)).view(B, N * F_, width)
        filters = torch.arange(F_, device=padded.device).repeat(N).view(1, N * F_, 1)
        target = (words * width + offsets) * F_ + filters
        grad = grad_BFN.transpose(1, 2).reshape(B, N * F_, 1).expand_as(target)
        summed = grad.new_zeros((U + 1) * width * F_)
        summed.scatter_add_(0, target.reshape(-1), grad.reshape(-1))
        summed = summed.view(U + 1, width * F_)[:U]
        grad_weight = grad_vectors = None
        flat = weight_FWE.transpose(0, 1).reshape(width * F_, E)
        if ctx.needs_input_grad[2]:
            grad_weight = (summed.t() @ vectors_UE).view(width, F_, E).transpose(0, 1)
        if ctx.needs_input_grad[1]:
            grad_vectors = summed @ flat
        return None, grad_vectors, grad_weight, None


class XMLCNN(Encoder):
    """filters: per width. bins: of the dynamic max pooling. bottleneck: D, size of the features.

    Features (B, bottleneck). Parameters beside the word table: 14 E F + 3 F + 3 F bins D + D, and 2 D to normalise.
    """

    reads_padding = True
    distinct = True

    def __init__(
        self,
        vocabulary: Vocabulary,
        text,
        embedding: WordVectors,
        filters: Count = 128,
        widths: list[Count] = (2, 4, 8),
        bins: Count = 8,
        bottleneck: Count = 512,
        dropout: Share = 0.5,
        embedding_dropout: Share = 0.0,
        normalise: Literal["layer", "batch"] | None = None,
    ):
        super().__init__()
        if not widths:
            raise InputError("encoder.widths: expected at least one width")
        self.text = text
        self.bins = bins
        self.embedding = embedding.make(vocabulary)
        size = embedding.size
        self.convolutions = nn.ParameterList()
        self.biases = nn.ParameterList()
        for width in widths:
            convolution = nn.Conv2d(1, filters, (width, size))  # for PyTorch's default bias
            self.convolutions.append(nn.Parameter(nn.init.xavier_uniform_(convolution.weight.data).squeeze(1)))
            self.biases.append(nn.Parameter(convolution.bias.data))
        self.bottleneck = nn.Linear(len(widths) * filters * bins, bottleneck)
        nn.init.xavier_uniform_(self.bottleneck.weight)
        self.norm = make_normalisation(normalise, bottleneck)
        self.dropout = nn.Dropout(dropout)
        self.embedding_dropout = embedding_dropout

    def forward(self, batch: Batch) -> Encoded:
        words, inverse = batch.distinct()
        vectors = rows_once(self.embedding, words)
        # a word is dropped wherever it stands in the batch: the price of multiplying each word once
        vectors = F.dropout1d(vectors, self.embedding_dropout, self.training) if self.embedding_dropout else vectors
        branches = [
            F.relu(WordConvolution.apply(inverse, vectors, weight, self.bins) + bias[:, None])
            for weight, bias in zip(self.convolutions, self.biases, strict=True)
        ]
        pooled = torch.cat(branches, dim=1).flatten(1)
        return Encoded(self.dropout(self.norm(F.relu(self.bottleneck(pooled)))))

    def make_decoder(self, num_labels: int) -> LinearDecoder:
        return LinearDecoder(self.bottleneck.out_features, num_labels)
