"""The directions in which training labels vary together most, as a start of a head's contexts.

With Y (N, L) the training labels, p their shares and n their counts, labels are made comparable as z-scores, those that
few documents have shrunk (their correlations are chance: two labels of one document alone correlate perfectly):

    Z_l = s_l (Y_l - p_l),    s_l = sqrt(n_l / (n_l + shrink)) / sqrt(p_l (1 - p_l))

The leading eigenvectors of Z^T Z / N are found by subspace iteration (Halko, Martinsson, Tropp 2011) from the sparse
counts Y^T Y alone; no L x L matrix, and no random number of the run.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import csr_matrix

from xmtc.data.batch import Labels
from xmtc.heads.block import CorrelationBlock

SHRINK = 10.0  # documents; a guess, not measured
SPARE, ROUNDS = 16, 8  # directions beside those asked for, and products with the matrix
LEAST = 1e-6  # of the largest eigenvalue: what is below is rounding


def leading(
    gold: Labels, num_labels: int, count: int, shrink: float = SHRINK, rounds: int = ROUNDS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors (L, r), values (r,) descending, and s (L,); r is `count`, or less where there are fewer directions.

    Cost: `rounds` products of the sparse (L, L) counts with (L, r) and as many QR decompositions: O(L r^2) each.
    """
    ids, offsets = gold.ids.numpy(), gold.offsets.numpy()
    documents = len(gold)
    has = csr_matrix((np.ones(len(ids)), ids, offsets), shape=(documents, max(num_labels, ids.max(initial=-1) + 1)))
    has = has[:, :num_labels]
    counts = np.asarray(has.sum(0)).ravel()
    share = counts / max(documents, 1)
    spread = np.sqrt(share * (1 - share))
    met = np.maximum(counts, 1)  # a label of no document has spread 0 and stays out
    scale = np.divide(np.sqrt(met / (met + shrink)), spread, out=np.zeros(num_labels), where=spread > 0)
    together = (has.T @ has).tocsr() / max(documents, 1)

    def product(vectors: np.ndarray) -> np.ndarray:
        scaled = scale[:, None] * vectors
        return scale[:, None] * (together @ scaled - share[:, None] * (share @ scaled))

    width = min(count + SPARE, num_labels)
    base = np.random.default_rng(0).standard_normal((num_labels, width))
    for _ in range(rounds):
        base, _ = np.linalg.qr(product(base))
    values, turn = np.linalg.eigh(base.T @ product(base))
    order = np.argsort(-values)[:count]
    order = order[values[order] > LEAST * max(values.max(initial=0.0), 1e-300)]
    vectors = base @ turn[:, order]
    largest = vectors[np.abs(vectors).argmax(0), np.arange(len(order))] if len(order) else np.ones(0)
    return vectors * np.sign(largest), values[order], scale


@torch.no_grad()
def start_gathers(blocks: Sequence[CorrelationBlock], gold: Labels) -> None:
    """Sets the gather weights of the blocks to the leading directions, the first block's R first; what is left of a
    block when they run out stays as it is.

    Over the training documents' own labels every context then varies as much as those of a random (Xavier) start do on
    average, so that the learning rate means the same.
    """
    num_labels, rank = blocks[0].gather_weight.shape
    vectors, values, scale = leading(gold, num_labels, rank * len(blocks))
    share = np.bincount(gold.ids.numpy(), minlength=num_labels)[:num_labels] / max(len(gold), 1)
    usual = np.sqrt(2 / (num_labels + rank) * (share * (1 - share)).sum())  # standard deviation of a random context
    weights = torch.from_numpy(usual * scale[:, None] * vectors / np.sqrt(values))
    for i, block in enumerate(blocks):
        chosen = weights[:, i * rank : (i + 1) * rank]
        block.gather_weight[:, : chosen.shape[1]] = chosen.to(block.gather_weight)
