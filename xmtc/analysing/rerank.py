"""Lists in another order, and lists of some documents: LabelCoRank's oracle and its head and tail documents."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from xmtc.data.batch import Labels
from xmtc.data.lists import Lists
from xmtc.metrics.frequency_bins import frequency_bins
from xmtc.metrics.hits import hits

# the best labels of each document (N, k), whether each is true (N, k) bool -> places in the new order (N, k). A
# re-ranker that asks a model about the texts is one function of this kind; none is called unless it is passed.
Reranker = Callable[[np.ndarray, np.ndarray], np.ndarray]


def oracle(labels_Nk: np.ndarray, true_Nk: np.ndarray) -> np.ndarray:
    """True labels first, else as they were: the most that re-ordering can reach (RoBERTa* of LabelCoRank's table 4)."""
    return np.argsort(~true_Nk, axis=1, kind="stable")


def reranked(lists: Lists, reranker: Reranker, depth: int = 10) -> np.ndarray:
    """(N, K) labels whose first `depth` are in the re-ranker's order."""
    head = lists.labels[:, :depth]
    true = hits(torch.from_numpy(head), lists.gold).numpy()
    order = reranker(head, true)
    if order.shape != head.shape or not (np.sort(order, 1) == np.arange(head.shape[1])).all():
        raise ValueError(f"a re-ranker must answer with an order of {head.shape[1]} places for each document")
    return np.concatenate([np.take_along_axis(head, order, 1), lists.labels[:, depth:]], 1)


def frequency_subsets(
    gold: Labels, frequency_L: np.ndarray, share: float = 0.1, most: int = 2
) -> dict[str, np.ndarray]:
    """Documents by their true labels, as LabelCoRank's tables 5 and 6: `head` have head labels only, `tail` at most
    `most` of them. Head labels are the `share` most frequent in training. Documents without labels are in neither. This
    is the reading `subset_of_test`: a model trained on everything, scored on some documents."""
    names, bins = frequency_bins(torch.from_numpy(np.asarray(frequency_L)), {"head": share})
    in_head = (bins[gold.ids.clamp(max=len(frequency_L))] == names.index("head")).numpy()
    rows = gold.rows().numpy()
    count = np.bincount(rows, minlength=len(gold))
    heads = np.bincount(rows, in_head, minlength=len(gold))
    return {
        "head": np.flatnonzero((count > 0) & (heads == count)),
        "tail": np.flatnonzero((count > 0) & (heads <= most)),
    }
