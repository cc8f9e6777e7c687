"""The largest answer of a convolution over its channels and along one axis, without keeping the answers.

LACO's cross attention looks at the cosines of M text positions and n labels through C = n channels of 10 x 10 and keeps
one number a position: the largest of C n' answers. Only that window and that channel get a gradient, so the way back
needs their place and no answer: B M n' C numbers less to keep (LACO on Reuters with 32 documents: 56 million), and a
sum over B M windows in place of a whole convolution. Of equal answers the first gets the gradient (`amax` would divide
it among them); both are subgradients.

`python -m xmtc.bench window-max` measures it against `Conv2d` and `amax`.
Shapes: B documents, (M + h - 1, n' + w - 1) the padded image, windows of (h, w), C channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ANSWERS = {"cpu": 1 << 21}  # at a time: what a processor's cache holds
MANY = 1 << 26  # on other devices


class _Largest(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        channels, height, width = weight.shape
        across = image.shape[2] - width + 1
        answers = (image.shape[1] - height + 1) * across * channels
        filters = weight.reshape(channels, -1).t()
        largest, places = [], []
        for part in image.split(max(1, ANSWERS.get(image.device.type, MANY) // max(answers, 1))):
            windows = part.unfold(1, height, 1).unfold(2, width, 1)  # (b, M, n', h, w), a view
            found = torch.addmm(bias, windows.reshape(-1, height * width), filters)
            value, place = found.view(*windows.shape[:2], across * channels).max(-1)
            largest.append(value)
            places.append(place)
            del found  # before those of the next documents are made
        ctx.save_for_backward(image, weight, torch.cat(places))
        return torch.cat(largest)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:  # type: ignore[override]
        image, weight, place_BM = ctx.saved_tensors
        channels, height, width = weight.shape
        documents, rows, columns = image.shape
        channel_BM, column_BM = place_BM % channels, place_BM // channels
        # where in the image the number (i, j) of the window of row m lies: ((m + i) columns) + column + j
        offset = torch.arange(height, device=image.device)[:, None] * columns
        offset = (offset + torch.arange(width, device=image.device)).flatten()
        start = torch.arange(place_BM.shape[1], device=image.device) * columns + column_BM
        spot = (start[..., None] + offset).view(documents, -1)  # (B, M h w)
        gradient = gradient.float()
        seen = image.view(documents, -1).gather(1, spot).view(*place_BM.shape, -1).float() * gradient[..., None]
        by_weight = seen.new_zeros(channels, height * width).index_add_(0, channel_BM.flatten(), seen.flatten(0, 1))
        by_bias = gradient.new_zeros(channels).index_add_(0, channel_BM.flatten(), gradient.flatten())
        by_image = None
        if ctx.needs_input_grad[0]:
            back = (weight.view(channels, -1).float()[channel_BM] * gradient[..., None]).view(documents, -1)
            by_image = back.new_zeros(documents, rows * columns).scatter_add_(1, spot, back).view_as(image)
            by_image = by_image.to(image.dtype)
        return by_image, by_weight.view_as(weight).to(weight.dtype), by_bias.to(weight.dtype)


def window_max(image: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(B, M + h - 1, n' + w - 1), (C, h, w), (C,) -> (B, M): the largest of the C n' answers of each row.

    In the type of autocast where it is on. Time B M n' C h w; memory of the answers of a few documents.
    """
    device = image.device.type
    if torch.is_autocast_enabled(device):
        image, weight, bias = (x.to(torch.get_autocast_dtype(device)) for x in (image, weight, bias))
    with torch.autocast(device, enabled=False):
        return _Largest.apply(image.contiguous(), weight, bias)
