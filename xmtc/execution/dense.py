"""Dense execution: all L logits of a batch at once. The readable reference; memory about (4n + 4) B L numbers."""

from __future__ import annotations

from torch import Tensor

from xmtc.data.batch import Labels
from xmtc.encoders.base import Encoded
from xmtc.execution.base import Execution
from xmtc.execution.topk import best


class Dense(Execution):
    """Runs decoder and head as they are."""

    def loss(self, encoded: Encoded, labels: Labels) -> Tensor:
        raw, enhanced = self.logits(encoded)
        loss = self.objective(enhanced, labels)
        if self.head.raw_loss_weight:
            loss = loss + self.head.raw_loss_weight * self.objective(raw, labels)
        return loss

    def topk(self, encoded: Encoded, k: int) -> tuple[Tensor, Tensor]:
        scores, labels = best(self.logits(encoded)[1], k)
        return scores.float(), labels

    def raw_and_enhanced_topk(self, encoded: Encoded, raw_k: int, k: int) -> tuple[tuple[Tensor, Tensor], ...]:
        """The decoder runs once for both."""
        found = [best(logits, n) for logits, n in zip(self.logits(encoded), (raw_k, k), strict=True)]
        return tuple((scores.float(), labels) for scores, labels in found)

    def logits(self, encoded: Encoded, labels: slice = slice(None)) -> tuple[Tensor, Tensor]:
        if len(self.head.blocks) == 0:
            raw = self.decoder(encoded, labels)
            return raw, raw
        raw = self.decoder(encoded)
        enhanced = self.head(raw)
        return raw[:, labels], enhanced[:, labels]
