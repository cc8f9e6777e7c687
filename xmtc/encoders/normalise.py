"""Normalisation of features, for encoders whose features all point the same way.

Features behind a ReLU or a maximum are much alike for all documents: a step of Adam then moves a label's logit the same
way for every document, and a corpus of rare labels is not learnt (experiments/LOG.md).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

GAIN = 0.3  # at the start: about the size of features without normalisation


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation (Ioffe and Szegedy 2015) over the documents of all processes, on any device.

    (B, D) -> (B, D), in float32 under autocast. So that training on P processes equals one process with P times the
    batch, which PyTorch's own does on GPUs alone. Two numbers a feature cross. A single document has no spread: it is
    normalised by the running statistics, as in evaluation. Gradients accumulated over micro-batches are those of the
    micro-batches' own statistics. Running statistics are not averaged by `recipe.averaging`: take `layer` with it.
    """

    def forward(self, features: Tensor) -> Tensor:
        values = features.float() if features.dtype in (torch.bfloat16, torch.float16) else features
        count = self._together(values.new_tensor(float(len(values)))) if self.training else None
        if count is None or count < 2:
            mean, variance = self.running_mean, self.running_var
        else:
            mean = self._together(values.sum(dim=0)) / count
            variance = self._together((values - mean).square().sum(dim=0)) / count
            with torch.no_grad():
                self.num_batches_tracked += 1
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
                unbiased = variance * (count / (count - 1))
                self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        return (values - mean) * torch.rsqrt(variance + self.eps) * self.weight + self.bias

    @staticmethod
    def _together(value: Tensor) -> Tensor:
        return all_reduce(value) if dist.is_initialized() and dist.get_world_size() > 1 else value


def make_normalisation(kind: Literal["layer", "batch"] | None, size: int) -> nn.Module:
    """kind: null, layer or batch. size: D."""
    if kind is None:
        return nn.Identity()
    norm = nn.LayerNorm(size) if kind == "layer" else BatchNorm(size)
    nn.init.constant_(norm.weight, GAIN)
    return norm
