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

    Costs O(resamples N) random numbers, twice, whatever the number of pairs, and a product with the scores. Of more
    than resamples / DRAWS comparisons the permutation test draws more."""
    names = list(scores)
    pairs = list(combinations(range(len(names)), 2))
    if not pairs or not metrics:
        return []
    columns = np.stack([scores[name][metric] for metric in metrics for name in names], axis=1)  # (N, metrics x names)
    count = len(names)
    firsts = [m * count + a for m in range(len(metrics)) for a, _ in pairs]
    seconds = [m * count + b for m in range(len(metrics)) for _, b in pairs]
    differences = columns[:, firsts] - columns[:, seconds]
    low, high = bootstrap_interval(differences, resamples, np.random.default_rng(seed))
    p = sign_flip_p(differences, max(resamples, DRAWS * len(firsts)), np.random.default_rng(seed + 1))
    told = [(names[a], names[b], metric) for metric in metrics for a, b in pairs]
    means = differences.mean(0)
    found = [Comparison(*who, *map(float, numbers)) for who, *numbers in zip(told, means, low, high, p)]
    return [replace(each, adjusted=float(q)) for each, q in zip(found, holm(p))]


def bootstrap_interval(
    differences: np.ndarray, resamples: int, random: np.random.Generator, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of the mean of each column of (N, C), over resamples of its rows."""
    count = len(differences)
    means = np.empty((resamples, differences.shape[1]))
    for rows in _chunks(resamples, count):
        weights = random.multinomial(count, np.full(count, 1 / count), size=rows.stop - rows.start)
        means[rows] = weights @ differences / count
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return low, high


def sign_flip_p(differences: np.ndarray, resamples: int, random: np.random.Generator) -> np.ndarray:
    """Two-sided p of each column of (N, C): how often is the mean as far from 0 when each document's difference gets a
    random sign. The drawn order itself counts as one, so p is never 0."""
    count = len(differences)
    observed = np.abs(differences.sum(0))
    slack = 1e-9 * np.maximum(np.abs(differences).sum(0), 1e-300)  # equal sums in another order
    extreme = np.zeros(differences.shape[1], np.int64)
    for rows in _chunks(resamples, count):
        signs = random.integers(0, 2, size=(rows.stop - rows.start, count), dtype=np.int8).astype(np.float64) * 2 - 1
        extreme += (np.abs(signs @ differences) >= observed - slack).sum(0)
    return (extreme + 1) / (resamples + 1)


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
