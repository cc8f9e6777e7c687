"""TF-IDF of bags of words, by the store's vocabulary, and of pairs of neighbouring words."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix, hstack

from xmtc.data.batch import Bags
from xmtc.data.vocabulary import Vocabulary


def tfidf(bags: Bags, vocabulary: Vocabulary, min_documents: int = 1, pairs: csr_matrix | None = None) -> csr_matrix:
    """(N, V) float32, rows of length 1: (1 + ln count) * idf, idf = ln((1 + N) / (1 + df)) + 1 as scikit-learn's with
    `sublinear_tf=True`. Padding, the unknown word and words of too few training documents are left out; a document
    without any other is a row of zeros. pairs: (N, P) such weights of `pairs.py`, which become further columns. Cost:
    O(words)."""
    frequency = np.asarray(vocabulary.document_frequency)
    idf = inverse_frequency(frequency, vocabulary.num_documents)
    idf[frequency < min_documents] = 0
    idf[[vocabulary.padding, vocabulary.unknown]] = 0
    words, counts = bags.word_ids.numpy(), bags.counts.numpy()
    weights = ((1 + np.log(counts)) * idf[words]).astype(np.float32)
    offsets = bags.offsets.numpy()
    matrix = csr_matrix((weights, words.astype(np.int32), offsets), shape=(len(offsets) - 1, len(frequency)))
    matrix.eliminate_zeros()
    if pairs is not None:
        matrix = hstack([matrix, pairs], format="csr", dtype=np.float32)
    lengths = np.diff(matrix.indptr)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    norms = np.sqrt(np.bincount(rows, matrix.data.astype(np.float64) ** 2, minlength=len(lengths)))
    matrix.data /= norms[rows].astype(np.float32)
    return matrix


def inverse_frequency(frequency: np.ndarray, num_documents: int) -> np.ndarray:
    """idf of what so many of the documents hold."""
    return np.log((1 + num_documents) / (1 + frequency)) + 1
