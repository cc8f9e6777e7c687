"""How far the labels' conditional dependencies in the answers are from those in the data (LACO, eq. 8).

    p(b | a) = #(a, b) / #(a),   distance = sum over a != b of p_g(b | a) ln( p_g(b | a) / p_p(b | a) )

with p_g counted in the true sets and p_p in the predicted ones. The paper leaves open what a pair is that is never
predicted, the base, and how it is reduced. Here: natural logarithm; p_p at least `epsilon`; pairs with p_g = 0 count 0;
three reductions. The terms of one a do not sum to one, so the distance may be negative.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix


def conditional(sets: csr_matrix) -> csr_matrix:
    """(M, M) p(b | a) of sets (N, M) bool, diagonal empty."""
    counts = sets.astype(np.float64)
    together = (counts.T @ counts).tocsr()
    own = together.diagonal()
    together.setdiag(0)
    together.eliminate_zeros()
    together.data /= np.repeat(own, np.diff(together.indptr))
    return together


def distance(gold: csr_matrix, predicted: csr_matrix, epsilon: float = 1e-6) -> dict[str, float]:
    """sum; by_label: over the labels a that have a partner in the data; by_pair: over the pairs with p_g > 0."""
    true, answered = conditional(gold).tocoo(), conditional(predicted)
    if not true.nnz:
        return {"sum": 0.0, "by_label": 0.0, "by_pair": 0.0}
    theirs = np.asarray(answered[true.row, true.col]).ravel()
    total = float((true.data * np.log(true.data / np.maximum(theirs, epsilon))).sum())
    return {"sum": total, "by_label": total / len(np.unique(true.row)), "by_pair": total / true.nnz}
