"""Clipping of the global gradient norm, sparse gradients included (torch's own refuses them)."""

from __future__ import annotations

import math

import pytorch_lightning as pl
import torch
from torch import Tensor

from xmtc.bounds import Count, Positive
from xmtc.execution.base import on_host


class Clipping(pl.Callback):
    """Scales all gradients so that their common norm is at most `norm`."""

    def __init__(self, norm: Positive = 1.0):
        self.norm = norm

    def limit(self, total: Tensor) -> float | Tensor:
        return self.norm

    def on_before_optimizer_step(self, trainer, module, optimizer) -> None:
        grads = {p: p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None}
        if not grads:
            return
        total = module.execution.squared_norm(grads).sqrt().double()
        limit = self.limit(total)
        factor = torch.where(total > limit, limit / (total + 1e-6), 1.0)
        if not on_host(factor) or factor != 1:
            for grad in grads.values():
                (grad._values() if grad.is_sparse else grad).mul_(factor)
        module.execution.finish_step(factor)


class AdaptiveClipping(Clipping):
    """The authors' rule (AttentionXML's code): m = largest of the last `window` recorded norms (one +inf at first);
    clip at factor m; then record min(norm, 2 m, 1). So the first `window` steps are free, later limits at
    most `factor`."""

    def __init__(self, factor: Positive = 5.0, window: Count = 5):
        self.factor, self.window = factor, window
        self.recorded = torch.tensor([math.inf], dtype=torch.float64)  # where the norms are, so that none is read

    def limit(self, total: float | Tensor) -> Tensor:
        total = torch.as_tensor(total, dtype=torch.float64)
        recorded = self.recorded.to(total.device)
        largest = recorded.max()
        new = torch.minimum(total, 2 * largest).clamp(max=1.0)
        self.recorded = torch.cat([recorded, new[None]])[-self.window :]
        return self.factor * largest

    def state_dict(self) -> dict:
        return {"recorded": self.recorded.tolist()}

    def load_state_dict(self, state: dict) -> None:
        self.recorded = torch.tensor(state["recorded"], dtype=torch.float64)
