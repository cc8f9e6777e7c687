"""The loss of a batch by chunks of labels: its value and its derivative by a chunk's logits, from sparse targets.

The loss is the sum over all labels as if none were true, corrected at the positives (training/objectives.py).
"""

from __future__ import annotations

import torch
from torch import Tensor

from xmtc.data.batch import Labels
from xmtc.execution.side import LabelSide

Positives = tuple[Tensor, Tensor, Tensor]


class Targets:
    """labels: of the batch, numbered over all processes. size: documents in a chunk's logits. dtype: in which is
    computed."""

    def __init__(self, side: LabelSide, labels: Labels, size: int, dtype: torch.dtype):
        self.objective, self.first_label, self.size, self.dtype = side.objective, side.first_label, size, dtype
        self.rows, self.ids = labels.rows(), labels.ids - side.first_label
        self.normaliser = side.objective.normaliser(len(labels), side.num_labels)

    def positives(self, chunk: slice) -> Positives:
        """For every positive of the batch: place in the chunk's flat (l, B), label, 1 if it lies in the chunk else 0.

        All P of them for each chunk, so that shapes do not depend on the labels and nothing waits for the device.
        """
        size = chunk.stop - chunk.start
        columns = self.ids - chunk.start
        inside = (columns >= 0) & (columns < size)
        columns = columns.clamp(0, size - 1)
        labels = columns + (self.first_label + chunk.start)
        return columns * self.size + self.rows, labels, inside

    def loss(self, logits: Tensor, positives: Positives) -> Tensor:
        """Of one chunk, not yet divided by the normaliser; float64."""
        objective, z = self.objective, logits.to(self.dtype)
        places, labels, inside = positives
        true = z.t().reshape(-1)[places]
        correction = objective.positive(true, labels) - objective.negative(true)
        return objective.negative(z).sum().double() + torch.where(inside, correction, 0).sum().double()

    def derivative(self, logits: Tensor, positives: Positives, scale: Tensor | float) -> Tensor:
        """(B, l) derivative of the loss by one chunk's logits, times `scale`."""
        objective, z = self.objective, logits.to(self.dtype)
        places, labels, inside = positives
        flat = z.t().reshape(-1)  # of logits that lie document after document a copy
        true = flat[places]
        derivative = objective.negative_derivative(flat)
        correction = objective.positive_derivative(true, labels) - objective.negative_derivative(true)
        derivative.scatter_add_(0, places, torch.where(inside, correction, 0)).mul_(scale / self.normaliser)
        return derivative.view(z.shape[1], z.shape[0]).t()
