"""Numbers with bounds, as annotations: a component's signature is its schema, so it also says which numbers make sense.

    def __init__(self, hidden: Count = 300, dropout: Share = 0.5)

A configuration is checked against them before anything starts (config/check.py); nothing is checked at a call.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Bounds:
    """least <= x <= most and above < x < below; neither infinity nor nan fits."""

    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf
    below: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.least <= value <= self.most and self.above < value < self.below

    def __str__(self) -> str:
        names = {"of at least": self.least, "above": self.above, "up to": self.most, "below": self.below}
        return " and ".join(
            f"{name} {bound if isinstance(bound, int) else format(bound, 'g')}"
            for name, bound in names.items()
            if math.isfinite(bound)
        )


Count = Annotated[int, Bounds(least=1)]
Natural = Annotated[int, Bounds(least=0)]
Share = Annotated[float, Bounds(least=0, below=1)]  # left out, as dropout does: all of it would leave nothing
Probability = Annotated[float, Bounds(least=0, most=1)]
Positive = Annotated[float, Bounds(above=0)]
NotNegative = Annotated[float, Bounds(least=0)]
