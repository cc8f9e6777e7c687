"""Predicted label sets as matrices: how many differ, and macro-F1 by how frequent a label is.

The other measures of sets are those of `LabelSetMetrics`. Sets are rows of bool CSR matrices (N, M), M = L + the labels
that training never saw, which can only be missed. All averages over labels are over the L labels of the model,
undefined ones 0, as in scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix

from xmtc.data.lists import Lists


def set_matrices(lists: Lists, threshold: float, num_labels: int) -> tuple[csr_matrix, csr_matrix]:
    """Predicted sets (labels with score >= threshold; may be empty) and true sets."""
    size = num_labels + len(lists.unseen)
    keep = (lists.scores >= np.float32(threshold)) & (lists.labels >= 0)
    offsets = np.concatenate([[0], np.cumsum(keep.sum(1))])
    predicted = csr_matrix((np.ones(keep.sum(), bool), lists.labels[keep], offsets), shape=(len(lists), size))
    ids, gold_offsets = lists.gold.ids.numpy(), lists.gold.offsets.numpy()
    gold = csr_matrix((np.ones(len(ids), bool), ids, gold_offsets), shape=(len(lists), size))
    predicted.sort_indices()
    gold.sort_indices()
    return predicted, gold


def label_f1(hits_L: np.ndarray, predicted_L: np.ndarray, gold_L: np.ndarray) -> np.ndarray:
    """(L,) F1 of each label, 0 where it is neither predicted nor true."""
    return 2 * hits_L / np.maximum(predicted_L + gold_L, 1)


def groups(frequency_L: np.ndarray, shares: Sequence[float]) -> list[np.ndarray]:
    """Labels by descending training frequency (ties by index), cut after these shares of the label list; what remains
    is one more group. LACO's four groups: its boundaries are only in a figure, so quartiles."""
    order = np.argsort(-frequency_L, kind="stable")
    cuts = np.round(np.cumsum(shares) * len(order), 6)
    return np.split(order, np.ceil(cuts).astype(int))


def group_f1(predicted: csr_matrix, gold: csr_matrix, frequency_L: np.ndarray, shares: Sequence[float]) -> list[dict]:
    """macro-F1 within each group, with what the group is: labels, most and fewest training documents of one."""
    L = len(frequency_L)
    hits = predicted.multiply(gold).tocsr()
    f1_L = label_f1(*(np.asarray(m.sum(0)).ravel()[:L].astype(np.float64) for m in (hits, predicted, gold)))
    rows = []
    for members in groups(frequency_L, shares):
        own = frequency_L[members]
        most, fewest = (int(own.max()), int(own.min())) if len(own) else (0, 0)
        score = float(f1_L[members].mean()) if len(members) else 0.0
        rows.append({"labels": len(members), "most": most, "fewest": fewest, "macro-F1": score})
    return rows


def diversity(sets: csr_matrix) -> dict[str, int]:
    """Distinct label sets (LACO's C_test; the empty one counts) and how many documents have the empty one."""
    pairs = zip(sets.indptr[:-1], sets.indptr[1:], strict=True)
    distinct = {sets.indices[start:stop].tobytes() for start, stop in pairs}
    return {"distinct": len(distinct), "empty": int((np.diff(sets.indptr) == 0).sum())}
