"""CorNet (Xun, Jha, Sun, Zhang: Correlation Networks for Extreme Multi-label Text Classification, KDD 2020).

Each block: y = x + W2 ELU(W1 sigmoid(x) + b1) + b2 (eq. 1-2), stacked on logits, trained jointly from scratch.
R is not in the paper; the authors' code has 1000 (EUR-Lex, AmazonCat-13K) and 100 or 200 (Wiki-500K).
"""

from __future__ import annotations

from typing import Literal

from xmtc.bounds import Count
from xmtc.heads.block import CorrelationBlock, CorrelationHead


class CorNet(CorrelationHead):
    """rank: R, the bottleneck. blocks: n. entry: activation on the way in, selectable in the authors' code.

    Parameters n (2RL + R + L).
    """

    def __init__(
        self,
        num_labels: int,
        rank: Count = 1000,
        blocks: Count = 2,
        entry: Literal["sigmoid", "relu", "tanh", "elu"] = "sigmoid",
    ):
        super().__init__([CorrelationBlock(num_labels, rank, entry) for _ in range(blocks)])
