"""Fits what turns logits into probabilities, on validation lists.

temperature: sigmoid(logit / T), T by maximum likelihood (Guo et al., ICML 2017). isotonic: the non-decreasing step
function closest to the hits (Zadrozny and Elkan, KDD 2002), interpolated. Each for all labels, or for head, torso and
tail labels apart; a bin with fewer than 50 true or 50 false pairs takes the map of all.

Only the K best labels of a document are seen, so what is estimated is the share of true labels among predicted ones of
the same logit, which is what a reader of predictions wants to know.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from xmtc.calibration.error import expected_calibration_error
from xmtc.calibration.file import LARGEST, Calibration
from xmtc.data.lists import Lists
from xmtc.errors import InputError
from xmtc.metrics.hits import hits

FEWEST = 50  # pairs of each kind
METHODS, SCOPES = ("temperature", "isotonic"), ("global", "bins")
SEED = 0  # of the two halves


def logits_of(scores: np.ndarray) -> np.ndarray:
    """float64 logits of probabilities; those that float32 cannot tell from 0 or 1 are cut."""
    p = np.asarray(scores, np.float64)
    edge = 1 / (1 + np.exp(LARGEST))
    p = np.clip(p, edge, 1 - edge)
    return np.log(p) - np.log1p(-p)


def hits_of(lists: Lists) -> np.ndarray:
    """(N, K) bool: is the predicted label true?"""
    return hits(torch.from_numpy(lists.labels), lists.gold).numpy()


def fit_temperature(logits: np.ndarray, hit: np.ndarray) -> dict:
    """The derivative of the likelihood by 1/T is monotone: bisection between 1/T = 1e-3 and 1e3."""
    low, high = np.log(1e-3), np.log(1e3)
    for _ in range(60):
        middle = (low + high) / 2
        slope = np.dot(logits, 1 / (1 + np.exp(-np.clip(np.exp(middle) * logits, -700, 700))) - hit)
        low, high = (low, middle) if slope > 0 else (middle, high)
    return {"temperature": float(np.exp(-(low + high) / 2))}


def fit_isotonic(logits: np.ndarray, hit: np.ndarray) -> dict:
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(logits, hit)
    x, y = fitted.X_thresholds_, fitted.y_thresholds_
    # the ends are often all true or all false: by the rule of succession, n such pairs are not certainty
    inner = y[(y > 0) & (y < 1)]
    lowest, highest = (inner[0], inner[-1]) if len(inner) else (0.5, 0.5)
    y = np.where(y == 0, min(1 / (int((logits <= x[y == 0].max(initial=-np.inf)).sum()) + 2), lowest), y)
    y = np.where(y == 1, max(1 - 1 / (int((logits >= x[y == 1].min(initial=np.inf)).sum()) + 2), highest), y)
    return {"logits": x.tolist(), "probabilities": y.tolist()}


FITTERS: dict[str, Callable[[np.ndarray, np.ndarray], dict]] = {
    "temperature": fit_temperature,
    "isotonic": fit_isotonic,
}


def fit(lists: Lists, method: str, by: str, names: list[str], bin_of_label: np.ndarray) -> Calibration:
    """One calibration of the given method and scope on all documents of `lists`. InputError: too few, as a half of
    those that are cross-fitted may be."""
    keep = lists.labels >= 0
    logits, hit, labels = logits_of(lists.scores)[keep], hits_of(lists)[keep], lists.labels[keep]
    if not FEWEST <= len(hit) or not hit.any():
        raise InputError(
            f"half of the validation documents have {len(hit)} predicted labels, {int(hit.sum())} of them true: too few"
            f" to fit, expected {FEWEST} or more, one of them true"
        )
    one = FITTERS[method](logits, hit)
    if by == "global":
        return Calibration(method, by, [one])
    bins, maps = bin_of_label[labels], []
    for i in range(len(names)):
        inside = hit[bins == i]
        enough = min(inside.sum(), (~inside).sum()) >= FEWEST
        maps.append(FITTERS[method](logits[bins == i], inside) if enough else one)
    return Calibration(method, by, maps, names, bin_of_label=bin_of_label)


def cross_fitted(lists: Lists, make: Callable[[Lists], Calibration]) -> np.ndarray:
    """(N, K) probabilities, those of each half of the documents from a calibration fitted on the other half."""
    half = np.random.default_rng(SEED).permutation(len(lists)) % 2 == 0
    probabilities = np.zeros(lists.scores.shape, np.float32)
    for side in (half, ~half):
        fitted = make(lists.take(np.flatnonzero(~side)))
        probabilities[side] = fitted(logits_of(lists.scores[side]), lists.labels[side])
    return probabilities


def errors(probabilities: np.ndarray, lists: Lists) -> dict[str, float]:
    """ECE of the best label, of the five best and of all K."""
    hit, real = hits_of(lists), lists.labels >= 0
    cuts = sorted({min(k, lists.labels.shape[1]) for k in (1, 5, lists.labels.shape[1])})
    return {
        f"ECE@{k}": expected_calibration_error(probabilities[:, :k][real[:, :k]], hit[:, :k][real[:, :k]]) for k in cuts
    }
