"""Products with label rows: into or onto a given tensor, and with rows that may be stored in a smaller type."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


def product(a: Tensor, b: Tensor, out: Tensor, add: bool = False) -> Tensor:
    """out = a b, or out += a b. Autocast leaves products in place alone, so under it the product is made first."""
    if torch.is_autocast_enabled(out.device.type) or out.dtype != a.dtype or a.dtype != b.dtype:
        return out.add_(a @ b) if add else out.copy_(a @ b)
    return out.addmm_(a, b, beta=float(add))


def label_major(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """features W^T + b as (B, l), laid out label after label like the rows of W: products with some thousand rows are
    a fifth to a half faster so than laid out document after document (experiments/LOG.md)."""
    return torch.addmm(bias.unsqueeze(1), weight, features.t().contiguous()).t()


class Place(NamedTuple):
    """Where a gradient goes: `add` to what is there (accumulation, without a second gradient) or in its place."""

    tensor: Tensor
    add: bool = False

    def product(self, a: Tensor, b: Tensor) -> None:
        product(a, b, self.tensor, self.add)

    def put(self, value: Tensor) -> None:
        if self.add:
            self.tensor.add_(value)
        else:
            self.tensor.copy_(value)


def rows(parameter: Tensor, labels: slice, like: Tensor) -> Tensor:
    """parameter[labels] in the type of `like`, where the rows are stored in a smaller one (bfloat16 weights).

    All labels are the parameter itself: autograd's slice would fill a second gradient of its size with zeros.
    """
    chosen = parameter if labels == slice(None) else parameter[labels]
    return chosen.to(like.dtype) if chosen.dtype == torch.bfloat16 else chosen
