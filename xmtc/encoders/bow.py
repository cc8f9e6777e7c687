"""A bag of word vectors over the whole document, as in the DeepXML/Astec family (Dahiya et al., WSDM 2021).

Design
* Every distinct word of a document counts, however long it is: weight (1 + ln count) idf, rows L2-normalised, as in
  TF-IDF.
* document vector = sum of weight x word vector; ReLU; one residual layer h + dropout(ReLU(W h + b)); dropout.
* Words are left out at random in training (`word_dropout`), which keeps rare words from being learnt by heart.
* idf is smoothed as scikit-learn's: ln((1 + N) / (1 + df)) + 1. Words met in fewer than `min_documents` training
  documents have no row of their own: they are the unknown word, whose weight is next to nothing.
Departures from Astec: no shortlist stage and no negative sampling; every label is scored.
"""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmtc.bounds import Natural, Share
from xmtc.data.batch import Batch
from xmtc.data.embedding import WordVectors
from xmtc.data.vocabulary import Vocabulary
from xmtc.decoders.linear import LinearDecoder
from xmtc.encoders.base import Encoded, Encoder

# PyTorch says once a process that CSR is in beta; the product below is checked against a dense one in the tests
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor(torch.tensor([0, 0]), torch.tensor([], dtype=torch.int64), torch.tensor([]), (1, 1))


class BagOfWords(Encoder):
    """Features (B, E) with E the size of the word vectors. Cost: E numbers a distinct word, 2 B E^2 for the layer."""

    layout = "bag"
    distinct = True

    def __init__(
        self,
        vocabulary: Vocabulary,
        text,
        embedding: WordVectors,
        dropout: Share = 0.5,
        word_dropout: Share = 0.2,
        residual: bool = True,
        min_documents: Natural = 2,
    ):
        super().__init__()
        self.text = text
        vocabulary = vocabulary.cut(min_documents)
        self.embedding = embedding.make(vocabulary)
        frequency = torch.as_tensor(vocabulary.document_frequency, dtype=torch.float32)
        idf = torch.log((1 + vocabulary.num_documents) / (1 + frequency)) + 1
        self.unknown = vocabulary.unknown
        idf[self.unknown] = 1e-3  # a document of unknown words still has a direction, one that others hardly feel
        self.register_buffer("idf", idf, persistent=False)
        self.layer = nn.Linear(embedding.size, embedding.size) if residual else None
        self.dropout, self.word_dropout = dropout, word_dropout

    def forward(self, batch: Batch) -> Encoded:
        bags = batch.bags
        words, inverse = bags.distinct()
        words = torch.where(words < len(self.idf), words, self.unknown)
        weights = (1 + bags.counts.log()) * self.idf[words][inverse]
        rows = torch.repeat_interleave(
            torch.arange(len(batch), device=weights.device), bags.offsets.diff(), output_size=len(weights)
        )
        norms = weights.new_zeros(len(batch)).index_add_(0, rows, weights.square()).sqrt().clamp(min=1e-12)
        weights = F.dropout(weights / norms[rows], self.word_dropout, self.training)
        summed = _WeightedSum.apply(self.embedding(words), inverse, rows, weights, len(batch))
        hidden = F.relu(summed)
        if self.layer is not None:
            hidden = hidden + F.dropout(F.relu(self.layer(hidden)), self.dropout, self.training)
        return Encoded(F.dropout(hidden, self.dropout, self.training))

    def make_decoder(self, num_labels: int) -> LinearDecoder:
        return LinearDecoder(self.embedding.embedding_dim, num_labels)


class _WeightedSum(torch.autograd.Function):
    """(B, E) sums of weighted vectors. The weights are data: only the vectors (U, E) get a gradient, S^T g, computed
    as a sparse product, which needs no (W, E) tensor for the W words of the batch."""

    @staticmethod
    def forward(ctx, vectors_UE: Tensor, words_W: Tensor, rows_W: Tensor, weights_W: Tensor, documents: int) -> Tensor:
        ctx.save_for_backward(words_W, rows_W, weights_W)
        ctx.words = len(vectors_UE)
        shape = (documents, len(vectors_UE))
        with torch.autocast(vectors_UE.device.type, enabled=False):  # no bf16 product on CPUs, and sums of many words
            return _sparse(rows_W, words_W, weights_W, shape, vectors_UE.dtype) @ vectors_UE

    @staticmethod
    def backward(ctx, grad_BE: Tensor):
        words_W, rows_W, weights_W = ctx.saved_tensors
        order = torch.argsort(words_W, stable=True)
        transposed = _sparse(words_W[order], rows_W[order], weights_W[order], (ctx.words, len(grad_BE)), grad_BE.dtype)
        with torch.autocast(grad_BE.device.type, enabled=False):
            return transposed @ grad_BE, None, None, None, None


def _sparse(rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """CSR matrix; rows ascending."""
    starts = torch.searchsorted(rows, torch.arange(shape[0] + 1, device=rows.device))
    return torch.sparse_csr_tensor(starts, columns, values.to(dtype), shape, check_invariants=False)
