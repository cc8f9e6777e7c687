"""Ranking metrics of the k best labels: P@k, nDCG@k, R@k, R-precision@k, propensity-scored, and by label frequency.

For document i of N, r_1, r_2, ... are the predicted labels (best first), Y_i the gold labels, h_ij = [r_ij in Y_i]:

    P@k            sum_i sum_{j<=k} h_ij / (k N)                 divides by k also where |Y_i| or L is smaller
    nDCG@k         mean_i  sum_{j<=k} h_ij / log2(j+1)  /  sum_{j<=min(k,|Y_i|)} 1 / log2(j+1)
    R@k            mean_i  sum_{j<=k} h_ij / |Y_i|
    R-precision@k  mean_i  sum_{j<=k} h_ij / min(k, |Y_i|)       Chalkidis et al., ACL 2019 (EURLEX57K)
    PSP@k          sum_i sum_{j<=k} w_rij h_ij  /  sum_i (sum of the k largest w_l, l in Y_i)
    PSnDCG@k       the same with every weight divided by log2(j+1), the ideal's by its own rank

The propensity-scored two are ratios of sums over the set, as in Jain et al. 2016 and its scripts; `w` is in
propensity.py. Documents without gold labels score 0 and stay in N. Gold labels unknown to the model (ids >= L) stay in
the gold sets, where they can only be missed; their weight is that of a label with no training document.

By frequency bin (frequency_bins.py), with h and Y restricted to the bin but the ranks those of the whole prediction:

    P@k/bin        sum_i sum_{j<=k} h_ij / (k N): the bins add up to P@k
    nDCG@k/bin     DCG of the bin's hits / ideal DCG of the bin's gold labels (as if they alone came first), and
    R@k/bin        the bin's hits / the bin's gold labels: means over the documents that have a gold label in the bin
                   (0 if there is none)

Exactness: the states are integer counts, so neither the order of documents, nor the batches, nor the number of
processes changes a bit of any value. Floating point begins in `compute`, in float64 on the CPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import lcm
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from xmtc.data.batch import Labels
from xmtc.metrics.frequency_bins import HEAD_TORSO, frequency_bins
from xmtc.metrics.hits import hits
from xmtc.metrics.propensity import inverse_propensities

# R@k sums fractions of |Y| as whole multiples of 1 / RECALL_UNIT. Exact for every |Y| up to 28; for larger gold sets
# each hit is rounded down by less than 1.3e-11. Room for 1e8 documents in an int64.
RECALL_UNIT = lcm(*range(1, 29))


class RankingMetrics(Metric):
    """Ranking metrics over a set of documents; the module's docstring has the definitions.

    num_labels: L. label_frequency: (L,) int64, training documents of each label. num_train_documents: N of the
    propensities (see there which documents to count). ks: cut-offs. bins: share of the labels of each frequency bin,
    most frequent first; the rest is "tail".

    State: O(F k) int64, where F is the number of distinct label frequencies (propensity depends on nothing else; at
    most a few thousand, also for millions of labels). Update: O((P + B k) log P), no loop over documents, nothing of
    size (B, L), no wait for the device.
    """

    full_state_update = False
    higher_is_better = True

    documents: Tensor
    group_hits: Tensor
    group_recall: Tensor
    class_hits: Tensor
    class_ideal: Tensor
    group_of_label: Tensor
    class_of_label: Tensor

    def __init__(
        self,
        num_labels: int,
        label_frequency: Tensor,
        num_train_documents: int,
        ks: Sequence[int] = (1, 3, 5),
        propensity_a: float = 0.55,
        propensity_b: float = 1.5,
        bins: Mapping[str, float] = HEAD_TORSO,
        **metric_options: Any,
    ) -> None:
        super().__init__(**metric_options)
        label_frequency = torch.as_tensor(label_frequency, dtype=torch.int64)
        if label_frequency.shape != (num_labels,):
            raise ValueError(f"expected {num_labels} label frequencies, got shape {tuple(label_frequency.shape)}")
        if not ks or min(ks) < 1:
            raise ValueError(f"cut-offs must be 1 or more, got ks={list(ks)}")
        self.num_labels, self.ks, self.max_k = num_labels, sorted(set(ks)), max(ks)

        # Entry L of both tables stands for all labels unknown to the model.
        names, bin_of_label = frequency_bins(label_frequency, bins)
        frequencies, class_of_label = torch.unique(
            torch.cat([label_frequency, label_frequency.new_zeros(1)]), sorted=True, return_inverse=True
        )
        self.register_buffer("group_of_label", bin_of_label + 1, persistent=False)
        self.register_buffer("class_of_label", class_of_label, persistent=False)
        self.class_weight = inverse_propensities(frequencies.cpu(), num_train_documents, propensity_a, propensity_b)
        self.groups = [""] + [f"/{name}" for name in names]  # group 0 is all labels, then the bins

        groups, k, classes = len(self.groups), self.max_k, len(frequencies)
        for name, shape in {
            "documents": (groups,),  # N, then documents with a gold label in the bin
            "group_hits": (groups, k, k + 1),  # by rank and min(gold labels in the group, k)
            "group_recall": (groups, k),  # by rank, in 1 / RECALL_UNIT
            "class_hits": (classes, k),  # by class of label frequency and rank
            "class_ideal": (classes, k),  # the same for gold labels, rarest first
        }.items():
            self.add_state(name, torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, topk_BK: Tensor, labels: Labels) -> None:
        """Adds B >= 0 documents. topk_BK: int64 labels, best first; K may be below k (then L is) or above it.

        Negative ids are padding. Only ids matter, never scores.
        """
        topk_BK = topk_BK[:, : self.max_k]
        hit_BK = hits(topk_BK, labels).long()
        rows, gold = labels.rows(), labels.ids.clamp(max=self.num_labels)
        predicted_BK = topk_BK.clamp(0, self.num_labels)
        ranks = torch.arange(topk_BK.shape[1], device=topk_BK.device)

        sizes_BG = self._group_sizes(labels, rows, gold)
        present = (sizes_BG > 0).sum(0)
        present[0] = len(labels)  # over all labels, documents without gold labels count as well
        self.documents = self.documents + present

        for group_BK in (torch.zeros_like(predicted_BK), self.group_of_label[predicted_BK]):
            size_BK = sizes_BG.gather(1, group_BK)
            place = group_BK * self.max_k + ranks
            cell = place * (self.max_k + 1) + size_BK.clamp(max=self.max_k)
            self.group_hits = _added(self.group_hits, cell, hit_BK)
            self.group_recall = _added(self.group_recall, place, hit_BK * (RECALL_UNIT // size_BK.clamp(min=1)))

        classes_BK = self.class_of_label[predicted_BK]
        self.class_hits = _added(self.class_hits, classes_BK * self.max_k + ranks, hit_BK)
        # Weight falls as frequency rises, and classes are in order of frequency: by class is by descending weight.
        # Labels that tie are of one class, so their order does not matter.
        num_classes = len(self.class_weight)
        by_weight = (rows * num_classes + self.class_of_label[gold]).sort().values
        position = torch.arange(len(rows), device=rows.device) - labels.offsets[rows]
        ideal = (by_weight % num_classes) * self.max_k + position.clamp(max=self.max_k - 1)
        self.class_ideal = _added(self.class_ideal, ideal, (position < self.max_k).long())

    def _group_sizes(self, labels: Labels, rows: Tensor, gold: Tensor) -> Tensor:
        """(B, G) int64: gold labels of each document, all and by bin."""
        sizes_BG = rows.new_zeros(len(labels), len(self.groups))
        sizes_BG = _added(sizes_BG, rows * len(self.groups) + self.group_of_label[gold], torch.ones_like(rows))
        sizes_BG[:, 0] = labels.offsets.diff()
        return sizes_BG

    def compute(self) -> dict[str, float]:
        """Every metric as a fraction in [0, 1], named `nDCG@3`, `R@5/tail`; over no documents all are 0."""
        documents, group_hits, group_recall, class_hits, class_ideal = (
            state.cpu().numpy()
            for state in (self.documents, self.group_hits, self.group_recall, self.class_hits, self.class_ideal)
        )
        discount = 1.0 / np.log2(np.arange(self.max_k) + 2.0)
        ideal_dcg = np.maximum(discount.cumsum(), 1.0)
        values: dict[str, float] = {}
        for k in self.ks:
            # What min(k, |Y|) is for the columns of group_hits; without gold labels there is no hit to divide.
            depth = np.arange(self.max_k + 1).clip(1, k)
            for group, suffix in enumerate(self.groups):
                found = group_hits[group, :k]
                dcg = (found * discount[:k, None]).sum(0) / ideal_dcg[depth - 1]
                values[f"P@{k}{suffix}"] = _ratio(found.sum(), k * documents[0])
                values[f"nDCG@{k}{suffix}"] = _ratio(dcg.sum(), documents[group])
                values[f"R@{k}{suffix}"] = _ratio(group_recall[group, :k].sum() / RECALL_UNIT, documents[group])
            values[f"R-precision@{k}"] = _ratio((group_hits[0, :k].sum(0) / depth).sum(), documents[0])
            weight = self.class_weight[:, None]
            values[f"PSP@{k}"] = _ratio((weight * class_hits[:, :k]).sum(), (weight * class_ideal[:, :k]).sum())
            weight = weight * discount[:k]
            values[f"PSnDCG@{k}"] = _ratio((weight * class_hits[:, :k]).sum(), (weight * class_ideal[:, :k]).sum())
        return values


def _added(state: Tensor, cells: Tensor, counts: Tensor) -> Tensor:
    """state with counts added at flat positions. Not in place: a state made in inference mode could not be changed
    outside of it."""
    return state.flatten().index_add(0, cells.flatten(), counts.flatten()).view(state.shape)


def _ratio(numerator: float, denominator: float) -> float:
    # The numerator is never the larger one; a last bit of rounding above 1 is not worth a surprised reader.
    return min(float(numerator) / float(denominator), 1.0) if denominator else 0.0
