"""Which labels occur together in training, and the choice of labels that LabelCoRank makes with it."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from xmtc.data.batch import Labels


def partners(gold: Labels, num_labels: int, most: int, counts: bool = False) -> tuple[Tensor, Tensor]:
    """For each label i the `most` labels j that occur with it most often: ids (L, most) int64 and values (L, most).

    Value: n_ij / n_i, or n_ij with `counts`; n over the documents of `gold`, j is not i. Equal ones by ascending j.
    Places without a partner have value 0 (and id 0). Cost: a sparse product, the pairs of labels that occur together.
    """
    ids, offsets = gold.ids.numpy(), gold.offsets.numpy()
    has = csr_matrix((np.ones(len(ids), np.float64), ids, offsets), shape=(len(gold), num_labels))
    together = (has.T @ has).tocoo()
    keep = together.row != together.col
    rows, columns, values = together.row[keep], together.col[keep], together.data[keep]
    if not counts:
        values = values / np.maximum(np.bincount(ids, minlength=num_labels), 1)[rows]
    order = np.lexsort((columns, -values, rows))
    rows, columns, values = rows[order], columns[order], values[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    keep = place < most
    labels, weights = np.zeros((num_labels, most), np.int64), np.zeros((num_labels, most), np.float32)
    labels[rows[keep], place[keep]], weights[rows[keep], place[keep]] = columns[keep], values[keep]
    return torch.from_numpy(labels), torch.from_numpy(weights)


@torch.no_grad()
def expand(
    probabilities_BL: Tensor, partners_LM: Tensor, values_LM: Tensor, gamma: int, alpha: float, fallback: int = 5
) -> Tensor:
    """(B, gamma) int64, distinct labels: LabelCoRank's S2 and S3 (systems.md 8.1, steps 3 to 5). gamma is at most L.

    S2: labels with probability > alpha, the `fallback` most probable if there is none, by descending probability; then
    S3: labels by descending sum of the values that the labels of S2 give them; then, where those run out, the most
    probable others. Equal ones by ascending label. Cost: O(B L); no loop over documents.
    """
    B, L = probabilities_BL.shape
    probabilities_BL = probabilities_BL.double()
    first_BL = probabilities_BL > alpha
    nothing = (~first_BL.any(1)).nonzero().squeeze(1)
    if len(nothing):
        first_BL[nothing[:, None], largest(probabilities_BL[nothing], min(fallback, L))] = True
    documents, labels = first_BL.nonzero(as_tuple=True)
    cells = documents[:, None] * L + partners_LM[labels]
    scores = torch.zeros(B * L, dtype=torch.float64, device=probabilities_BL.device)
    scores.index_add_(0, cells.flatten(), values_LM[labels].double().flatten())
    # three tiers, each within (tier, tier + 1]: what is in S2, what occurs with it, the rest
    keys = probabilities_BL.flatten().clone()
    near = scores.nonzero().squeeze(1)
    keys[near] = 1 + scores[near] / (1 + scores[near])
    keys[documents * L + labels] = 2 + probabilities_BL[documents, labels]
    return largest(keys.view(B, L), gamma)


def largest(values_BL: Tensor, k: int) -> Tensor:
    """(B, k) int64: columns of the k largest of each row, largest first, equal ones by ascending column, which `topk`
    alone does not promise. Cost: one `topk` and a sort of the few that reach its last value."""
    least_B1 = values_BL.topk(k, dim=1).values[:, -1:]
    rows, columns = (values_BL >= least_B1).nonzero(as_tuple=True)
    order = values_BL[rows, columns].argsort(descending=True, stable=True)
    order = order[rows[order].argsort(stable=True)]
    counts = torch.bincount(rows, minlength=len(values_BL))
    place = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    return columns[order][place < k].view(-1, k)
