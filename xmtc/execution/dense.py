"""Dense execution: all L logits of a batch at once. The readable reference; memory about (4n + 4) B L numbers."""

from __future__ import annotations

from torch import Tensor

from xmtc.data.batch import Labels
from xmtc.decoders.base import LabelDecoder
from xmtc.encoders.base import Encoded
from xmtc.execution.topk import best
from xmtc.heads.block import CorrelationHead


class Dense:
    """Runs decoder and head. The training module asks for `loss` and `topk`, analyses for `logits`."""

    def __init__(self, decoder: LabelDecoder, head: CorrelationHead, objective):
        self.decoder, self.head, self.objective = decoder, head, objective

    def loss(self, encoded: Encoded, labels: Labels) -> Tensor:
        """Scalar: the objective of the enhanced logits, plus the head's share of that of the raw ones."""
        raw, enhanced = self.logits(encoded)
        loss = self.objective(enhanced, labels)
        if self.head.raw_loss_weight:
            loss = loss + self.head.raw_loss_weight * self.objective(raw, labels)
        return loss

    def topk(self, encoded: Encoded, k: int) -> tuple[Tensor, Tensor]:
        """Enhanced logits (B, k) float32 and labels (B, k) int64, best first."""
        scores, labels = best(self.logits(encoded)[1], k)
        return scores.float(), labels

    def logits(self, encoded: Encoded, labels: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Raw and enhanced logits (B, l) of a slice of labels. Without a head both are the same tensor."""
        if len(self.head.blocks) == 0:
            raw = self.decoder(encoded, labels)
            return raw, raw
        raw = self.decoder(encoded)
        enhanced = self.head(raw)
        return raw[:, labels], enhanced[:, labels]
