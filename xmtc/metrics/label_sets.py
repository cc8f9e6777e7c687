"""Metrics of predicted label sets: what is left of a ranking once a threshold says where to stop.

A document's predicted set is its labels among the K best with score >= threshold; labels beyond the K best are never
predicted, and their gold labels are missed. It may be empty: no first label is forced. One threshold for all labels
and documents, chosen on validation documents.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from xmtc.data.batch import Labels
from xmtc.metrics.hits import hits


def best_threshold(scores_NK: Tensor, topk_NK: Tensor, labels: Labels) -> float:
    """The threshold (one of the scores) with the largest micro-F1 over the N documents; of equals the highest.

    scores_NK: float, in any order within a row; topk_NK: their labels, negative ids are padding. Exact: every distinct
    threshold is tried, equal scores stand or fall together, gold labels outside the K best count as missed.
    Cost: one sort of N K scores.
    """
    if scores_NK.shape != topk_NK.shape:
        raise ValueError(f"scores {tuple(scores_NK.shape)} and labels {tuple(topk_NK.shape)} differ in shape")
    candidate = topk_NK >= 0
    scores, hit = scores_NK[candidate].cpu(), hits(topk_NK, labels)[candidate].cpu()
    if not len(scores):
        raise ValueError("a threshold is chosen on validation documents, and there are none")
    if scores.isnan().any():
        raise ValueError("a threshold cannot be chosen: some scores are not numbers")
    scores, order = scores.sort(descending=True)
    true_positives = hit[order].cumsum(0)
    predicted = torch.arange(1, len(scores) + 1)
    f1 = 2.0 * true_positives.double() / (predicted + len(labels.ids))
    # A threshold takes all labels of a score or none: only the last of a run of equal scores is a place to cut.
    f1[:-1][scores[:-1] == scores[1:]] = -1.0
    return float(scores[int((f1 == f1.max()).nonzero()[0])])


class LabelSetMetrics(Metric):
    """micro-P, micro-R, micro-F1, macro-F1 and subset-accuracy of the labels with score >= threshold.

    micro: true positives, predicted and gold labels pooled over all documents; gold labels unknown to the model
        (ids >= L) count as missed.
    macro-F1: mean of the F1 of each of the model's L labels, 0 for a label neither predicted nor gold, as
        scikit-learn's `f1_score(average="macro", zero_division=0)`. Labels unknown to the model are not among the L.
    subset-accuracy: share of documents whose predicted set equals the gold set.

    Over no documents all are 0. State: 3 (L,) int64 counts, so values do not depend on the order of documents or the
    number of processes; the scores themselves are only compared with the threshold.
    """

    full_state_update = False
    higher_is_better = True

    true_positives: Tensor
    false_positives: Tensor
    false_negatives: Tensor
    unknown_false_negatives: Tensor
    exact_documents: Tensor
    documents: Tensor

    def __init__(self, num_labels: int, threshold: float, **metric_options: Any) -> None:
        super().__init__(**metric_options)
        self.num_labels, self.threshold = num_labels, float(threshold)
        for name in ("true_positives", "false_positives", "false_negatives"):
            self.add_state(name, torch.zeros(num_labels, dtype=torch.int64), dist_reduce_fx="sum")
        for name in ("unknown_false_negatives", "exact_documents", "documents"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, topk_BK: Tensor, scores_BK: Tensor, labels: Labels) -> None:
        """Adds B >= 0 documents. topk_BK: int64 labels, negative ids are padding; scores_BK: their scores."""
        predicted_BK = (scores_BK >= self.threshold) & (topk_BK >= 0)
        hit_BK = hits(topk_BK, labels) & predicted_BK
        ids = topk_BK.clamp(min=0).flatten()
        self.true_positives = self.true_positives.index_add(0, ids, hit_BK.flatten().long())
        self.false_positives = self.false_positives.index_add(0, ids, (predicted_BK & ~hit_BK).flatten().long())
        # Missed = gold - hit; unknown gold labels go to their own count, by adding 0 to label 0 here.
        known = labels.ids < self.num_labels
        missed = self.false_negatives.index_add(0, labels.ids * known, known.long())
        self.false_negatives = missed.index_add(0, ids, -hit_BK.flatten().long())
        self.unknown_false_negatives = self.unknown_false_negatives + (~known).sum()

        hit_B, predicted_B = hit_BK.sum(1), predicted_BK.sum(1)
        exact_B = (hit_B == predicted_B) & (hit_B == labels.offsets.diff())
        self.exact_documents = self.exact_documents + exact_B.sum()
        self.documents = self.documents + len(labels)

    def compute(self) -> dict[str, float]:
        """Every metric as a fraction in [0, 1]."""
        tp, fp, fn = (
            state.cpu().numpy() for state in (self.true_positives, self.false_positives, self.false_negatives)
        )
        hit, predicted = int(tp.sum()), int(tp.sum() + fp.sum())
        gold = int(tp.sum() + fn.sum() + self.unknown_false_negatives.cpu())
        f1 = 2.0 * tp / (2 * tp + fp + fn).clip(min=1)
        return {
            "micro-P": _ratio(hit, predicted),
            "micro-R": _ratio(hit, gold),
            "micro-F1": _ratio(2 * hit, predicted + gold),
            "macro-F1": _ratio(f1.sum(), self.num_labels),
            "subset-accuracy": _ratio(int(self.exact_documents), int(self.documents)),
        }


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator) / denominator if denominator else 0.0
