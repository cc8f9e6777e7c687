"""Head, torso and tail: the labels split by how often they occur in training."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

import torch
from torch import Tensor

HEAD_TORSO = {"head": 0.1, "torso": 0.4}


def frequency_bins(
    label_frequency: Tensor, fractions: Mapping[str, float] = HEAD_TORSO, rest: str = "tail"
) -> tuple[list[str], Tensor]:
    """Names of the bins, most frequent first, and the bin of every label, (L + 1,) int64.

    Labels are ordered by descending training frequency, ties by lower id. Each entry of `fractions` takes the next
    share of the L labels (rounded up, so that no bin is empty on a small label set); `rest` takes what remains.
    Whatever their share, labels that never occur in training are in `rest`, and so is entry L of the result, which
    stands for every label unknown to the model.

    By default: head = the 10 % most frequent labels (LabelCoRank's head labels), torso = the next 40 %, tail = the
    remaining half. The share is of labels, not of occurrences: the head holds most of the occurrences.
    """
    if rest in fractions or min(fractions.values(), default=0.0) < 0 or sum(fractions.values()) > 1 + 1e-9:
        raise ValueError(
            f"label bins need shares >= 0 that sum to at most 1 and no bin called {rest!r}, got {dict(fractions)}"
        )
    names = [*fractions, rest]
    num_labels = len(label_frequency)
    order = torch.sort(label_frequency, descending=True, stable=True).indices
    bins = torch.full((num_labels + 1,), len(fractions), dtype=torch.int64, device=label_frequency.device)
    start, share = 0, 0.0
    for index, fraction in enumerate(fractions.values()):
        share += fraction
        stop = ceil(round(share * num_labels, 6))  # rounded first: 0.1 + 0.4 of the labels is not one more than half
        bins[order[start:stop]] = index
        start = stop
    bins[:num_labels][label_frequency == 0] = len(fractions)
    return names, bins
