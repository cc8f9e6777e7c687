"""What an execution is: the way in which decoder and head are run over the labels."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from xmtc.data.batch import Labels
from xmtc.decoders.base import LabelDecoder
from xmtc.encoders.base import Encoded
from xmtc.heads.block import CorrelationHead, FullBlock
from xmtc.training.optimizers import squared_norm


def row_names(decoder: LabelDecoder, head: CorrelationHead) -> set[str]:
    """Names, in the training module's state, of the tensors whose first dimension is the label."""
    names = {f"decoder.{name}" for name in decoder.label_parameters()}
    for i, block in enumerate(head.blocks):
        # a block of somebody else's head need not say which of its rows are labels'
        own = ["bias"] if isinstance(block, FullBlock) else getattr(block, "label_parameters", dict)()
        own = [*own, *getattr(block, "label_buffers", dict)()]
        names |= {f"head.blocks.{i}.{name}" for name in own}
    return names


def on_host(tensor: Tensor) -> bool:
    """Whether its value can be read at no cost. A GPU would first have to finish all that was asked of it, so within a
    step nothing is read from there."""
    return tensor.device.type == "cpu"


class Execution:
    """Answers `loss`, `topk` and `logits`. The rest is what an execution that shards labels or updates weights itself
    has to tell the training around it; the defaults are those of one that does neither."""

    collective = False  # every process must take part in every call, with however many documents
    clipping = False  # set by the session: updates of its own must wait for `finish_step`
    head_lr_factor = 1.0  # set by the module: of the learning rate, for the head's rows in updates of its own

    def __init__(self, decoder: LabelDecoder, head: CorrelationHead, objective):
        self.decoder, self.head, self.objective = decoder, head, objective

    def loss(self, encoded: Encoded, labels: Labels) -> Tensor:
        """Scalar: the objective of the enhanced logits, plus the head's share of that of the raw ones."""
        raise NotImplementedError

    def topk(self, encoded: Encoded, k: int) -> tuple[Tensor, Tensor]:
        """Enhanced logits (B, k) float32 and labels (B, k) int64, best first, equal scores by ascending label."""
        raise NotImplementedError

    def logits(self, encoded: Encoded, labels: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Raw and enhanced logits (B, l) of a slice of labels. Without a head both are the same tensor."""
        raise NotImplementedError

    def raw_and_enhanced_topk(self, encoded: Encoded, raw_k: int, k: int) -> tuple[tuple[Tensor, Tensor], ...]:
        """`topk` of the logits before the head, and of those behind it."""
        raw = copy.copy(self)
        raw.head = CorrelationHead()
        return raw.topk(encoded, raw_k), self.topk(encoded, k)

    def parameters(self) -> list[nn.Parameter]:
        return [*self.decoder.parameters(), *self.head.parameters()]

    def describe(self) -> str:
        return type(self).__name__.lower()

    def start(self) -> Iterable[Tensor]:
        """Called when the processes are known, before the optimiser is made. Returns the parameters and buffers of
        which each process holds its own rows, so that nothing averages or overwrites them."""
        return ()

    def move(self, device: torch.device) -> None:
        """Called when the module has gone there, after `start`: tensors of its own follow."""

    def follow(self, optimizer: torch.optim.Optimizer) -> None:
        """The optimiser of all other weights, whose schedule and settings an update in the last sweep follows."""

    def squared_norm(self, grads: dict[nn.Parameter, Tensor]) -> Tensor:
        """Sum of squares of all gradients of the step: `grads` and what an update in the sweep holds back."""
        return torch.stack([squared_norm(grad) for grad in grads.values()]).sum()

    def finish_step(self, factor: float | Tensor) -> None:
        """Makes the update that `clipping` held back, its gradients times `factor`, a number or a tensor without
        dimensions."""

    def rest(self) -> None:
        """No training step follows for now: memory that was held for the next one is given back."""

    def whole_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """From what this process holds to what a checkpoint holds: all labels. Every process must call it."""
        return state

    def own_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The inverse of `whole_state`."""
        return state

    def state_dict(self) -> dict:
        """State of an optimiser of its own, of all labels."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass
