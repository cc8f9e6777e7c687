"""For systems whose encoder already ends in one number a label."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmtc.decoders.base import LabelDecoder
from xmtc.errors import InputError


class GivenDecoder(LabelDecoder):
    """features (B, L) are the logits. No parameters.

    A decoder of another number of labels, which only an estimate of memory asks for, leaves the last ones out or
    answers 0 for those that the encoder has not.
    """

    def __init__(self, num_labels: int):
        super().__init__()
        self.num_labels = num_labels

    def forward(self, encoded, labels: slice = slice(None)) -> Tensor:
        given_BL = encoded.features
        if given_BL.shape[1] != self.num_labels:
            given_BL = F.pad(given_BL, (0, self.num_labels - given_BL.shape[1]))
        # a slice alone would be a view, and sweeps overwrite what they are given
        return given_BL if labels == slice(None) else given_BL[:, labels].clone()

    def some(self, encoded, ids):
        """Here too the features are what is cut."""
        return self(encoded)[:, ids]

    def slice_gradients(self, encoded, labels, grad_Bl, out):
        """The general way cannot: it cuts rows of parameters, and here the features are what is cut."""
        grad_BL = torch.zeros_like(encoded.features)
        start, stop, _ = labels.indices(self.num_labels)
        width = max(min(stop, grad_BL.shape[1]) - start, 0)
        grad_BL[:, start : start + width] = grad_Bl[:, :width]
        return grad_BL, {}

    def label_parameters(self) -> dict[str, nn.Parameter]:
        return {}

    def features_shape(self, documents, tokens):
        return documents, self.num_labels

    def set_prior(self, log_odds: Tensor) -> None:
        raise InputError("this encoder makes the logits itself and has no bias per label to start at a prior")
