"""Binary relevance: TF-IDF and one linear SVM a label (LIBLINEAR's, in `solver.py`): the strong cheap baseline.

Squared hinge, L2; weights smaller than `prune` are dropped, which costs no accuracy and keeps a model of tens of
thousands of labels small (DiSMEC, Babbar & Schoelkopf, WSDM 2017: 0.01). A label's margin is taken as its logit: an
order is all that ranking needs, 0 is the SVM's own decision, and `xmtc.calibrate` makes probabilities.
Labels that no or every training document has get a constant margin of -1 or +1.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from scipy.sparse import csc_matrix, csr_matrix, hstack, vstack
from torch import Tensor

from xmtc.bounds import Count, Natural, NotNegative, Positive
from xmtc.errors import InputError
from xmtc.fitted import solver
from xmtc.fitted.base import FittedModel, best
from xmtc.fitted.compiled import njit
from xmtc.fitted.evidence import Evidence

log = logging.getLogger(__name__)
BLOCK = 256  # documents scored at a time


class BinaryRelevance(FittedModel):
    """c: cost of a training error. tolerance: of the solver (0.1 is LIBLINEAR's). jobs: threads, null for one a core.

    Cost: L fits over the whole training part; memory for weights a few thousand numbers a label, 64 (V + N) numbers a
    thread while it fits, and one (256, L) block of margins when it predicts.
    """

    def __init__(
        self,
        text,
        c: Positive = 1.0,
        tolerance: Positive = 0.1,
        prune: NotNegative = 0.01,
        jobs: Count | None = None,
        min_documents: Natural = 1,
        bigrams: bool = False,
    ):
        super().__init__(text, min_documents, bigrams)
        self.c, self.tolerance, self.prune, self.jobs = c, tolerance, prune, jobs
        self.weights_LV = self.bias_L = None
        self._margins_of: Callable[[csr_matrix], np.ndarray] | None = None  # made once: costs a copy

    def check_can_fit(self) -> None:
        if njit is None:
            raise InputError("encoder: br and cc need numba: pip install 'xmtc[linear]'")

    def fit(self, features_NV: csr_matrix, targets_NL: csr_matrix) -> None:
        columns, started = csc_matrix(targets_NL), time.monotonic()
        blocks = [columns[:, start : start + solver.WIDTH] for start in range(0, columns.shape[1], solver.WIDTH)]
        rows, biases, done = [], [], 0
        with ThreadPoolExecutor(self.jobs or os.cpu_count() or 1) as pool:
            for own, bias in pool.map(lambda block: self._machines(features_NV, block.toarray()), blocks):
                rows.append(own)
                biases.append(bias)
                done += len(bias)
                log.info("%d of %d labels, %.0f s", done, columns.shape[1], time.monotonic() - started)
        self._keep(vstack(rows, format="csr"), np.concatenate(biases))

    def _keep(self, weights_LV: csr_matrix, bias_L: np.ndarray) -> None:
        self.weights_LV, self.bias_L, self._margins_of = weights_LV, bias_L, None

    def _machines(self, features_NV: csr_matrix, has_NB: np.ndarray) -> tuple[csr_matrix, np.ndarray]:
        """Weights (B, V) and biases (B,) of labels given by the documents that have them."""
        always, sometimes = has_NB.all(axis=0), has_NB.any(axis=0)
        weights, bias = solver.fit_block(features_NV, has_NB, self.c, self.tolerance)
        constant = always | ~sometimes
        weights[:, constant], bias[constant] = 0, np.where(always, 1.0, -1.0)[constant]
        weights[np.abs(weights) < self.prune] = 0
        return csr_matrix(weights.T), bias

    def topk(self, features_NV: csr_matrix, k: int) -> tuple[np.ndarray, np.ndarray]:
        scores, labels = [np.zeros((0, k), np.float32)], [np.zeros((0, k), np.int64)]
        for start in range(0, features_NV.shape[0], BLOCK):  # never documents x labels of a whole part
            margins = self._margins(features_NV[start : start + BLOCK])
            for held, new in zip((scores, labels), best(margins, k), strict=True):
                held.append(new)
        return np.concatenate(scores), np.concatenate(labels)

    def _margins(self, block: csr_matrix) -> np.ndarray:
        if self._margins_of is None:
            self._margins_of = self._scorer()
        return self._margins_of(block)

    def _scorer(self) -> Callable[[csr_matrix], np.ndarray]:
        """Features of a few documents -> their scores (block, L)."""
        transposed = self.weights_LV.T.tocsr()
        return lambda block: (block @ transposed).toarray() + self.bias_L

    def evidence(self, features_1V: csr_matrix, label: int) -> Evidence:
        return Evidence(_products(features_1V, self.weights_LV[label]), float(self.bias_L[label]))

    def state(self) -> dict[str, Tensor]:
        weights = self.weights_LV
        return super().state() | {
            "values": torch.from_numpy(weights.data),
            "columns": torch.from_numpy(weights.indices.astype(np.int32)),
            "offsets": torch.from_numpy(weights.indptr.astype(np.int64)),
            "bias": torch.from_numpy(self.bias_L),
            "words": torch.tensor(weights.shape[1]),
        }

    def load(self, state: dict[str, Tensor]) -> None:
        super().load(state)
        parts = tuple(state[name].numpy() for name in ("values", "columns", "offsets"))
        bias_L = state["bias"].numpy()
        self._keep(csr_matrix(parts, shape=(len(bias_L), int(state["words"]))), bias_L)


class ClassifierChain(BinaryRelevance):
    """CC (Read et al., 2011; scikit-learn's `ClassifierChain` over the same SVMs): label j's machine also sees the
    answers for the labels before it, true ones in training and its own decisions when it predicts.

    Labels are in order of descending training frequency, which is fixed. Not for many labels: one after the other.
    """

    def fit(self, features_NV: csr_matrix, targets_NL: csr_matrix) -> None:
        columns = csc_matrix(targets_NL, dtype=np.float32)
        self.order_L = np.argsort(-np.diff(columns.indptr), kind="stable")
        columns = columns[:, self.order_L]
        N, L = columns.shape
        rows, biases, started = [], [], time.monotonic()
        for place in range(L):
            starts = np.minimum(columns.indptr, columns.indptr[place])  # the labels before it; the others are empty
            seen = csc_matrix((columns.data[: starts[-1]], columns.indices[: starts[-1]], starts), shape=(N, L))
            augmented = hstack([features_NV, seen], format="csr", dtype=np.float32)
            row, bias = self._machines(augmented, columns[:, [place]].toarray() > 0)
            rows.append(row)
            biases.append(bias)
            if place % 50 == 49 or place + 1 == L:
                log.info("%d of %d labels, %.0f s", place + 1, L, time.monotonic() - started)
        self._keep(vstack(rows, format="csr"), np.concatenate(biases))

    def _scorer(self) -> Callable[[csr_matrix], np.ndarray]:
        words = self.weights_LV.shape[1] - len(self.order_L)
        transposed, from_labels = self.weights_LV[:, :words].T.tocsr(), self.weights_LV[:, words:].toarray()

        def margins_of(block: csr_matrix) -> np.ndarray:
            from_words = (block @ transposed).toarray() + self.bias_L
            decided, margins = np.zeros_like(from_words), np.zeros_like(from_words)
            for place, label in enumerate(self.order_L):
                margins[:, label] = from_words[:, place] + decided @ from_labels[place]
                decided[:, place] = margins[:, label] > 0
            return margins

        return margins_of

    def evidence(self, features_1V: csr_matrix, label: int) -> Evidence:
        place = int(np.flatnonzero(self.order_L == label)[0])
        own, words = self.weights_LV[place], self.weights_LV.shape[1] - len(self.order_L)
        decided = self._margins(features_1V)[0] > 0
        before = self.order_L[own[:, words:].indices], own[:, words:].data
        labels = {int(other): float(amount) for other, amount in zip(*before, strict=True) if decided[other]}
        return Evidence(_products(features_1V, own[:, :words]), float(self.bias_L[place]), labels)

    def state(self) -> dict[str, Tensor]:
        return super().state() | {"order": torch.from_numpy(self.order_L.astype(np.int64))}

    def load(self, state: dict[str, Tensor]) -> None:
        super().load(state)
        self.order_L = state["order"].numpy()


def _products(features_1V: csr_matrix, weights_1V: csr_matrix) -> np.ndarray:
    """(n,) each of the n features times its weight."""
    return features_1V.data.astype(np.float64) * weights_1V[:, features_1V.indices].toarray()[0]
