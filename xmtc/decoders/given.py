"""For systems whose encoder already ends in one number a label."""

from __future__ import annotations

from torch import Tensor, nn

from xmtc.decoders.base import LabelDecoder
from xmtc.errors import InputError


class GivenDecoder(LabelDecoder):
    """features (B, L) are the logits. No parameters."""

    def __init__(self, num_labels: int):
        super().__init__()
        self.num_labels = num_labels

    def forward(self, encoded, labels: slice = slice(None)) -> Tensor:
        return encoded.features[:, labels]

    def label_parameters(self) -> dict[str, nn.Parameter]:
        return {}

    def set_prior(self, log_odds: Tensor) -> None:
        raise InputError("this encoder makes the logits itself and has no bias per label to start at a prior")
