"""Sharded execution: each process owns a slice of the labels, with all their rows of decoder and blocks.

What crosses between processes: features and targets of the batch (gathered), (P B, R) sums of each block and their
gradients, the gradient of the features, one scalar, and k candidates a document in evaluation: nothing that grows with
L. Inside a shard the chunks of chunked execution run as they are.

Works inside DDP, which averages the encoder's gradients over processes. The features' gradient here belongs to the loss
of the whole batch, of which each process holds its part, so it is multiplied by P before DDP divides by P.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from xmtc.data.batch import Labels
from xmtc.encoders.base import Encoded
from xmtc.errors import InputError
from xmtc.execution.base import row_names
from xmtc.execution.chunked import Chunked
from xmtc.execution.loss import LossOfSweeps
from xmtc.execution.side import LabelSide
from xmtc.execution.topk import best
from xmtc.training.optimizers import squared_norm


def shard(num_labels: int, rank: int, world_size: int) -> slice:
    """Labels of one process; sizes differ by one at most, and are 0 where there are more processes than labels."""
    return slice(num_labels * rank // world_size, num_labels * (rank + 1) // world_size)


class Sharded(Chunked):
    """Chunked over this process's labels. Every process must take part in every call, documents or not."""

    collective = True

    @functools.wraps(Chunked.__init__)  # what it takes is checked by the signature
    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.num_labels = self.decoder.num_labels
        self.rank, self.world_size, self.own = 0, 1, slice(0, self.num_labels)
        self._started, self._hosts = False, None

    def start(self) -> list[Tensor]:
        if not self._started:
            self._started = True
            if dist.is_available() and dist.is_initialized():
                self.rank, self.world_size = dist.get_rank(), dist.get_world_size()
                if dist.get_backend() != "gloo":  # shapes are told from host to host: a GPU need not stop for them
                    self._hosts = dist.new_group(backend="gloo")
            if self.decoder.shared_parameters() and self.world_size > 1:
                # a shared parameter's gradient is a sum over shards, DDP makes the mean of it
                for parameter in self.decoder.shared_parameters().values():
                    parameter.register_hook(lambda grad: grad * self.world_size)
            self.own = shard(self.num_labels, self.rank, self.world_size)
            for parameter in super().side(1, "cpu").row_parameters():
                parameter.data = parameter.data[self.own].clone()
            for buffer in self._label_buffers():
                buffer.data = buffer.data[self.own].clone()
            self.decoder.num_labels = self.own.stop - self.own.start
            super().start()
        return [*super().side(1, "cpu").row_parameters(), *self._label_buffers()] if self.world_size > 1 else []

    def _label_buffers(self) -> list[Tensor]:
        return [buffer for block in self.head.blocks for buffer in block.label_buffers().values()]

    def describe(self) -> str:
        # said at the start of a run too, when it is not yet known how many there are
        return super().describe() + (f" over {self.world_size} processes" if self.world_size > 1 else "")

    def side(self, documents: int, device: str) -> LabelSide:
        side = super().side(documents, device)
        side.num_labels, side.first_label, side.reduce = self.num_labels, self.own.start, self._sum
        side.drawing = self._drawing
        return side

    def _sum(self, tensor: Tensor) -> Tensor:
        if self.world_size > 1:
            dist.all_reduce(tensor)
        return tensor

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        """Every process draws the same: a dropout mask of the blocks' contexts, which all shards read, must be one."""
        if self.world_size == 1:
            yield
            return
        seed = torch.randint(2**62, (1,))
        dist.broadcast(seed, 0, group=self._hosts)
        device = next(self.head.parameters()).device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):  # not those of all GPUs there are
            torch.manual_seed(int(seed))
            yield

    def loss(self, encoded: Encoded, labels: Labels) -> Tensor:
        """The loss of all processes' documents together, the same number on each."""
        if self.world_size == 1:
            return super().loss(encoded, labels)
        together, sizes = self._together(encoded)
        sweeps = self.sweeps(together, self.keep_raw)
        parameters = sweeps.side.row_parameters() + sweeps.side.shared_parameters()
        return LossOfSweeps.apply(sweeps, self._gathered_labels(labels, sizes), self, together.features, *parameters)

    def _together(self, encoded: Encoded) -> tuple[Encoded, list[int]]:
        """Features of all processes, in the order of ranks, and the number of documents of each."""
        shapes = self._all_shapes(encoded.features)
        sizes = [shape[0] for shape in shapes]
        features = _Gather.apply(encoded.features, shapes, self.rank)
        mask = encoded.mask
        if mask is not None:
            mask = _gathered(mask.to(torch.uint8), [shape[:2] for shape in shapes]).bool()
        return Encoded(features, mask), sizes

    def _all_shapes(self, tensor: Tensor) -> list[tuple[int, ...]]:
        mine = torch.tensor(tensor.shape)
        shapes = [torch.empty_like(mine) for _ in range(self.world_size)]
        dist.all_gather(shapes, mine, group=self._hosts)
        return [tuple(shape.tolist()) for shape in shapes]

    def _gathered_labels(self, labels: Labels, sizes: list[int]) -> Labels:
        counts = _gathered(labels.offsets.diff(), [(size,) for size in sizes])
        ids = _gathered(labels.ids, self._all_shapes(labels.ids))
        return Labels(ids, torch.cat([counts.new_zeros(1), counts.cumsum(0)]))

    @torch.no_grad()
    def topk(self, encoded: Encoded, k: int) -> tuple[Tensor, Tensor]:
        if self.world_size == 1:
            return super().topk(encoded, k)
        together, sizes = self._together(encoded)
        scores, labels = super().topk(together, k)
        missing = k - scores.shape[1]  # a shard may hold fewer than k labels
        if missing > 0:
            scores = nn.functional.pad(scores, (0, missing), value=float("-inf"))
            labels = nn.functional.pad(labels, (0, missing), value=self.num_labels)
        labels[:, : k - max(missing, 0)] += self.own.start
        found = [torch.empty_like(scores) for _ in sizes], [torch.empty_like(labels) for _ in sizes]
        dist.all_gather(found[0], scores)
        dist.all_gather(found[1], labels)
        start = sum(sizes[: self.rank])
        mine = slice(start, start + sizes[self.rank])
        # shards in the order of labels: equal scores stay in it
        scores, order = best(torch.cat([s[mine] for s in found[0]], dim=1), min(k, self.num_labels))
        return scores, torch.cat([f[mine] for f in found[1]], dim=1).gather(1, order)

    def logits(self, encoded: Encoded, labels: slice = slice(None)) -> tuple[Tensor, Tensor]:
        if self.world_size > 1:
            raise InputError("execution=sharded: logits of all labels are spread over processes; load the run in one")
        return super().logits(encoded, labels)

    def squared_norm(self, grads):
        rows = {id(p) for p in super().side(1, "cpu").row_parameters()}
        whole = [squared_norm(grad) for p, grad in grads.items() if id(p) not in rows]
        mine = [squared_norm(grad) for p, grad in grads.items() if id(p) in rows]
        if self._held:
            mine.append(self._held[2].to(torch.float32))
        reference = next(iter(grads.values()))
        zero = torch.zeros((), device=reference.device)
        return sum(whole, zero) + self._sum(sum(mine, zero.clone()))

    def whole_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.world_size == 1:
            return state
        names = row_names(self.decoder, self.head)
        return {name: self._whole(value) if name in names else value for name, value in state.items()}

    def own_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        names = row_names(self.decoder, self.head)
        return {name: value[self.own] if name in names else value for name, value in state.items()}

    def _whole(self, mine: Tensor) -> Tensor:
        """(L, ...) on the CPU of rank 0, which writes it; elsewhere an empty tensor."""
        sizes = [shard(self.num_labels, rank, self.world_size) for rank in range(self.world_size)]
        longest = max(s.stop - s.start for s in sizes)
        padded = mine.new_zeros(longest, *mine.shape[1:])
        padded[: len(mine)] = mine.detach()
        parts = [torch.empty_like(padded) for _ in sizes] if self.rank == 0 else None
        dist.gather(padded, parts, dst=0)
        if self.rank:
            return mine.new_empty(0)
        return torch.cat([part[: s.stop - s.start].cpu() for part, s in zip(parts, sizes, strict=True)])

    def state_dict(self) -> dict:
        state = super().state_dict()
        if self.world_size == 1:
            return state
        return {name: [self._whole(t) for t in v] if isinstance(v, list) else v for name, v in state.items()}

    def load_state_dict(self, state: dict) -> None:
        own = {name: [t[self.own] for t in v] if isinstance(v, list) else v for name, v in state.items()}
        super().load_state_dict(own)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features: Tensor, shapes: list[tuple[int, ...]], rank: int):
        ctx.shapes, ctx.rank = shapes, rank
        return _gathered(features, shapes)

    @staticmethod
    def backward(ctx, grad: Tensor):
        dist.all_reduce(grad)
        start = sum(shape[0] for shape in ctx.shapes[: ctx.rank])
        inside = tuple(slice(0, size) for size in ctx.shapes[ctx.rank][1:])
        mine = grad[(slice(start, start + ctx.shapes[ctx.rank][0]), *inside)]
        return mine * len(ctx.shapes), None, None


def _gathered(tensor: Tensor, shapes: list[tuple[int, ...]]) -> Tensor:
    """All processes' rows one after the other; other dimensions filled with zeros up to the largest."""
    largest = [max(sizes) for sizes in zip(*shapes, strict=True)]
    padded = tensor.new_zeros(largest)
    padded[tuple(slice(0, size) for size in tensor.shape)] = tensor
    parts = [torch.empty_like(padded) for _ in shapes]
    dist.all_gather(parts, padded)
    return torch.cat([part[: shape[0]] for part, shape in zip(parts, shapes, strict=True)])
