"""Losses that encoders add in training, from CSR labels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from xmtc.data.batch import Labels


def binary_cross_entropy(logits_BL: Tensor, labels: Labels) -> Tensor:
    """Sum over labels, mean over documents: sum softplus(z) - sum of z at the positives. Builds no target."""
    rows, columns = labels.inside(0, logits_BL.shape[1])
    return (F.softplus(logits_BL).sum() - logits_BL[rows, columns].sum()) / max(len(logits_BL), 1)
