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

ONE = 2**40  # an F1 of 1, as an integer


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
    """Metrics of the labels with score >= threshold, as the papers on few hundred labels print them.

    micro-P, -R, -F1: true positives, predicted and gold labels pooled over all documents; gold labels unknown to the
        model (ids >= L) count as missed.
    macro-P, -R, -F1: mean of that of each of the model's L labels, 0 where it is undefined (F1: a label neither
        predicted nor gold), as scikit-learn's `average="macro", zero_division=0`. Labels unknown to the model are not
        among the L.
    example-F1: mean over documents of the F1 of predicted and gold set, 1 where both are empty; to 2^-40.
    subset-accuracy: share of documents whose predicted set equals the gold set.
    hamming-loss: wrong entries (predicted and not gold, or gold and not predicted) over N L; smaller is better.

    Over no documents all are 0. State: 3 (L,) int64 counts and four integers, so values do not depend on the order of
    documents or the number of processes; the scores themselves are only compared with the threshold.
    """

    full_state_update = False
    higher_is_better = True

    true_positives: Tensor
    false_positives: Tensor
    false_negatives: Tensor
    unknown_false_negatives: Tensor
    exact_documents: Tensor
    example_f1: Tensor
    documents: Tensor

    def __init__(self, num_labels: int, threshold: float, **metric_options: Any) -> None:
        super().__init__(**metric_options)
        self.num_labels, self.threshold = num_labels, float(threshold)
        for name in ("true_positives", "false_positives", "false_negatives"):
            self.add_state(name, torch.zeros(num_labels, dtype=torch.int64), dist_reduce_fx="sum")
        for name in ("unknown_false_negatives", "exact_documents", "example_f1", "documents"):
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
        gold_B = labels.offsets.diff()
        exact_B = (hit_B == predicted_B) & (hit_B == gold_B)
        both_B = predicted_B + gold_B
        f1_B = torch.where(both_B > 0, (2 * hit_B * ONE) // both_B.clamp(min=1), ONE)  # integers: any order, one sum
        self.example_f1 = self.example_f1 + f1_B.sum()
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
        documents = int(self.documents)
        return {
            "hamming-loss": _ratio(predicted + gold - 2 * hit, documents * self.num_labels),
            "micro-P": _ratio(hit, predicted),
            "micro-R": _ratio(hit, gold),
            "micro-F1": _ratio(2 * hit, predicted + gold),
            "macro-P": _ratio((tp / (tp + fp).clip(min=1)).sum(), self.num_labels),
            "macro-R": _ratio((tp / (tp + fn).clip(min=1)).sum(), self.num_labels),
            "macro-F1": _ratio(f1.sum(), self.num_labels),
            "example-F1": _ratio(int(self.example_f1) / ONE, documents),
            "subset-accuracy": _ratio(int(self.exact_documents), documents),
        }


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator) / denominator if denominator else 0.0
