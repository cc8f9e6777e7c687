"""Products with label rows: into a given place, and with rows that may be stored in a smaller type."""

from __future__ import annotations

import torch
from torch import Tensor


def product(a: Tensor, b: Tensor, out: Tensor) -> None:
    """out = a b. Autocast leaves `mm(out=)` alone, so under it the product is made first and copied."""
    if torch.is_autocast_enabled(out.device.type) or out.dtype != a.dtype or a.dtype != b.dtype:
        out.copy_(a @ b)
    else:
        torch.mm(a, b, out=out)


def rows(parameter: Tensor, labels: slice, like: Tensor) -> Tensor:
    """parameter[labels] in the type of `like`, where the rows are stored in a smaller one (bfloat16 weights).

    All labels are the parameter itself: autograd's slice would fill a second gradient of its size with zeros.
    """
    chosen = parameter if labels == slice(None) else parameter[labels]
    return chosen.to(like.dtype) if chosen.dtype == torch.bfloat16 else chosen
