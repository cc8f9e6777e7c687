"""Dropout in transformer layers on a CPU: the same distribution from a quarter of the random numbers.

PyTorch draws one number for each element and makes a mask as wide as the values; a step of MiniLM spends a fifth of its
time there. Here one number of 64 bits serves four elements, 16 bits each, and the mask has a byte an element. So the
probability is a multiple of 1/65536 (0.1 becomes 0.1000061), and what is kept is divided by the share that this leaves:
the expectation is exact. The numbers come from PyTorch's default generator, as they would otherwise.

Attention with dropout, for which PyTorch has no fused kernel on a CPU, is written out in three products, in the type
of autocast; without dropout PyTorch's own kernel stays, which never holds the (T, T) scores.

`python -m xmtc.bench dropout` measures a step with and without. Shapes: N texts, H heads, Q queries, T positions.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

STEPS = 1 << 16  # values of 16 random bits


class _Kept(torch.autograd.Function):
    """x where the draw keeps it, else 0. Not divided yet; the gradient is the same selection."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dropped: int) -> Tensor:
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[: x.numel()].view(x.shape)  # -32768 to 32767, evenly
        keep = bits >= dropped - STEPS // 2
        ctx.save_for_backward(keep)
        return torch.where(keep, x, 0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (keep,) = ctx.saved_tensors
        return torch.where(keep, gradient, 0), None


def dropout(x: Tensor, p: float) -> Tensor:
    """As `torch.nn.functional.dropout` in training, for 0 < p < 1."""
    dropped = min(round(p * STEPS), STEPS - 1)
    return _Kept.apply(x, dropped).mul_(STEPS / (STEPS - dropped))


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, p: float, scale: float | None) -> Tensor:
    """As `scaled_dot_product_attention`: (N, H, Q, D), (N, H, T, D) twice -> (N, H, Q, D).

    mask: True where a position may be read, or numbers that are added to the scores; broadcast to (N, H, Q, T).
    """
    if torch.is_autocast_enabled("cpu"):
        query, key, value = (x.to(torch.get_autocast_dtype("cpu")) for x in (query, key, value))
    with torch.autocast("cpu", enabled=False):
        scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-1, -2)
        if mask is not None and mask.dtype == torch.bool:
            scores = scores.masked_fill_(~mask, torch.finfo(scores.dtype).min)
        elif mask is not None:
            scores = scores.add_(mask.to(scores.dtype))
        dropped = min(round(p * STEPS), STEPS - 1)
        # the values are divided in place of the weights: they are fewer
        return _Kept.apply(scores.softmax(-1), dropped) @ (value * (STEPS / (STEPS - dropped)))


class _Cheaper(TorchFunctionMode):
    """Puts the two in the place of PyTorch's, where they are asked to drop something."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.dropout and (found := _dropout_arguments(*args, **kwargs)):
            return dropout(*found)
        if func is F.scaled_dot_product_attention and (found := _attention_arguments(*args, **kwargs)):
            return attention(*found)
        return func(*args, **kwargs)


def _dropout_arguments(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> tuple | None:
    return (x, p) if training and not inplace and 0 < p < 1 and x.is_floating_point() else None


def _attention_arguments(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> tuple | None:
    plain = not is_causal and not enable_gqa and 0 < dropout_p < 1
    return (query, key, value, attn_mask, dropout_p, scale) if plain else None


def cheap_dropout(device: torch.device) -> contextlib.AbstractContextManager:
    """Within it dropout on a CPU is the one above; elsewhere nothing changes.

    Not around a part that is run again in the backward pass (gradient checkpointing): the second run is outside and
    would draw another mask. A checkpoint around the whole context is right: it is entered again with the same numbers.
    """
    return _Cheaper() if device.type == "cpu" else contextlib.nullcontext()
