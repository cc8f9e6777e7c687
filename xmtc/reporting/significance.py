"""Is the difference between two configurations more than the choice of test documents?

Both look at the same documents, so everything is paired. Scores of several seeds are averaged first: what is tested is
the configuration on other documents of the same kind. How much seeds differ is the ± of the tables, not this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

RESAMPLES = 10_000
DRAWS = 40  # of signs for each comparison at least: the smallest p that there can be is 1 / 40 behind Holm's correction
CHUNK = 10_000_000  # random numbers held at a time


@dataclass(frozen=True)
class Comparison:
    """first minus second, as fractions. low, high: 95 % interval of the paired bootstrap (percentiles). p: two-sided
    sign-flip permutation test. adjusted: p by Holm over all comparisons of the family."""

    first: str
    second: str
    metric: str
    difference: float
    low: float
    high: float
    p: float
    adjusted: float = float("nan")


def compare(
    scores: Mapping[str, Mapping[str, np.ndarray]], metrics: Sequence[str], resamples: int = RESAMPLES, seed: int = 0
) -> list[Comparison]:
    """Every pair of configurations in every metric; scores: {configuration: {metric: (N,)}}, the same N documents.

    Costs O(resamples N) random numbers, twice, and their product with the scores of each configuration, whatever the
    number of pairs. Of more than resamples / DRAWS comparisons the permutation test draws more."""
    names = list(scores)
    pairs = list(combinations(range(len(names)), 2))
    if not pairs or not metrics:
        return []
    columns = np.stack([scores[name][metric] for metric in metrics for name in names], axis=1)  # (N, metrics x names)
    count = len(names)
    both = np.array([(m * count + a, m * count + b) for m in range(len(metrics)) for a, b in pairs]).T
    low, high = bootstrap_interval(columns, resamples, np.random.default_rng(seed), both)
    p = sign_flip_p(columns, max(resamples, DRAWS * both.shape[1]), np.random.default_rng(seed + 1), both)
    told = [(names[a], names[b], metric) for metric in metrics for a, b in pairs]
    means = _minus(columns.mean(0), both)
    found = [Comparison(*who, *map(float, numbers)) for who, *numbers in zip(told, means, low, high, p)]
    return [replace(each, adjusted=float(q)) for each, q in zip(found, holm(p))]


def bootstrap_interval(
    scores: np.ndarray,
    resamples: int,
    random: np.random.Generator,
    pairs: np.ndarray | None = None,
    level: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of the mean of each column of (N, C), over resamples of its rows; with pairs, (2, P), of the
    first column of each pair minus the second."""
    count = len(scores)
    means = np.empty((resamples, scores.shape[1]))
    for rows in _chunks(resamples, count):
        weights = random.multinomial(count, np.full(count, 1 / count), size=rows.stop - rows.start)
        means[rows] = weights @ scores / count
    tail = (1 - level) / 2
    low, high = np.quantile(_minus(means, pairs), [tail, 1 - tail], axis=0)
    return low, high


def sign_flip_p(
    scores: np.ndarray, resamples: int, random: np.random.Generator, pairs: np.ndarray | None = None
) -> np.ndarray:
    """Two-sided p of each column of (N, C), or pair of columns: how often is the mean as far from 0 when each
    document's difference gets a random sign. The drawn order itself counts as one, so p is never 0."""
    count = len(scores)
    observed = np.abs(_minus(scores.sum(0), pairs))
    observed -= 1e-9 * np.abs(scores).sum(0).max(initial=0)  # equal sums in another order
    extreme = np.zeros(len(observed), np.int64)
    for rows in _chunks(resamples, count):
        signs = random.integers(0, 2, size=(rows.stop - rows.start, count), dtype=np.int8).astype(np.float64) * 2 - 1
        extreme += (np.abs(_minus(signs @ scores, pairs)) >= observed).sum(0)
    return (extreme + 1) / (resamples + 1)


def _minus(columns: np.ndarray, pairs: np.ndarray | None) -> np.ndarray:
    return columns if pairs is None else columns[..., pairs[0]] - columns[..., pairs[1]]


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's adjusted p-values (step-down): below 0.05 each holds at a family-wise error of 5 %."""
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def _chunks(total: int, width: int):
    step = max(1, CHUNK // max(width, 1))
    for start in range(0, total, step):
        yield slice(start, min(start + step, total))
