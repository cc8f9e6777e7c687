"""Named thresholds, chosen on validation: for F1, for a precision, for a number of labels a document.

A label is given when its probability reaches the threshold and it is among the K best, with one threshold for all
labels. Equal probabilities stand or fall together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from xmtc.calibration.fit import hits_of
from xmtc.data.lists import Lists
from xmtc.metrics.label_sets import LabelSetMetrics, best_threshold

GRID = 100  # thresholds that are tried for macro-F1


def choose(
    probabilities: np.ndarray, lists: Lists, num_labels: int, precisions: Sequence[float], counts: Sequence[float]
) -> dict[str, float]:
    """name -> threshold. precisions: shares of true labels to reach, each at the largest recall that allows it; one
    that cannot be reached is left out. counts: mean labels a document to come closest to."""
    scores = torch.from_numpy(probabilities)
    labels = torch.from_numpy(lists.labels)
    chosen = {"micro-F1": best_threshold(scores, labels, lists.gold)}
    chosen["macro-F1"] = _macro(probabilities, lists, num_labels)
    real = lists.labels >= 0
    p, hit = probabilities[real], hits_of(lists)[real]
    order = np.argsort(-p, kind="stable")
    p, true = p[order], np.cumsum(hit[order])
    given = np.arange(1, len(p) + 1)
    cut = np.append(p[1:] < p[:-1], True)  # a threshold takes all labels of a probability or none
    for wanted in precisions:
        reached = np.flatnonzero(cut & (true / given >= wanted))  # 0.55 * 100 is more than 55
        if len(reached):
            chosen[f"precision-{wanted:g}"] = float(p[reached[-1]])
    for wanted in counts:
        places = np.flatnonzero(cut)
        nearest = places[np.argmin(np.abs(given[places] / len(lists) - wanted))]
        chosen[f"labels-{wanted:g}"] = float(p[nearest])
    return chosen


def _macro(probabilities: np.ndarray, lists: Lists, num_labels: int) -> float:
    tried = np.unique(np.quantile(probabilities[:, :20], np.linspace(0, 1, GRID), method="nearest"))
    scored = [(describe(float(t), probabilities, lists, num_labels)["macro-F1"], float(t)) for t in tried]
    return max(scored)[1]


def describe(threshold: float, probabilities: np.ndarray, lists: Lists, num_labels: int) -> dict[str, float]:
    """What a threshold gives on these documents: micro-P, micro-R, micro-F1, macro-F1, labels a document."""
    sets = LabelSetMetrics(num_labels, threshold, sync_on_compute=False)
    sets.update(torch.from_numpy(lists.labels), torch.from_numpy(probabilities), lists.gold)
    given = float(((probabilities >= np.float32(threshold)) & (lists.labels >= 0)).sum()) / max(len(lists), 1)
    return sets.compute() | {"labels": given}
