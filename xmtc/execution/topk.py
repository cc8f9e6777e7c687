"""The k best labels, best first; equal scores in ascending label order."""

from __future__ import annotations

from torch import Tensor


def best(scores_Bl: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Scores (B, k) and labels (B, k) int64, k cut to l."""
    scores, labels = scores_Bl.topk(min(k, scores_Bl.shape[1]), dim=1)
    labels, order = labels.sort(dim=1)
    scores, order = scores.gather(1, order).sort(dim=1, descending=True, stable=True)
    return scores, labels.gather(1, order)
