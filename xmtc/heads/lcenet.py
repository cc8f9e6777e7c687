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

Two more switches are ours, trials of what a head that truly uses correlation would look like. `centred`: the blocks
read how far a label is from its prior, so that the context carries evidence and not the biases. `start=cooccurrence`:
the contexts start as the directions in which the training labels vary together most (cooccurrence.py).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from xmtc.bounds import Count, NotNegative, Share
from xmtc.data.batch import Labels
from xmtc.errors import InputError
from xmtc.heads.block import CorrelationBlock, CorrelationHead, FullBlock
from xmtc.heads.cooccurrence import start_gathers


class LCENet(CorrelationHead):
    """rank: R. blocks: n. bottleneck, residual, entry, middle: the parts. dropout: on the (B, R) context.

    zero_init: blocks start as the identity (with a residual), so that training starts from the plain classifier.
    centred: the gate is read less its value at the label's prior odds. start: of the gather; `cooccurrence` needs the
    training labels (`prepare`), without them it is random.
    raw_loss_weight: adds this much of the loss of the raw logits. full_limit: most weights of an L x L matrix.
    """

    def __init__(
        self,
        num_labels: int,
        rank: Count = 1000,
        blocks: Count = 2,
        bottleneck: bool = True,
        residual: bool = True,
        entry: Literal["sigmoid", "relu", "tanh", "elu", "identity"] = "sigmoid",
        middle: Literal["elu", "identity"] = "elu",
        dropout: Share = 0.0,
        zero_init: bool = False,
        raw_loss_weight: NotNegative = 0.0,
        full_limit: float = 5e8,
        centred: bool = False,
        start: Literal["random", "cooccurrence"] = "random",
    ):
        if dropout and not bottleneck:
            raise InputError(f"head.dropout={dropout} acts on the bottleneck, which head.bottleneck=false leaves out")
        if not bottleneck and (centred or start != "random"):
            what = "head.centred=true" if centred else f"head.start={start}"
            raise InputError(f"{what} acts on the bottleneck, which head.bottleneck=false leaves out")
        if bottleneck:
            made = [
                CorrelationBlock(num_labels, rank, entry, middle, residual, dropout, zero_init, centred)
                for _ in range(blocks)
            ]
        else:
            made = [FullBlock(num_labels, entry, residual, zero_init, full_limit) for _ in range(blocks)]
        super().__init__(made, raw_loss_weight)
        self.start = start

    @torch.no_grad()
    def prepare(self, gold: Labels, log_odds_L: Tensor) -> None:
        """Cost of start=cooccurrence: see `leading`; seconds at 25,000 labels."""
        for block in self.blocks:
            if isinstance(block, CorrelationBlock):
                block.centre_at(log_odds_L)
        if self.start == "cooccurrence":
            start_gathers(self.blocks, gold)
