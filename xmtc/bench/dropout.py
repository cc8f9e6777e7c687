"""A training step of transformer layers on a CPU with dropout from cheap random numbers against PyTorch's own."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from xmtc.bench.compare import Bench, largest_error
from xmtc.encoders.bertxml import Layer
from xmtc.encoders.dropout import attention, cheap_dropout


def dropout(documents: int = 32, tokens: int = 128, size: int = 384, layers: int = 6, heads: int = 12) -> Bench:
    """MiniLM's sizes in bf16, dropout 0.1 as in its pretraining, every position real; forward and backward."""
    torch.manual_seed(0)
    stack = torch.nn.ModuleList(Layer(size, heads, 4 * size, 0.1, True) for _ in range(layers)).train()
    hidden = torch.randn(documents, tokens, size)
    mask = torch.ones(documents, tokens, dtype=torch.bool)

    def step():
        with torch.autocast("cpu", torch.bfloat16):
            states = hidden
            for layer in stack:
                states = layer(states, mask)
        return torch.autograd.grad(states.float().square().mean(), list(stack.parameters()))

    def ours():
        with cheap_dropout(hidden.device):
            return step()

    facts = {"documents": documents, "tokens": tokens, "layers": layers, "gradient_error": _error(heads)}
    return Bench(step, ours, facts)


def _error(heads: int) -> float:
    """Largest relative error of attention's gradients where next to nothing is dropped, against PyTorch's kernel."""
    parts = [torch.randn(2, heads, 9, 8, requires_grad=True) for _ in range(3)]
    mask = torch.rand(2, 1, 1, 9) > 0.3
    mask[..., 0] = True
    upstream = torch.randn(2, heads, 9, 8)
    ours = torch.autograd.grad(attention(*parts, mask, 1e-12, None), parts, upstream)
    theirs = torch.autograd.grad(F.scaled_dot_product_attention(*parts, attn_mask=mask), parts, upstream)
    return largest_error(ours, theirs)
