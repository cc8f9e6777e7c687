"""No correlation head: the raw logits are the answer."""

from __future__ import annotations

from xmtc.heads.block import CorrelationHead


class NoHead(CorrelationHead):
    def __init__(self, num_labels: int):
        super().__init__()
