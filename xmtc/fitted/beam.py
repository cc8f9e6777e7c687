"""Beam search through label trees, compiled: a document reads only the weights of its own words at nodes it visits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xmtc.errors import InputError
from xmtc.fitted.compiled import compiled

FLOATS = ("bias", "weights")


class Forest(NamedTuple):
    """T trees of n nodes with S children in all, W pairs (node, word) and E weights.

    roots (T,); starts (n + 1,): node -> its children; child (S,): a node, or ~label; bias (S,); word_starts (n + 1,):
    node -> its words; words (W,), ascending within a node; entry_starts (W + 1,): word of a node -> its weights;
    places (E,): the child within the node; weights (E,).
    """

    roots: np.ndarray
    starts: np.ndarray
    child: np.ndarray
    bias: np.ndarray
    word_starts: np.ndarray
    words: np.ndarray
    entry_starts: np.ndarray
    places: np.ndarray
    weights: np.ndarray

    def check(self, num_labels: int) -> None:
        """InputError: a forest that nobody has grown, at which the compiled search would read somewhere else."""
        nodes, children = len(self.starts) - 1, len(self.child)
        kinds = {name: "f" if name in FLOATS else "i" for name in self._fields}
        sound = (
            all((array.ndim, array.dtype.kind) == (1, kinds[name]) for name, array in self._asdict().items())
            and nodes > 0 and _offsets(self.starts, children) and _offsets(self.word_starts, len(self.words))
            and len(self.word_starts) == nodes + 1 and len(self.entry_starts) == len(self.words) + 1
            and _offsets(self.entry_starts, len(self.places)) and len(self.places) == len(self.weights)
            and len(self.bias) == children and ((self.roots >= 0) & (self.roots < nodes)).all()
            and (self.child < nodes).all() and (~self.child < num_labels).all()
        )  # fmt: skip
        if sound:
            node_of = np.repeat(np.arange(nodes), np.diff(self.starts))
            sound = ((self.child < 0) | (self.child > node_of)).all()  # downwards: the search ends
            width = np.repeat(np.diff(self.starts), np.diff(self.word_starts))  # children of each word's node
            sound &= ((self.places >= 0) & (self.places < np.repeat(width, np.diff(self.entry_starts)))).all()
        if not sound:
            raise InputError("checkpoints/best.ckpt: holds no label trees")


def _offsets(starts: np.ndarray, end: int) -> bool:
    return bool(len(starts) and starts[0] == 0 and starts[-1] == end and (np.diff(starts) >= 0).all())


def search(
    documents,
    indices,
    values,
    roots,
    starts,
    child,
    bias,
    word_starts,
    words,
    entry_starts,
    places,
    weights,
    beam,
    sums_L,
    labels_Nk,
    scores_Nk,
):
    """Fills labels (N, k) and scores (N, k): mean probability over the trees, best first, equal ones by label; -1 where
    fewer than k were reached. documents: offsets (N + 1,) into indices and values. sums (L,): scratch, zeros.

    A path's probability is the product over its machines' margins m of exp(-max(0, 1 - m)^2), that of their loss
    (Parabel, Prabhu et al., WWW 2018); at each level the `beam` best nodes are gone into.
    """
    widest = np.diff(starts).max()
    reached = np.empty(64, np.int64)  # grows
    margins = np.empty(widest, np.float32)
    for i in range(len(documents) - 1):
        count = 0
        for root in roots:
            nodes, chances = np.full(1, root, np.int64), np.zeros(1, np.float32)
            while len(nodes):
                room = 0
                for node in nodes:
                    room += starts[node + 1] - starts[node]
                below, logs, found = np.empty(room, np.int64), np.empty(room, np.float32), 0
                for at in range(len(nodes)):
                    node, first = nodes[at], starts[nodes[at]]
                    size = starts[node + 1] - first
                    margins[:size] = bias[first : first + size]
                    for place in range(documents[i], documents[i + 1]):
                        low, high, word = word_starts[node], word_starts[node + 1], indices[place]
                        low += np.searchsorted(words[low:high], word)
                        if low < high and words[low] == word:
                            for entry in range(entry_starts[low], entry_starts[low + 1]):
                                margins[places[entry]] += values[place] * weights[entry]
                    for c in range(size):
                        gap = max(np.float32(1) - margins[c], np.float32(0))
                        chance, target = chances[at] - gap * gap, child[first + c]
                        if target >= 0:
                            below[found], logs[found] = target, chance
                            found += 1
                            continue
                        if sums_L[~target] == 0:
                            if count == len(reached):
                                reached = np.concatenate((reached, np.empty(count + 64, np.int64)))
                            reached[count] = ~target
                            count += 1
                        sums_L[~target] += max(np.exp(chance), np.float32(1e-30))
                best = np.argsort(-logs[:found], kind="mergesort")[:beam]
                nodes, chances = below[best], logs[best]
        labels = np.sort(reached[:count])
        totals = sums_L[labels]
        order = np.argsort(-totals, kind="mergesort")[: labels_Nk.shape[1]]
        labels_Nk[i, : len(order)] = labels[order]
        scores_Nk[i, : len(order)] = totals[order] / len(roots)
        sums_L[labels] = 0


search = compiled(search)
