"""How far probabilities are from frequencies."""

from __future__ import annotations

import numpy as np

BINS = 15


def expected_calibration_error(probabilities: np.ndarray, hits: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error of predicted labels (Naeini et al. 2015; Guo et al. 2017, 15 bins of equal width).

    probabilities, hits: one entry a (document, predicted label) pair, of any shape. The mean over pairs of the distance
    between a bin's mean probability and its share of true labels; 0 without pairs. Taken over the k best labels of each
    document it is the ECE@k of extreme classification.
    """
    probabilities, hits = np.asarray(probabilities, np.float64).ravel(), np.asarray(hits, np.float64).ravel()
    if not len(probabilities):
        return 0.0
    place = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(place, probabilities - hits, minlength=bins)
    return float(np.abs(gaps).sum() / len(probabilities))
