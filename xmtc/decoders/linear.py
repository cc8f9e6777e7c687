"""One weight row and one bias per label."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmtc.decoders.base import LabelDecoder
from xmtc.decoders.product import label_major, rows


class LinearDecoder(LabelDecoder):
    """logits = features W^T + b over (B, D) features. Cost 2BDl a call. Weights start Xavier-uniform (CorNet's code);
    the bias is PyTorch's default until `set_prior`."""

    def __init__(self, features: int, num_labels: int):
        super().__init__()
        self.num_labels = num_labels
        linear = nn.Linear(features, num_labels)  # PyTorch's default bias
        self.weight, self.bias = linear.weight, linear.bias
        nn.init.xavier_uniform_(self.weight)

    def forward(self, encoded, labels: slice = slice(None)) -> Tensor:
        features = encoded.features
        weight, bias = rows(self.weight, labels, features), rows(self.bias, labels, features)
        if labels == slice(None):
            return F.linear(features, weight, bias)
        return label_major(features, weight, bias)

    def slice_gradients(self, encoded, labels, grad_Bl, out):
        features = encoded.features
        if "weight" in out:
            out["weight"].product(grad_Bl.t(), features)
        if "bias" in out:
            out["bias"].put(grad_Bl.sum(dim=0))
        return grad_Bl @ rows(self.weight, labels, grad_Bl), {}

    def label_parameters(self) -> dict[str, nn.Parameter]:
        return {"weight": self.weight, "bias": self.bias}

    @torch.no_grad()
    def set_prior(self, log_odds: Tensor) -> None:
        self.bias.copy_(log_odds)
