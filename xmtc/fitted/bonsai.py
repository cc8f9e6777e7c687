"""Bonsai (Khandagale, Xiao, Babbar, Machine Learning 2020): a few shallow trees over the labels with a linear SVM
(`solver.py`) at each child, for label sets at which one machine a label takes too long.

Labels are grouped by spherical k-means of their mean documents, into up to `arity` groups a node, and each child has a
machine that was trained on the documents of its parent alone. P(label) is the product along its path; the search goes
into the `beam` best nodes of a level, and the trees, grown from other seeds, are averaged. The weights that count less
than `prune` are dropped, as in the paper. Parabel (Prabhu et al., WWW 2018) has deep trees of two balanced groups in
place of shallow ones.
"""

from __future__ import annotations

import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from xmtc.bounds import Bounds, Count, Natural, NotNegative, Positive
from xmtc.errors import InputError
from xmtc.fitted import solver
from xmtc.fitted.base import FittedModel
from xmtc.fitted.beam import Forest, search
from xmtc.fitted.compiled import njit
from xmtc.fitted.evidence import SMALLEST, Evidence, log_odds, through_trees
from xmtc.fitted.grow import label_means, machines, partition

log = logging.getLogger(__name__)


class Bonsai(FittedModel):
    """arity: groups of a node at most. leaves: labels that are not grouped any more. depth: machines on a path at most.
    trees: an average of so many. c, tolerance: of the SVMs. beam: nodes of a level that are gone into.

    Cost: of fitting, trees x (arity machines over all documents, and for each of its labels a document is met by as
    many at the next level); of a document to be labelled, trees x beam nodes a level, read at its own words alone.
    """

    def __init__(
        self,
        text,
        arity: Annotated[int, Bounds(least=2)] = 100,
        leaves: Count = 100,
        depth: Count = 3,
        trees: Count = 3,
        c: Positive = 1.0,
        tolerance: Positive = 0.1,
        prune: NotNegative = 0.1,
        beam: Count = 10,
        threads: Count | None = None,
        seed: int = 0,
        min_documents: Natural = 1,
        bigrams: bool = False,
    ):
        super().__init__(text, min_documents, bigrams)
        self.arity, self.leaves, self.depth, self.trees, self.beam = arity, leaves, depth, trees, beam
        self.c, self.tolerance, self.prune, self.seed = c, tolerance, prune, seed
        self.threads = threads or os.cpu_count() or 1
        self.forest: Forest | None = None
        self.num_labels = 0

    def check_can_fit(self) -> None:
        if njit is None:
            raise InputError("encoder=bonsai: needs numba: pip install 'xmtc[linear]'")

    def fit(self, features_NV: csr_matrix, targets_NL: csr_matrix) -> None:
        known = np.unique(targets_NL.indices)
        if not len(known):
            raise InputError("encoder=bonsai: none of the training documents has a label, so there is no tree to grow")
        means_LV, started = label_means(features_NV, targets_NL), time.monotonic()
        nodes, roots, fitted = [], [], []
        for tree in range(self.trees):
            own = partition(means_LV, known, self.arity, self.leaves, self.depth, (self.seed, tree))
            for done, machine in enumerate(machines(own, features_NV, targets_NL, self._machines, self.threads), 1):
                fitted.append(machine)
                if done == len(own) or done % 500 == 0:
                    log.info("tree %d: %d of %d nodes, %.0f s", tree + 1, done, len(own), time.monotonic() - started)
            roots.append(len(nodes))
            nodes += [np.where(node.child < 0, node.child, node.child + roots[-1]) for node in own]
        words, weights, biases = zip(*fitted, strict=True)
        self.num_labels = targets_NL.shape[1]
        self.forest = Forest(
            roots=np.array(roots),
            starts=_starts(nodes),
            child=np.concatenate(nodes).astype(np.int64),
            bias=np.concatenate(biases).astype(np.float32),
            word_starts=_starts(words),
            words=np.concatenate(words).astype(np.int32),
            entry_starts=_offsets(np.concatenate([np.diff(each.indptr) for each in weights])),
            places=np.concatenate([each.indices for each in weights]).astype(np.int32),
            weights=np.concatenate([each.data for each in weights]).astype(np.float32),
        )

    def _machines(self, features_NW: csr_matrix, has_NC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        weights_WC, bias_C = solver.fit_block(features_NW, has_NC, self.c, self.tolerance, self.seed)
        always = has_NC.all(axis=0)
        weights_WC[:, always], bias_C[always] = 0, 1.0
        weights_WC[np.abs(weights_WC) < self.prune] = 0
        return weights_WC, bias_C

    def topk(self, features_NV: csr_matrix, k: int) -> tuple[np.ndarray, np.ndarray]:
        N = features_NV.shape[0]
        labels, chances = np.full((N, k), -1, np.int64), np.full((N, k), SMALLEST, np.float32)
        indices, values = features_NV.indices.astype(np.int32, copy=False), features_NV.data
        offsets = features_NV.indptr.astype(np.int64)

        def some(rows: np.ndarray) -> None:
            if len(rows):
                first, end = rows[0], rows[-1] + 1
                search(offsets[first : end + 1], indices, values, *self.forest, self.beam,
                       np.zeros(self.num_labels, np.float32), labels[first:end], chances[first:end])  # fmt: skip

        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(some, np.array_split(np.arange(N), self.threads)))
        return log_odds(chances).astype(np.float32), filled(labels, self.num_labels)

    def evidence(self, features_1V: csr_matrix, label: int) -> Evidence:
        return through_trees(self.forest, features_1V, label)

    def state(self) -> dict[str, Tensor]:
        held = {name: torch.from_numpy(array) for name, array in self.forest._asdict().items()}
        return super().state() | held | {"labels": torch.tensor(self.num_labels)}

    def load(self, state: dict[str, Tensor]) -> None:
        super().load(state)
        self.num_labels = int(state["labels"])
        forest = Forest(**{name: state[name].numpy() for name in Forest._fields})
        forest.check(self.num_labels)
        self.forest = forest


def filled(labels_Nk: np.ndarray, num_labels: int) -> np.ndarray:
    """The lists, with labels that the search did not come to where they end (-1)."""
    k = labels_Nk.shape[1]
    for row in np.flatnonzero((labels_Nk < 0).any(axis=1)):
        count = int((labels_Nk[row] >= 0).sum())
        rest = np.setdiff1d(np.arange(min(num_labels, 2 * k)), labels_Nk[row, :count])
        labels_Nk[row, count:] = rest[: k - count]
    return labels_Nk


def _starts(parts) -> np.ndarray:
    """Offsets of parts that are laid one behind the other."""
    return _offsets([len(part) for part in parts])


def _offsets(lengths) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
