"""LACO's cross attention behind the cosines, forward and backward: without the answers against Conv2d and amax."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from xmtc.bench.compare import Bench, largest_error
from xmtc.encoders.window_max import window_max as largest


def window_max(documents: int = 32, positions: int = 218, labels: int = 90, size: int = 10) -> Bench:
    """Reuters' shapes in bf16; gradients reach the cosines, the filters and their bias. gradient_error: in float32."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(documents, positions + size - 1, labels + size - 1, generator=generator).requires_grad_()
    weight = torch.randn(labels, size, size, generator=generator).mul_(0.05).requires_grad_()
    bias = torch.randn(labels, generator=generator).requires_grad_()
    upstream = torch.randn(documents, positions, generator=generator)

    def ours():
        return torch.autograd.grad(largest(image, weight, bias).float(), [image, weight, bias], upstream)

    def baseline():
        found = F.conv2d(image[:, None], weight[:, None], bias).amax((1, 3))
        return torch.autograd.grad(found.float(), [image, weight, bias], upstream)

    def in_bf16(way):
        with torch.autocast("cpu", torch.bfloat16):
            return way()

    error = largest_error(ours(), baseline())
    facts = {"documents": documents, "positions": positions, "labels": labels, "gradient_error": error}
    return Bench(lambda: in_bf16(baseline), lambda: in_bf16(ours), facts)
