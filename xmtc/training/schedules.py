"""Learning-rate factors by step."""

from __future__ import annotations

import math
from typing import Literal

from xmtc.bounds import NotNegative, Share


class Schedule:
    """Linear warm-up over a share of all steps, then constant, or falling to `final` linearly or by a half cosine.

    Called with (step, total steps), answers the factor of the learning rate.
    """

    def __init__(
        self, shape: Literal["constant", "linear", "cosine"] = "constant", warmup: Share = 0.0, final: NotNegative = 0.0
    ):
        self.shape, self.warmup, self.final = shape, warmup, final

    def __call__(self, step: int, total: int) -> float:
        rise = self.warmup * total
        if step < rise:
            return (step + 1) / math.ceil(rise)
        if self.shape == "constant":
            return 1.0
        left = 1 - min((step - rise) / max(total - rise, 1), 1.0)
        share = left if self.shape == "linear" else 0.5 * (1 - math.cos(math.pi * left))
        return self.final + (1 - self.final) * share
