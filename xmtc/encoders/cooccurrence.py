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
    """(B, gamma) int64, distinct labels: LabelCoRank's S2 and S3. gamma is at most L.

    S2: labels with probability > alpha, the `fallback` most probable if there is none, by descending probability; then
    S3: labels by descending sum of the values that the labels of S2 give them; then, where those run out, the most
    probable others. Equal ones by ascending label. Cost: a comparison of B L numbers and a sort of what S2 and its
    partners are, whatever L is; documents where those run out cost a selection from L each.
    """
    B, L = probabilities_BL.shape
    if B == 0:
        return torch.zeros(0, gamma, dtype=torch.int64, device=probabilities_BL.device)
    first_BL = probabilities_BL > alpha
    cells = first_BL.view(-1)
    first = _places(cells)
    documents = first.div(L, rounding_mode="floor")
    nothing = (torch.bincount(documents, minlength=B) == 0).nonzero().squeeze(1)
    if len(nothing):
        first_BL[nothing[:, None], largest(probabilities_BL[nothing], min(fallback, L))] = True
        first = _places(cells)
        documents = first.div(L, rounding_mode="floor")
    labels = first - documents * L
    partners_S = (documents[:, None] * L + partners_LM[labels]).flatten()
    met, place = torch.unique(torch.cat([partners_S, first]), return_inverse=True)
    scores = torch.zeros(len(met), dtype=torch.float64, device=met.device)
    scores.index_add_(0, place[: len(partners_S)], values_LM[labels].double().flatten())
    # two tiers, each within (tier, tier + 1]: what occurs with S2, and S2
    keys = torch.where(scores > 0, 1 + scores / (1 + scores), -1.0)
    keys[place[len(partners_S) :]] = 2 + probabilities_BL.reshape(-1)[first].double()
    # a row a document, cells ascending, which a stable sort keeps where keys are equal
    rows = met.div(L, rounding_mode="floor")
    held = torch.bincount(rows, minlength=B)
    place = torch.arange(len(met), device=met.device) - (held.cumsum(0) - held)[rows]
    keys_BW = keys.new_full((B, max(int(held.max()), gamma)), -1.0)
    keys_BW[rows, place] = keys
    cells_BW = torch.zeros_like(keys_BW, dtype=torch.int64)
    cells_BW[rows, place] = met - rows * L
    keys_BW, order = keys_BW.sort(dim=1, descending=True, stable=True)
    counts = (keys_BW > 0).sum(1)
    chosen = cells_BW.gather(1, order[:, :gamma])
    short = (counts < gamma).nonzero().squeeze(1)
    if len(short):  # the third tier
        rank = torch.arange(gamma, device=rows.device) - counts[short, None]
        taken = torch.where(rank < 0, chosen[short], L)
        own = torch.cat([probabilities_BL[short].double(), keys.new_zeros(len(short), 1)], dim=1)
        own.scatter_(1, taken, -1.0)  # the last column is that of no label
        fill = largest(own[:, :L], gamma)
        chosen[short] = torch.where(rank < 0, taken, fill.gather(1, rank.clamp(min=0)))
    return chosen


def _places(mask: Tensor) -> Tensor:
    """Where a flat mask is true, ascending. On a CPU by NumPy, ten times as fast as `nonzero` where little is true."""
    return torch.from_numpy(np.flatnonzero(mask.numpy())) if mask.device.type == "cpu" else mask.nonzero().squeeze(1)


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
