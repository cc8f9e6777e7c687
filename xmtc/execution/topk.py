"""The k best labels, best first; equal scores in ascending label order."""

from __future__ import annotations

import torch
from torch import Tensor


def best(scores_Bl: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Scores (B, k) and labels (B, k) int64, k cut to l. Of equal scores at the cut, the lowest labels are in."""
    k = min(k, scores_Bl.shape[1])
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
