"""What a process holds of the label side: its decoder, its blocks, and the chunks in which sweeps go over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from torch import Tensor, nn

from xmtc.decoders.base import LabelDecoder
from xmtc.heads.block import CorrelationBlock
from xmtc.training.objectives import Objective


@dataclass
class LabelSide:
    """What does not change from step to step. first_label: global number of this process's first label."""

    decoder: LabelDecoder
    blocks: list[CorrelationBlock]
    objective: Objective
    raw_loss_weight: float
    chunk: int
    num_labels: int  # L over all processes
    first_label: int = 0
    reduce: Callable[[Tensor], Tensor] = lambda tensor: tensor
    drawing: Callable[[], AbstractContextManager] = nullcontext  # around random numbers that all processes must share

    def chunks(self) -> Iterator[slice]:
        for start in range(0, self.decoder.num_labels, self.chunk):
            yield slice(start, min(start + self.chunk, self.decoder.num_labels))

    def row_parameters(self) -> list[nn.Parameter]:
        """(l, ...) parameters, in the order in which `Sweeps.backward` writes their gradients."""
        blocks = [p for block in self.blocks for p in block.label_parameters().values()]
        return [*self.decoder.label_parameters().values(), *blocks]

    def shared_parameters(self) -> list[nn.Parameter]:
        return [*self.decoder.shared_parameters().values(), *(block.gather_bias for block in self.blocks)]
