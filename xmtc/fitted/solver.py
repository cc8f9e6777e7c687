"""Linear SVMs of many labels at once, with squared hinge: LIBLINEAR's problem and method, one pass for many labels.

For each label, minimise |w|^2 / 2 + C sum_i max(0, 1 - y_i (w x_i + b))^2 with b regularised as one more weight, by
dual coordinate descent (Hsieh et al., ICML 2008, algorithm 1), stopped as LIBLINEAR stops: when the projected gradients
of a pass lie within `tolerance`. LIBLINEAR reads all documents anew for every label; here a document is read once for
all labels of the block, whose weights of a word lie side by side: 4.5 times as fast on EURLEX57K
(experiments/LOG.md). Without its shrinking: labels that are done early go on until the block is, and end nearer to the
optimum.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from xmtc.fitted.compiled import compiled

WIDTH = 64  # labels of a block: fewer read the documents too often, more push the weights out of the caches
MOST = 1000  # passes


def fit_block(
    features_NV: csr_matrix, has_NB: np.ndarray, c: float, tolerance: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (V, B) and biases (B,) float32 of B labels, has_NB bool: which documents have them.

    Documents are visited in an order drawn anew in each pass, by `seed`. Cost: 10 to 20 passes of 4 N B words of a
    document; memory (V + N) B numbers. Releases the interpreter's lock.
    """
    N, B = has_NB.shape
    sign, alpha = np.where(has_NB, np.int8(1), np.int8(-1)), np.zeros((N, B), np.float32)
    weights, bias = np.zeros((features_NV.shape[1], B), np.float32), np.zeros(B, np.float32)
    starts, words = features_NV.indptr.astype(np.int64), features_NV.indices.astype(np.int32, copy=False)
    values = features_NV.data.astype(np.float32, copy=False)
    squares = np.asarray(features_NV.multiply(features_NV).sum(axis=1), np.float32).ravel() + np.float32(1)
    random = np.random.default_rng(seed)
    for _ in range(MOST):
        highest, lowest = np.zeros(B, np.float32), np.zeros(B, np.float32)  # of the optimum
        _pass(starts, words, values, random.permutation(N), sign, alpha, weights, bias, squares,
              np.float32(0.5 / c), highest, lowest)  # fmt: skip
        if not (highest - lowest > tolerance).any():
            break
    return weights, bias


def _pass(
    starts, words, values, order, sign_NB, alpha_NB, weights_VB, bias_B, squares_N, diagonal, highest_B, lowest_B
):
    """Every document once: the margins of all labels, their new dual variables, what that changes in the weights."""
    B = len(bias_B)
    margin = np.empty(B, np.float32)
    for i in order:
        for b in range(B):
            margin[b] = bias_B[b]
        for place in range(starts[i], starts[i + 1]):
            word, value = words[place], values[place]
            for b in range(B):
                margin[b] += value * weights_VB[word, b]
        step = np.float32(1) / (squares_N[i] + diagonal)
        changed = False
        for b in range(B):
            y, old = np.float32(sign_NB[i, b]), alpha_NB[i, b]
            gradient = y * margin[b] - np.float32(1) + diagonal * old
            projected = gradient if old > 0 else min(gradient, np.float32(0))
            highest_B[b] = max(highest_B[b], projected)
            lowest_B[b] = min(lowest_B[b], projected)
            new = max(old - gradient * step, np.float32(0))
            alpha_NB[i, b] = new
            margin[b] = (new - old) * y  # from here on the change
            changed = changed or new != old
        if changed:
            for b in range(B):
                bias_B[b] += margin[b]
            for place in range(starts[i], starts[i + 1]):
                word, value = words[place], values[place]
                for b in range(B):
                    weights_VB[word, b] += value * margin[b]


_pass = compiled(_pass, fastmath=True)
