"""Fusion of ranked lists: weighted mean of probabilities, or of reciprocal ranks.

mean      score(l) = sum_m w_m p_m(l); a label outside a member's list has p = 0 there
rank      score(l) = sum_m w_m (C + 1) / (C + rank_m(l)), C = 60 (reciprocal rank fusion, Cormack et al., SIGIR 2009,
          scaled to at most 1); a label outside a list adds 0. Not a probability until it is calibrated.
weighted  the mean with weights chosen for nDCG@5 on validation
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

METHODS = ("mean", "rank", "weighted")
CONSTANT = 60
BLOCK = 4096  # documents at a time
STEP = 0.05  # of the weights
FINE = 8  # rounds of coordinate search from the best corner


def pooled(labels: Sequence[np.ndarray], values: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Candidates (N, C) int64, ascending, -1 behind them, and each member's values for them (M, N, C) float32.

    labels, values: (N, K_m) a member; negative labels are padding; a label stands at most once in a list.
    """
    owners = np.concatenate([np.full(own.shape[1], m) for m, own in enumerate(labels)])
    every, numbers = np.concatenate(labels, axis=1), np.concatenate(values, axis=1)
    last = np.iinfo(np.int64).max
    every = np.where(every < 0, last, every)
    order = np.argsort(every, axis=1, kind="stable")
    every = np.take_along_axis(every, order, axis=1)
    first = np.diff(every, axis=1, prepend=-1) != 0
    place = np.cumsum(first, axis=1) - 1
    width = int(place[:, -1].max()) + 1 if place.size else 0
    candidates = np.full((len(every), width), -1, np.int64)
    rows = np.broadcast_to(np.arange(len(every))[:, None], every.shape)
    real = every != last
    candidates[rows[real], place[real]] = every[real]
    pooled_values = np.zeros((len(labels), len(every), width), np.float32)
    pooled_values[owners[order][real], rows[real], place[real]] = np.take_along_axis(numbers, order, axis=1)[real]
    return candidates, pooled_values


def member_values(method: str, labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(N, K): what a member's list contributes before its weight."""
    if method != "rank":
        return scores
    ranks = np.arange(1, labels.shape[1] + 1, dtype=np.float32)
    return np.broadcast_to((CONSTANT + 1) / (CONSTANT + ranks), labels.shape).astype(np.float32)


def fuse(
    method: str, weights: Sequence[float], labels: Sequence[np.ndarray], scores: Sequence[np.ndarray], k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Fused labels (N, k) int64, best first, ties by lower label, -1 where there are fewer; scores (N, k) float32."""
    count = len(labels[0])
    out_labels, out_scores = np.full((count, k), -1, np.int64), np.zeros((count, k), np.float32)
    weights = np.asarray(weights, np.float32)
    for start in range(0, count, BLOCK):
        rows = slice(start, start + BLOCK)
        values = [member_values(method, own[rows], mine[rows]) for own, mine in zip(labels, scores, strict=True)]
        candidates, pool = pooled([own[rows] for own in labels], values)
        fused = np.tensordot(weights, pool, axes=1)
        fused[candidates < 0] = -1
        order = np.argsort(-fused, axis=1, kind="stable")[:, :k]
        width = order.shape[1]
        out_labels[rows, :width] = np.take_along_axis(candidates, order, axis=1)
        out_scores[rows, :width] = np.maximum(np.take_along_axis(fused, order, axis=1), 0)
    return out_labels, out_scores


def choose_weights(pool: np.ndarray, candidates: np.ndarray, hit: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """(M,) weights of sum 1 with the largest nDCG@5: a grid for two or three members, then coordinate search.

    pool (M, N, C), candidates (N, C), hit (N, C) bool, gold (N,) true labels of each document. Of equals, the weights
    nearest to equal ones.
    """
    members = len(pool)
    corners = [np.eye(members)[m] for m in range(members)] + [np.full(members, 1 / members)]
    if members <= 3:
        steps = np.arange(0, 1 + STEP / 2, 2 * STEP)
        corners += [np.array([*w, 1 - sum(w)]) for w in product(steps, repeat=members - 1) if sum(w) <= 1 + 1e-9]
    score = {}

    def value(weights: np.ndarray) -> tuple[float, float]:
        key = tuple(np.round(weights, 6))
        if key not in score:
            score[key] = ndcg5(np.tensordot(np.asarray(key, np.float32), pool, axes=1), candidates, hit, gold)
        return score[key], -float(np.abs(np.asarray(key) - 1 / members).sum())

    found = max(corners, key=value)
    step = 2 * STEP
    for _ in range(FINE):
        moved = [found]
        for m in range(members):
            for change in (-step, step):
                tried = found.copy()
                tried[m] = max(0.0, tried[m] + change)
                if tried.sum() > 0:
                    moved.append(tried / tried.sum())
        found = max(moved, key=value)
        if found is moved[0]:
            step /= 2
    return np.round(found, 6)


def ndcg5(fused: np.ndarray, candidates: np.ndarray, hit: np.ndarray, gold: np.ndarray) -> float:
    """nDCG@5 of pooled candidates; documents without true labels count 0."""
    fused = np.where(candidates < 0, -1, fused)
    best = np.argsort(-fused, axis=1, kind="stable")[:, :5]
    discount = 1 / np.log2(np.arange(best.shape[1]) + 2)
    gained = (np.take_along_axis(hit, best, axis=1) * discount).sum(1)
    ideal = np.concatenate([[1], np.cumsum(1 / np.log2(np.arange(5) + 2))])[np.minimum(gold, 5)]
    return float((gained / ideal).mean()) if len(gained) else 0.0
