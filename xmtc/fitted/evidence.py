"""What each feature of one document adds to a label's logit. The sums are exact.

A linear machine's parts are its features times its weights. A path through label trees bends three times: a machine's
margin m counts as -max(0, 1 - m)^2, a path as exp of their sum, the mean over the trees as its log odds. Each bend
takes the slope of its chord between the document and one without features (the rescale rule of DeepLIFT, Shrikumar et
al., ICML 2017), as the blocks of a head do in xmtc/explaining/attribution.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_matrix

from xmtc.fitted.beam import Forest

SMALLEST = 1e-7  # probability of labels that a search did not reach
NEAR = 1e-12  # the chord of two equal points is taken as flat: there is nothing to share out


@dataclass
class Evidence:
    """amounts: (n,), of the document's n features in the order of its row. without: the logit of no features.
    labels: what a chain's earlier answers add, by label."""

    amounts: np.ndarray
    without: float
    labels: dict[int, float] = field(default_factory=dict)


def log_odds(chances: np.ndarray) -> np.ndarray:
    chances = np.asarray(chances, np.float64).clip(SMALLEST, 1 - SMALLEST)
    return np.log(chances / (1 - chances))


def through_trees(forest: Forest, features_1V: csr_matrix, label: int) -> Evidence:
    """Of every path to the label, also of those that a narrow beam left out. Cost: O(children of the forest)."""
    above = np.full(len(forest.starts) - 1, -1)
    inner = np.flatnonzero(forest.child >= 0)
    above[forest.child[inner]] = inner
    node_of = np.repeat(np.arange(len(above)), np.diff(forest.starts))
    parts, logs = [], []  # of each path: (n,) amounts of its log chance; that with and without the features
    for slot in np.flatnonzero(forest.child == ~label):
        amounts, here, there = np.zeros(features_1V.nnz), 0.0, 0.0
        while slot >= 0:
            own = _of_machine(forest, node_of[slot], slot, features_1V)
            bias = float(forest.bias[slot])
            ends = np.array([-(max(0.0, 1 - margin) ** 2) for margin in (bias + own.sum(), bias)])
            amounts += own * _slope(ends, own.sum())
            here, there = here + ends[0], there + ends[1]
            slot = above[node_of[slot]]
        parts.append(amounts)
        logs.append((here, there))
    if not parts:  # no training document has the label
        return Evidence(np.zeros(features_1V.nnz), float(log_odds(0)))
    logs_T2 = np.array(logs)
    chances_T2 = np.exp(logs_T2)
    mean_2 = chances_T2.sum(0) / len(forest.roots)
    odds_2 = log_odds(mean_2)
    slope = _slope(odds_2, mean_2[0] - mean_2[1]) / len(forest.roots)
    slopes = [_slope(both, log[0] - log[1]) for both, log in zip(chances_T2, logs_T2, strict=True)]
    return Evidence(slope * (np.array(slopes) @ np.array(parts)), float(odds_2[1]))


def _slope(ends_2: np.ndarray, run: float) -> float:
    return 0.0 if abs(run) < NEAR else float((ends_2[0] - ends_2[1]) / run)


def _of_machine(forest: Forest, node: int, slot: int, features_1V: csr_matrix) -> np.ndarray:
    """(n,) what each feature adds to the margin of one child of a node."""
    low, high = forest.word_starts[node : node + 2]
    at = low + np.searchsorted(forest.words[low:high], features_1V.indices)
    amounts = np.zeros(features_1V.nnz)
    for i in np.flatnonzero(at < high):
        if forest.words[at[i]] == features_1V.indices[i]:
            entries = slice(*forest.entry_starts[at[i] : at[i] + 2])
            found = forest.places[entries] == slot - forest.starts[node]
            amounts[i] = features_1V.data[i] * forest.weights[entries][found].sum(dtype=np.float64)
    return amounts
