"""Pairs of neighbouring words as further features: "interest rate" beside "interest" and "rate".

scikit-learn's name for it is `ngram_range=(1, 2)`. Linear machines gain by it on EURLEX57K and lose on Reuters
(experiments/LOG.md): ask validation.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import coo_matrix, csr_matrix
from torch import Tensor

from xmtc.data.collate import Documents
from xmtc.data.vocabulary import Vocabulary
from xmtc.fitted.features import inverse_frequency

BLOCK = 4096  # documents looked at at a time


class Pairs:
    """keys: (P,) int64, ascending: first word * V + second word. frequency: (P,) int64, documents of `num_documents`
    that hold the pair. Pairs with padding or an unknown word are none."""

    def __init__(self, keys: np.ndarray, frequency: np.ndarray, num_documents: int):
        self.keys, self.frequency, self.num_documents = keys, frequency, num_documents

    @classmethod
    def learn(cls, documents: Documents, vocabulary: Vocabulary, min_documents: int) -> Pairs:
        """Those of at least so many of the documents. Memory: two numbers a distinct pair, about thrice."""
        known = np.zeros(0, np.int64), np.zeros(0, np.int64)
        new: list[tuple[np.ndarray, np.ndarray]] = []
        for start in range(0, len(documents), BLOCK):
            rows = np.arange(start, min(start + BLOCK, len(documents)))
            places, keys = _pairs(*documents.tokens(rows), vocabulary)
            distinct, columns = np.unique(keys, return_inverse=True)
            held = _counts(places, columns, (len(rows), len(distinct)))
            new.append((distinct, np.bincount(held.indices, minlength=len(distinct))))
            if sum(len(each) for each, _ in new) > len(known[0]):  # seldom, as what is known grows
                known, new = _together(known, *new), []
        keys, frequency = _together(known, *new)
        enough = frequency >= min_documents
        return cls(keys[enough], frequency[enough], len(documents))

    def weights(self, tokens: np.ndarray, lengths: np.ndarray, vocabulary: Vocabulary) -> csr_matrix:
        """(N, P) float32: (1 + ln count) * idf of the pairs in N documents, given by their tokens."""
        places, keys = _pairs(tokens, lengths, vocabulary)
        columns = np.searchsorted(self.keys, keys)
        held = np.flatnonzero(self.keys[np.minimum(columns, len(self.keys) - 1)] == keys) if len(self.keys) else []
        counts = _counts(places[held], columns[held], (len(lengths), len(self.keys)))
        idf = inverse_frequency(self.frequency, self.num_documents)
        counts.data = ((1 + np.log(counts.data)) * idf[counts.indices]).astype(np.float32)
        return counts

    def state(self) -> dict[str, Tensor]:
        arrays = {"pairs": self.keys, "pair_frequency": self.frequency}
        counted = {"pair_documents": torch.tensor(self.num_documents)}
        return {name: torch.from_numpy(array) for name, array in arrays.items()} | counted

    @classmethod
    def of(cls, state: dict[str, Tensor]) -> Pairs:
        """The inverse of `state`."""
        return cls(state["pairs"].numpy(), state["pair_frequency"].numpy(), int(state["pair_documents"]))


def _pairs(tokens: np.ndarray, lengths: np.ndarray, vocabulary: Vocabulary) -> tuple[np.ndarray, np.ndarray]:
    """(document, key) of each place at which a pair begins."""
    documents = np.repeat(np.arange(len(lengths)), lengths)
    usable = (tokens != vocabulary.padding) & (tokens != vocabulary.unknown)
    begins = np.flatnonzero((documents[1:] == documents[:-1]) & usable[1:] & usable[:-1])
    ids = tokens.astype(np.int64)
    return documents[begins], ids[begins] * vocabulary.size + ids[begins + 1]


def _counts(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> csr_matrix:
    """How often each (row, column) stands there, columns ascending."""
    matrix = coo_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=shape).tocsr()
    matrix.sum_duplicates()
    return matrix


def _together(*counted: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Keys, each once and ascending, and the sums of their numbers."""
    keys, places = np.unique(np.concatenate([keys for keys, _ in counted]), return_inverse=True)
    sums = np.zeros(len(keys), np.int64)
    np.add.at(sums, places, np.concatenate([numbers for _, numbers in counted]))
    return keys, sums
