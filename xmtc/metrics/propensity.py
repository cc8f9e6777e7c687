"""How likely an assigned label is to have been recorded, and the weights that make up for it.

Source: Jain, Prabhu, Varma, "Extreme multi-label loss functions for recommendation, tagging, ranking and other
missing label applications", KDD 2016, section 3.2. Rare labels are missing from gold sets more often than frequent
ones, so a hit on a rare label is worth more: w_l = 1 / p_l.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike


def constants(dataset: Mapping) -> dict[str, float]:
    """`propensity_a` and `propensity_b`, as `RankingMetrics` takes them, of a dataset's settings: nothing of what these
    do not say, as somebody's own may have none."""
    given = dataset.get("propensity") or {}
    return {f"propensity_{key}": given[key] for key in "ab" if key in given}


def propensities(label_counts: ArrayLike, num_documents: int, a: float = 0.55, b: float = 1.5) -> np.ndarray:
    """(L,) float64 in (0, 1]: p_l = 1 / (1 + C (N_l + b)^-a) with C = (ln N - 1) (b + 1)^a.

    label_counts: (L,) N_l, training documents that carry the label (array or CPU tensor); 0 is fine.
    num_documents: N, training documents. The published evaluation scripts count the documents set aside for
        validation in both N and N_l; so must the caller who wants to compare with printed numbers.
    a, b: 0.55, 1.5 by default; the paper fits 0.5, 0.4 for Wiki-500K and WikiLSHTC, 0.6, 2.6 for Amazon-670K and -3M.

    C is negative below three documents, which would give "probabilities" above 1 or below 0; there it is taken as 0
    and every propensity is 1.
    """
    if a < 0 or b <= 0:
        raise ValueError(f"propensities need a >= 0 and b > 0, got a={a}, b={b}")
    if num_documents < 1:
        raise ValueError(f"propensities need at least one training document, got {num_documents}")
    counts = np.asarray(label_counts, dtype=np.float64)
    if counts.size and counts.min() < 0:
        raise ValueError("propensities need label counts >= 0")
    c = max(np.log(num_documents) - 1.0, 0.0) * (b + 1.0) ** a
    return 1.0 / (1.0 + c * (counts + b) ** -a)


def inverse_propensities(label_counts: ArrayLike, num_documents: int, a: float = 0.55, b: float = 1.5) -> np.ndarray:
    """(L,) float64 >= 1: w_l = 1 / p_l, never larger for a more frequent label."""
    return 1.0 / propensities(label_counts, num_documents, a, b)
