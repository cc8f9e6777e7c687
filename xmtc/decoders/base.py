"""A LabelDecoder scores any slice of the labels: what chunked execution, shards and top-k stand on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from xmtc.encoders.base import Encoded


class LabelDecoder(nn.Module):
    """Raw logits of a slice of labels. `num_labels` is L."""

    num_labels: int

    def forward(self, encoded: Encoded, labels: slice = slice(None)) -> Tensor:
        """(B, l) raw logits of labels[start:stop]; slice(None) means all L."""
        raise NotImplementedError

    def label_parameters(self) -> dict[str, nn.Parameter]:
        """Parameters whose first dimension is the label; all others are shared by the labels."""
        raise NotImplementedError

    def set_prior(self, log_odds: Tensor) -> None:
        """Starts every label's logit at its log prior odds (L,). Decoders without a bias per label may refuse."""
        raise NotImplementedError
