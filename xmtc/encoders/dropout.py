"""Dropout in transformer layers on a CPU: the same distribution from fewer random numbers, a mask of bits.

PyTorch draws one number for each element, compares and multiplies; a step of MiniLM spends a fifth of its time there.
Here one number of 64 bits serves as many elements as have room in it (bf16: four), its bits become a mask where they
lie, a piece at a time in the processor's cache, and a bitwise and clears what is dropped. The probability is therefore
a multiple of 2^-15 in bf16 (0.1 becomes 0.1000061), of 2^-31 in float32, and what is kept is divided by the share that
this leaves: the expectation is exact. The numbers come from PyTorch's default generator, as they would otherwise.

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
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # as wide as a number of so many bytes
PIECE = 1 << 15  # numbers of 64 bits: a quarter of a MiB stays in the cache


class _Kept(torch.autograd.Function):
    """x where the draw keeps it, else 0. Not divided yet; the gradient is the same selection."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dropped: int) -> Tensor:
        width = x.element_size()
        keep = _mask(x.numel(), width, dropped).view(x.shape)
        ctx.save_for_backward(keep)
        return (x.contiguous().view(INTEGERS[width]) & keep).view(x.dtype)

    @staticmethod
    @once_differentiable  # a selection of bits has no derivative of its own: refused, where zeros would be wrong
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (keep,) = ctx.saved_tensors
        return (gradient.contiguous().view(keep.dtype) & keep).view(gradient.dtype), None


def _mask(count: int, width: int, dropped: int) -> Tensor:
    """(count,) integers of `width` bytes, all bits set where an element is kept. dropped: of 2^(8 width - 1) values."""
    sign = 8 * width - 1
    words = torch.empty(-(-count * width // 8), dtype=torch.int64)
    for piece in words.split(PIECE):
        bits = piece.random_(-(2**63), None).view(INTEGERS[width])
        # without its sign a draw is 0 to 2^sign - 1; less `dropped` it is negative where it drops; the sign everywhere
        bits.bitwise_and_(2**sign - 1).sub_(dropped).bitwise_right_shift_(sign).bitwise_not_()
    return words.view(INTEGERS[width])[:count]


def _dropped(x: Tensor, p: float) -> tuple[int, float]:
    """Of how many values of a draw one drops, and what the kept are multiplied by."""
    values = 2 ** (8 * x.element_size() - 1)
    dropped = min(round(p * values), values - 1)
    return dropped, values / (values - dropped)


def dropout(x: Tensor, p: float) -> Tensor:
    """As `torch.nn.functional.dropout` in training, for 0 < p < 1."""
    dropped, factor = _dropped(x, p)
    return _Kept.apply(x, dropped).mul_(factor)


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, p: float, scale: float | None) -> Tensor:
    """As `scaled_dot_product_attention`: (N, H, Q, D), (N, H, T, D) twice -> (N, H, Q, D).

    mask: True where a position may be read, or numbers that are added to the scores; broadcast to (N, H, Q, T). Where
    nothing may be read, as by padding of a window, the answer is finite and means nothing.
    """
    if torch.is_autocast_enabled("cpu"):
        query, key, value = (x.to(torch.get_autocast_dtype("cpu")) for x in (query, key, value))
    with torch.autocast("cpu", enabled=False):
        scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-1, -2)
        if mask is not None and mask.dtype == torch.bool:
            scores = scores.masked_fill_(~mask, torch.finfo(scores.dtype).min)
        elif mask is not None:
            # -inf in a whole row, which in bf16 the least float32 becomes too, would make it NaN
            scores = scores.add_(mask.to(scores.dtype).clamp(min=torch.finfo(scores.dtype).min))
        weights = scores.softmax(-1)
        dropped, factor = _dropped(weights, p)
        # the values are divided in place of the weights: they are fewer
        return _Kept.apply(weights, dropped) @ (value * factor)


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
