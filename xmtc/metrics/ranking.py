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
from itertools import accumulate
from math import lcm, prod
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

    counts: Tensor
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
        self.shapes = {
            "documents": (groups,),  # N, then documents with a gold label in the bin
            "group_hits": (groups, k, k + 1),  # by rank and min(gold labels in the group, k)
            "group_recall": (groups, k),  # by rank, in 1 / RECALL_UNIT
            "class_hits": (classes, k),  # by class of label frequency and rank
            "class_ideal": (classes, k),  # the same for gold labels, rarest first
        }
        # one tensor, so that a batch is one addition and processes need one reduction
        starts = [0, *accumulate(prod(shape) for shape in self.shapes.values())]
        self.starts = dict(zip(self.shapes, starts, strict=False))
        self.add_state("counts", torch.zeros(starts[-1], dtype=torch.int64), dist_reduce_fx="sum")

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

        # of every predicted label twice: in the group of all labels and in its bin
        group_2BK = torch.stack([torch.zeros_like(predicted_BK), self.group_of_label[predicted_BK]])
        size_2BK = sizes_BG.expand(2, -1, -1).gather(2, group_2BK)
        place = group_2BK * self.max_k + ranks
        in_group = place * (self.max_k + 1) + size_2BK.clamp(max=self.max_k)
        recall = hit_BK * (RECALL_UNIT // size_2BK.clamp(min=1))
        in_class = self.class_of_label[predicted_BK] * self.max_k + ranks

        # Weight falls as frequency rises, and classes are in order of frequency: by class is by descending weight.
        # Labels that tie are of one class, so their order does not matter.
        class_of_gold = self.class_of_label[gold]
        by_weight = class_of_gold[(rows * len(self.class_weight) + class_of_gold).argsort()]
        position = torch.arange(len(rows), device=rows.device) - labels.offsets[rows]
        ideal = by_weight * self.max_k + position.clamp(max=self.max_k - 1)

        parts = {  # cells and what is added there
            "documents": (torch.arange(len(present), device=rows.device), present),
            "group_hits": (in_group, hit_BK.expand_as(in_group)),
            "group_recall": (place, recall),
            "class_hits": (in_class, hit_BK),
            "class_ideal": (ideal, (position < self.max_k).long()),
        }
        cells = torch.cat([(cell + self.starts[name]).flatten() for name, (cell, _) in parts.items()])
        added = torch.cat([value.flatten() for _, value in parts.values()])
        # not in place: a state made in inference mode could not be changed outside of it
        self.counts = self.counts.index_add(0, cells, added)

    def _group_sizes(self, labels: Labels, rows: Tensor, gold: Tensor) -> Tensor:
        """(B, G) int64: gold labels of each document, all and by bin."""
        groups = len(self.groups)
        sizes_BG = rows.new_zeros(len(labels) * groups)
        sizes_BG.index_add_(0, rows * groups + self.group_of_label[gold], torch.ones_like(rows))
        sizes_BG = sizes_BG.view(-1, groups)
        sizes_BG[:, 0] = labels.offsets.diff()
        return sizes_BG

    def compute(self) -> dict[str, float]:
        """Every metric as a fraction in [0, 1], named `nDCG@3`, `R@5/tail`; over no documents all are 0."""
        counts = self.counts.cpu().numpy()
        documents, group_hits, group_recall, class_hits, class_ideal = (
            counts[start : start + prod(shape)].reshape(shape)
            for start, shape in zip(self.starts.values(), self.shapes.values(), strict=True)
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


def _ratio(numerator: float, denominator: float) -> float:
    # The numerator is never the larger one; a last bit of rounding above 1 is not worth a surprised reader.
    return min(float(numerator) / float(denominator), 1.0) if denominator else 0.0
