"""Documents of frequent and of rare labels among the test documents: LabelCoRank's tables 5 and 6."""

from __future__ import annotations

import numpy as np
import torch

from xmtc.data.batch import Labels
from xmtc.errors import InputError
from xmtc.metrics.frequency_bins import frequency_bins


def frequency_subsets(
    gold: Labels, frequency_L: np.ndarray, share: float = 0.1, most: int = 2
) -> dict[str, np.ndarray]:
    """Rows of the documents by their true labels: `head` have head labels only, `tail` at most `most` of them. Head
    labels are the `share` most frequent in training. Documents without labels are in neither. This is the reading
    `subset_of_test`: a model trained on everything, scored on some documents."""
    if not 0 < share <= 1:
        raise InputError(f"head_share: expected above 0 and at most 1, got {share}")
    names, bins = frequency_bins(torch.from_numpy(np.asarray(frequency_L)), {"head": share})
    in_head = (bins[gold.ids.clamp(max=len(frequency_L))] == names.index("head")).numpy()
    rows = gold.rows().numpy()
    count = np.bincount(rows, minlength=len(gold))
    heads = np.bincount(rows, in_head, minlength=len(gold))
    return {
        "head": np.flatnonzero((count > 0) & (heads == count)),
        "tail": np.flatnonzero((count > 0) & (heads <= most)),
    }
