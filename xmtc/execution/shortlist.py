"""Training on a shortlist of labels: approximate, unlike every other execution. Evaluation scores all labels, exactly.

A step sees the labels that some document of the batch has (for all other documents they are negatives) and `negatives`
others, drawn uniformly without replacement. Each drawn label stands for (L - p) / n labels, p being the number of the
batch's own and n that of the drawn: with this weight its loss, and what it adds to the sums that a correlation block
gathers, are right on average. The loss without a head is therefore unbiased, and so is its gradient; with a head the
gathered sums are, but what nonlinearities make of them is not.

It spares the products and the (B, L) numbers, not the gradient of the label rows: the optimiser still goes over all L.
Sampled softmax corrects by the logarithm of the expected count; a sum of independent losses, which this is, by weights.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call

from xmtc.bounds import Count
from xmtc.data.batch import Labels
from xmtc.encoders.base import Encoded
from xmtc.execution.chunked import Chunked
from xmtc.heads.block import CorrelationBlock


class Shortlist(Chunked):
    """negatives: labels drawn a step, besides the batch's own. With as many labels as there are it is exact.
    chunk: of evaluations, as in Chunked."""

    def __init__(self, decoder, head, objective, negatives: Count = 1000, chunk: Count | None = None):
        super().__init__(decoder, head, objective, chunk, keep_raw=False)
        self.negatives = negatives

    def describe(self) -> str:
        return f"shortlist (approximate: {self.negatives} drawn negatives a step; evaluation exact)"

    def start(self) -> list:
        return []

    def loss(self, encoded: Encoded, labels: Labels) -> Tensor:
        ids, weights = self.draw(labels)
        rows, columns = _places(ids, labels, self.decoder.num_labels)
        logits = raw = self.decoder.some(encoded, ids)
        for block in self.head.blocks:
            logits = functional_call(block, _block_rows(block, ids, weights), (logits,))
        total = self._sum(logits, weights, rows, columns, ids)
        if self.head.raw_loss_weight:
            total = total + self.head.raw_loss_weight * self._sum(raw, weights, rows, columns, ids)
        return total / self.objective.normaliser(len(labels), self.decoder.num_labels)

    def draw(self, labels: Labels) -> tuple[Tensor, Tensor]:
        """Labels of a step (l,), ascending, and how many labels each stands for (l,)."""
        count, device = self.decoder.num_labels, labels.ids.device
        own = torch.unique(labels.ids[labels.ids < count])
        drawn = torch.randperm(count, device=device)[: self.negatives + len(own)]
        drawn = drawn[~torch.isin(drawn, own)][: self.negatives]
        share = (count - len(own)) / max(len(drawn), 1)
        ids, order = torch.cat([own, drawn]).sort()
        weights = torch.cat([torch.ones(len(own), device=device), torch.full((len(drawn),), share, device=device)])
        return ids, weights[order]

    def _sum(self, logits: Tensor, weights: Tensor, rows: Tensor, columns: Tensor, ids: Tensor) -> Tensor:
        z = logits.to(torch.promote_types(logits.dtype, torch.float32))
        true = z[rows, columns]
        positive = self.objective.positive(true, ids[columns]) - self.objective.negative(true)
        return (self.objective.negative(z) * weights.to(z.dtype)).sum() + positive.sum()


def _places(ids: Tensor, labels: Labels, count: int) -> tuple[Tensor, Tensor]:
    """Document and column of every positive; the batch's own labels are all in `ids`."""
    rows, own = labels.inside(0, count)
    return rows, torch.searchsorted(ids, own)


def _block_rows(block: CorrelationBlock, ids: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """The block's parameters for the shortlist; what a label adds to the sum is multiplied by what it stands for."""
    return {name: buffer[ids] for name, buffer in block.label_buffers().items()} | {
        "gather_weight": block.gather_weight[ids] * weights[:, None].to(block.gather_weight.dtype),
        "gather_bias": block.gather_bias,
        "spread_weight": block.spread_weight[ids],
        "spread_bias": block.spread_bias[ids],
    }
