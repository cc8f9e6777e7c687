"""Losses that are sums over labels, computed from logits and CSR targets without a dense target.

Each is given by what a label costs when it is false, n(z), and when it is true, p(z); then

    loss = ( sum over all n(z)  +  sum over positives p(z) - n(z) ) / M

with M = B L (`reduction=mean`, the papers) or B (`reduction=label_sum`: per document, which keeps the size of gradients
independent of L). Values and derivatives by the logit are written out, so that any execution can use them slice by
slice.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from xmtc.bounds import NotNegative, Share
from xmtc.data.batch import Labels
from xmtc.metrics.propensity import inverse_propensities

Reduction = Literal["mean", "label_sum"]


class Objective:
    """Binary cross-entropy: n(z) = softplus(z), p(z) = softplus(-z); gradient sigmoid(z), minus 1 at the positives."""

    def __init__(self, reduction: Reduction = "label_sum"):
        self.reduction = reduction

    def prepare(self, label_frequency: Tensor, num_documents: int) -> None:
        """Told once what training knows of the labels: (L,) frequencies. Weighted losses override this."""

    def negative(self, z: Tensor) -> Tensor:
        return F.softplus(z)

    def negative_derivative(self, z: Tensor) -> Tensor:
        return torch.sigmoid(z)

    def positive(self, z: Tensor, labels: Tensor) -> Tensor:
        """z (p,): logits of the positives; labels (p,): their ids."""
        return F.softplus(-z)

    def positive_derivative(self, z: Tensor, labels: Tensor) -> Tensor:
        return torch.sigmoid(z) - 1

    def normaliser(self, documents: int, num_labels: int) -> int:
        return max(documents, 1) * (num_labels if self.reduction == "mean" else 1)

    def __call__(self, logits_BL: Tensor, labels: Labels) -> Tensor:
        """Scalar loss of dense logits. Memory: one (B, L) gradient, made in the backward pass."""
        return _LabelSum.apply(logits_BL, labels, self) / self.normaliser(*logits_BL.shape)


class _LabelSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits_BL, labels, objective):
        count = logits_BL.shape[1]
        # labels unknown to the model stay in the list and count 0: to drop them would mean to ask a GPU how many
        rows, columns, known = labels.rows(), labels.ids.clamp(max=max(count - 1, 0)), labels.ids < count
        if count == 0:
            rows, columns, known = rows[:0], columns[:0], known[:0]
        ctx.save_for_backward(logits_BL, rows, columns, known)
        ctx.objective = objective
        # sums over B L terms lose digits in half precision
        z = logits_BL.float() if logits_BL.dtype in (torch.float16, torch.bfloat16) else logits_BL
        true = z[rows, columns]
        correction = objective.positive(true, columns) - objective.negative(true)
        return objective.negative(z).sum() + torch.where(known, correction, 0).sum()

    @staticmethod
    def backward(ctx, grad):
        logits_BL, rows, columns, known = ctx.saved_tensors
        z = logits_BL.float() if logits_BL.dtype in (torch.float16, torch.bfloat16) else logits_BL
        derivative, true = ctx.objective.negative_derivative(z), z[rows, columns]
        correction = ctx.objective.positive_derivative(true, columns) - ctx.objective.negative_derivative(true)
        derivative.index_put_((rows, columns), torch.where(known, correction, 0), accumulate=True)
        return derivative.mul_(grad).to(logits_BL.dtype), None, None


class Focal(Objective):
    """Focal loss (Lin et al. 2017, eq. 4): n(z) = p^gamma softplus(z) and its mirror image, p = sigmoid(z)."""

    def __init__(self, gamma: NotNegative = 2.0, reduction: Reduction = "label_sum"):
        super().__init__(reduction)
        self.gamma = gamma

    def negative(self, z):
        return torch.sigmoid(z) ** self.gamma * F.softplus(z)

    def negative_derivative(self, z):
        p = torch.sigmoid(z)
        return p**self.gamma * (self.gamma * (1 - p) * F.softplus(z) + p)

    def positive(self, z, labels):
        return self.negative(-z)

    def positive_derivative(self, z, labels):
        return -self.negative_derivative(-z)


class Asymmetric(Objective):
    """Asymmetric loss (Ridnik et al. 2021, eq. 7): p shifted by `margin`, focused by `gamma_negative` where false."""

    def __init__(
        self,
        gamma_negative: NotNegative = 4.0,
        gamma_positive: NotNegative = 0.0,
        margin: Share = 0.05,
        reduction: Reduction = "label_sum",
    ):
        super().__init__(reduction)
        self.gamma, self.margin, self._true = gamma_negative, margin, Focal(gamma_positive)

    def _shifted(self, z):
        """(p - m)+ and log(1 - (p - m)+), the latter exact where m = 0 and p is near 1."""
        p = torch.sigmoid(z)
        shifted = (p - self.margin).clamp(min=0)
        log = -F.softplus(z) if self.margin == 0 else torch.log1p(-shifted)
        return p, shifted, log

    def negative(self, z):
        _, shifted, log = self._shifted(z)
        return -(shifted**self.gamma) * log

    def negative_derivative(self, z):
        p, shifted, log = self._shifted(z)
        # d shifted/dz = p (1 - p); with m = 0 the factor 1 - p cancels the 1 / (1 - shifted)
        slope = p if self.margin == 0 else p * (1 - p) / (1 - shifted)
        focus = shifted.clamp(min=torch.finfo(z.dtype).tiny) ** (self.gamma - 1) if self.gamma else 0.0
        value = shifted**self.gamma * slope - self.gamma * focus * log * p * (1 - p)
        return torch.where(shifted > 0, value, 0.0)

    def positive(self, z, labels):
        return self._true.positive(z, labels)

    def positive_derivative(self, z, labels):
        return self._true.positive_derivative(z, labels)


class PropensityWeighted(Objective):
    """Binary cross-entropy with positives weighted by inverse propensity (Jain et al. 2016), scaled to mean 1 over the
    training positives, so that rare labels count more and the size of the loss stays."""

    def __init__(self, a: float = 0.55, b: float = 1.5, reduction: Reduction = "label_sum"):
        super().__init__(reduction)
        self.a, self.b = a, b
        self.weights = None

    def prepare(self, label_frequency, num_documents):
        weights = torch.as_tensor(inverse_propensities(label_frequency, num_documents, self.a, self.b)).float()
        frequency = torch.as_tensor(label_frequency, dtype=torch.float32)
        self.weights = weights * frequency.sum() / (weights * frequency).sum().clamp(min=1e-9)

    def positive(self, z, labels):
        return self._weight(labels) * F.softplus(-z)

    def positive_derivative(self, z, labels):
        return self._weight(labels) * (torch.sigmoid(z) - 1)

    def _weight(self, labels):
        self.weights = self.weights.to(labels.device)
        return self.weights[labels]
