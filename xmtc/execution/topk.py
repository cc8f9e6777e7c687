"""The k best labels, best first; equal scores in ascending label order.

On a CPU most labels never reach the sort. Labels are put into groups; the k-th largest of the groups' maxima is a score
that at least k labels reach, so whatever lies below it is out: one pass for the maxima, one for the comparison, and a
sort of the few that are left (about 1.25 k of 3,956 labels, k = 100). Three times as fast as a selection over all
labels (experiments/LOG.md).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

GROUP = 16  # labels a group at most: more make fewer maxima to select from, but more labels reach the threshold
SMALLEST_GROUP = 4  # below that the passes cost what they spare
BLOCK = 2**20  # scores that are worked through at a time: four MiB, much of which stays in a cache
MOST = 4  # times k labels at the threshold, beyond which so many scores are equal that nothing is gained


def best(scores_Bl: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Scores (B, k) and labels (B, k) int64, k cut to l. Of equal scores at the cut, the lowest labels are in."""
    k = min(k, scores_Bl.shape[1])
    if scores_Bl.device.type == "cpu" and scores_Bl.dtype is not torch.float64 and k and len(scores_Bl):
        labels = _filtered(scores_Bl.detach(), k)
        if labels is not None:
            return scores_Bl.gather(1, labels), labels
    return _selected(scores_Bl, k)


def _selected(scores_Bl: Tensor, k: int) -> tuple[Tensor, Tensor]:
    scores, labels = scores_Bl.topk(k, dim=1)
    # topk takes any of the labels that tie at the cut, of which half precision makes many
    cut = scores[:, -1:]
    above = (scores > cut).sum(dim=1, keepdim=True)
    rows = ((scores_Bl == cut).sum(dim=1, keepdim=True) > k - above).squeeze(1).nonzero().squeeze(1)
    if len(rows):
        columns = torch.arange(scores_Bl.shape[1], dtype=torch.int32, device=scores_Bl.device)
        tied = torch.where(scores_Bl[rows] == cut[rows], -columns, -len(columns))
        lowest = -tied.topk(k, dim=1).values.long()
        place = torch.arange(k, device=rows.device) - above[rows]
        labels[rows] = torch.where(place < 0, labels[rows], lowest.gather(1, place.clamp(min=0)))
    labels, order = labels.sort(dim=1)
    scores, order = scores.gather(1, order).sort(dim=1, descending=True, stable=True)
    return scores, labels.gather(1, order)


def _filtered(scores_Bl: Tensor, k: int) -> Tensor | None:
    """Labels (B, k) as `best` orders them, by a threshold; None where it would spare nothing: few labels for their k,
    many equal scores, or scores that are not numbers."""
    documents, count = scores_Bl.shape
    size = min(GROUP, count // (2 * k))
    if size < SMALLEST_GROUP:
        return None
    labels = np.empty((documents, k), np.int64)
    step = min(max(BLOCK // count, 1), documents)
    reached = np.empty((step, count), bool)  # fresh memory for every block would cost as much as the comparison
    for start in range(0, documents, step):
        part = slice(start, start + step)
        values = scores_Bl[part].float().numpy()
        if not _filter(values, size, reached[: len(values)], labels[part]):
            return None
    return torch.from_numpy(labels)


def _filter(values: np.ndarray, size: int, reached: np.ndarray, labels: np.ndarray) -> bool:
    """Writes the labels (b, k) of a block of documents. reached: (b, l), overwritten. False: too few or too many labels
    reached the threshold. In NumPy, whose selection and sort of numbers are several times as fast as PyTorch's."""
    (documents, count), k = values.shape, labels.shape[1]
    groups = count // size  # what is left over at the end is in no group, and compared like the rest
    maxima = values[:, : size * groups].reshape(documents, size, groups).max(axis=1)
    threshold = np.partition(maxima, groups - k, axis=1)[:, groups - k, None]
    places = np.flatnonzero(np.greater_equal(values, threshold, out=reached))
    first = np.arange(documents) * count
    starts = np.searchsorted(places, first)
    counts = np.diff(starts, append=len(places))
    if counts.min() < k or counts.max() > MOST * (k + size):
        return False
    keys = np.full((documents, counts.max()), np.iinfo(np.int64).min)
    # one after the other in `places`, each document's in a row of their own in `keys`
    shift = np.arange(documents) * keys.shape[1] - starts
    keys.reshape(-1)[np.arange(len(places)) + np.repeat(shift, counts)] = _keys(values.reshape(-1)[places], places)
    keys.sort(axis=1)
    np.subtract(_PLACE - first[:, None], keys[:, : -k - 1 : -1] & _PLACE, out=labels)
    return True


_PLACE = (1 << 32) - 1


def _keys(scores: np.ndarray, places: np.ndarray) -> np.ndarray:
    """int64 that are in the order of scores, and of descending places where scores are equal."""
    bits = (scores + np.float32(0)).view(np.int32)  # + 0: there is no negative zero after it
    ordered = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
    return (ordered.astype(np.int64) << 32) | (_PLACE - places)
