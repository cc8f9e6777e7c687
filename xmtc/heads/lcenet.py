"""LCENet: a compact plug-in that turns raw label scores into correlation-enhanced ones.

Known of it are its parts (bottleneck, nonlinearity, residual), its O(RL) parameters and its ablations of those three;
its exact formula is not, and everything known agrees with CorNet's block. So this is CorNet's block with every part a
switch:

| variant            | setting                                             |
|--------------------|-----------------------------------------------------|
| full               | the defaults (equal to CorNet)                      |
| without bottleneck | bottleneck=false: one L x L matrix a block          |
| without residual   | residual=false                                      |
| without nonlinearity | entry=identity middle=identity                    |

A difference between CorNet and LCENet rows comes only from such settings, never from the class.
"""

from __future__ import annotations

from typing import Literal

from xmtc.errors import InputError
from xmtc.heads.block import CorrelationBlock, CorrelationHead, FullBlock


class LCENet(CorrelationHead):
    """rank: R. blocks: n. bottleneck, residual, entry, middle: the parts. dropout: on the (B, R) context.

    zero_init: blocks start as the identity (with a residual), so that training starts from the plain classifier.
    raw_loss_weight: adds this much of the loss of the raw logits. full_limit: most weights of an L x L matrix.
    """

    def __init__(
        self,
        num_labels: int,
        rank: int = 1000,
        blocks: int = 2,
        bottleneck: bool = True,
        residual: bool = True,
        entry: Literal["sigmoid", "relu", "tanh", "elu", "identity"] = "sigmoid",
        middle: Literal["elu", "identity"] = "elu",
        dropout: float = 0.0,
        zero_init: bool = False,
        raw_loss_weight: float = 0.0,
        full_limit: float = 5e8,
    ):
        if blocks < 1:
            raise InputError(f"head.blocks: expected at least 1 (head=none has none), got {blocks}")
        if not 0 <= dropout < 1:
            raise InputError(f"head.dropout: expected 0 <= dropout < 1, got {dropout}")
        if dropout and not bottleneck:
            raise InputError(f"head.dropout={dropout} acts on the bottleneck, which head.bottleneck=false leaves out")
        if bottleneck:
            made = [
                CorrelationBlock(num_labels, rank, entry, middle, residual, dropout, zero_init) for _ in range(blocks)
            ]
        else:
            made = [FullBlock(num_labels, entry, residual, zero_init, full_limit) for _ in range(blocks)]
        super().__init__(made, raw_loss_weight)
