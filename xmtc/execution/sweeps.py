"""The label side of one step, chunk by chunk: loss and every gradient without a (B, L) tensor.

A block gathers a sum over labels and spreads it label by label (heads/block.py), so only its gathered (B, R) numbers
and their gradients couple the labels. Given all of them, a chunk of labels is computed from that chunk alone:

    sweeps 1..n     gather: h_i = sum over chunks of entry(x_{i-1}) W1_i
    sweep n+1       the loss; and da_n = G_n W2_n, G_n being the loss's derivative by the last logits
    n-1 sweeps      da_i for i = n-1 .. 1
    last sweep      all x, all G, then every gradient of the chunk

2n + 1 sweeps (without blocks 2). Exact: the same loss and gradients as dense up to rounding. Raw logits are kept (B L
numbers, the decoder costs what it costs dense) or made again in every sweep (2n + 1 decoder products forward), or the
one for the first labels and the other for the rest. What is kept moves with the sweeps where it can: sweep i leaves
x_{i-1} in the place of x_{i-2}, the loss x_n, and the later sweeps walk back by taking the spreads away again (16 block
products in place of 18 with two blocks, dense has 12). Gathered sums, gradients of features and the loss are
accumulated in at least float32; chunks go in a fixed order.

`reduce` sums a tensor over processes that hold other labels (execution=sharded); alone it is the identity.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from xmtc.data.batch import Labels
from xmtc.decoders.product import product, rows
from xmtc.encoders.base import Encoded
from xmtc.execution.side import LabelSide
from xmtc.execution.targets import Targets
from xmtc.heads.block import ENTRY, ENTRY_BACKWARD, CorrelationBlock


class Sweeps:
    """One step (or one evaluation) over the chunks of a LabelSide.

    keep: share of the labels whose raw logits are held between the sweeps. store: (l, B) where those of an earlier
    step were held, if there is one: fresh memory of that size costs a step more than writing it.
    """

    def __init__(self, side: LabelSide, encoded: Encoded, keep: float, store: Tensor | None = None):
        self.side, self._kept_labels, self.store = side, round(keep * side.decoder.num_labels), store
        self.encoded = replace(encoded, features=encoded.features.detach(), attention=None, auxiliary={})
        device = encoded.features.device.type
        self._autocast = dict(
            device_type=device,
            dtype=torch.get_autocast_dtype(device),
            enabled=torch.is_autocast_enabled(device),
            cache_enabled=False,  # of slices of weights, which would be kept for the whole step
        )
        self.dtype = torch.promote_types(encoded.features.dtype, torch.float32)
        self._stored: set[int] = set()
        self._level = 0  # blocks that the kept logits have passed through
        # without a residual there is no way back; in half precision the way back is not exact
        residual = all(block.residual for block in side.blocks)
        self._moves = keep > 0 and residual and not side.raw_loss_weight and not self._autocast["enabled"]
        self.gathered: list[Tensor] = []  # h_i, leaves of the small graphs h_i -> a_i
        self._grads: tuple | None = None  # of `grad_gathered`, for a second last sweep
        self.contexts: list[Tensor] = []  # a_i with their graph, which holds the dropout mask too
        self._spreads: list[Tensor] = []  # a_i alone, laid out for products with rows of labels

    def autocast(self) -> torch.autocast:
        return torch.autocast(**self._autocast)

    def keeps(self, chunk: slice) -> bool:
        return chunk.stop <= self._kept_labels

    def raw(self, chunk: slice) -> Tensor:
        """x_0 of one chunk; of one that is kept and moves, what it has become."""
        if chunk.start in self._stored:
            return self.store[chunk].t()
        logits = self.side.decoder(self.encoded, chunk)
        if not self.keeps(chunk):
            return logits
        size = self._kept_labels, len(logits)
        if self.store is None or (self.store.shape, self.store.dtype) != (size, logits.dtype):
            self.store = logits.new_empty(size)
        self._stored.add(chunk.start)
        return self.store[chunk].copy_(logits.t()).t()

    def last(self, chunk: slice, blocks: int) -> Tensor:
        """x_blocks of one chunk, when those before it are not needed. Not to be changed by the caller."""
        values, level = self.raw(chunk), self._level if self.keeps(chunk) else 0
        if self.keeps(chunk) and blocks > level:
            values = values.clone()
        for i in range(level, blocks):
            self.side.blocks[i].spread_(values, self._spreads[i], chunk)
        return values

    def inputs(self, chunk: slice, blocks: int) -> list[Tensor]:
        """x_0 .. x_blocks of one chunk."""
        values = [self.raw(chunk)]
        for block, context in zip(self.side.blocks[:blocks], self._spreads, strict=False):
            values.append(block.spread_(values[-1].clone(), context, chunk))
        return values

    def descending(self, chunk: slice, spend: bool = False) -> Iterator[Tensor]:
        """x_n .. x_0 of one chunk, each to be read before the next is asked for. After the loss. spend: what is kept
        of the chunk may be spent."""
        n = len(self.side.blocks)
        if not (self._moves and n and self.keeps(chunk)):
            yield from reversed(self.inputs(chunk, n))
            return
        values = self.raw(chunk)
        yield values
        if not spend:
            values = values.clone()
        for i in reversed(range(n)):
            yield self.side.blocks[i].spread_(values, self._spreads[i], chunk, undo=True)

    def gather(self) -> None:
        """Sweeps 1..n."""
        with torch.no_grad(), self.autocast():
            for i, block in enumerate(self.side.blocks):
                total = self._zeros(block.gather_weight.shape[1])
                for chunk in self.side.chunks():
                    total += block.gather(self._climbed(chunk, i), chunk)
                self._level = i if self._moves else 0
                self._context(block, self.side.reduce(total))

    def _climbed(self, chunk: slice, i: int) -> Tensor:
        """x_i of one chunk, in the place of the x_{i-1} that is kept if it moves."""
        if not (self._moves and i and self.keeps(chunk)):
            return self.last(chunk, i)
        return self.side.blocks[i - 1].spread_(self.raw(chunk), self._spreads[i - 1], chunk)

    def _zeros(self, columns: int) -> Tensor:
        return torch.zeros(len(self.encoded.features), columns, dtype=self.dtype, device=self.encoded.features.device)

    def _context(self, block: CorrelationBlock, total: Tensor) -> None:
        with torch.enable_grad(), torch.autocast(total.device.type, enabled=False):
            leaf = total.requires_grad_()
            self.gathered.append(leaf)
            with self.side.drawing() if block.dropout and block.training else nullcontext():
                self.contexts.append(block.context(leaf))
            self._spreads.append(self.contexts[-1].detach().t().contiguous().t())

    def loss(self, labels: Labels) -> Tensor:
        """Sweep n+1. Scalar in the accumulation type."""
        side = self.side
        self.targets = targets = Targets(side, labels, len(self.encoded.features), self.dtype)
        n = len(side.blocks)
        total = torch.zeros((), dtype=torch.float64, device=self.encoded.features.device)
        grad_context = self._zeros(side.blocks[-1].gather_weight.shape[1]) if n else None
        with torch.no_grad(), self.autocast():
            for chunk in side.chunks():
                positives = targets.positives(chunk)
                if side.raw_loss_weight:
                    total += side.raw_loss_weight * targets.loss(self.raw(chunk), positives)
                logits = self._climbed(chunk, n)
                total += targets.loss(logits, positives)
                if n:
                    spread = self._rows(side.blocks[-1].spread_weight, chunk)
                    product(targets.derivative(logits, positives, 1.0), spread, grad_context, add=True)
        self._level = n if self._moves else 0
        self.grad_contexts: list[Tensor | None] = [None] * n
        if n:
            self.grad_contexts[-1] = side.reduce(grad_context)
        return (side.reduce(total) / targets.normaliser).to(self.dtype)

    def _rows(self, parameter: Tensor, chunk: slice) -> Tensor:
        return rows(parameter, chunk, self.encoded.features)

    def grad_gathered(self, scale: Tensor | float) -> tuple[list[Tensor], list[Tensor | None]]:
        """The sweeps for da_i, i < n: (dh_1 .. dh_n) and the gradients of the gather biases."""
        side, n = self.side, len(self.side.blocks)
        grads: list[Tensor] = [None] * n
        biases: list[Tensor | None] = [None] * n
        for i in reversed(range(n)):
            if i == n - 1:
                grad_context = self.grad_contexts[i] * scale
            else:
                grad_context = self._zeros(side.blocks[i].gather_weight.shape[1])
                with torch.no_grad(), self.autocast():
                    for chunk in side.chunks():
                        values = self.descending(chunk)
                        grad = self.targets.derivative(next(values), self.targets.positives(chunk), scale)
                        for j in reversed(range(i + 1, n)):
                            x = next(values).to(self.dtype)
                            grad = self._through(j, x, self._entry(j, x), grad, grads[j], chunk)
                        spread = self._rows(side.blocks[i].spread_weight, chunk)
                        product(grad, spread, grad_context, add=True)
                grad_context = side.reduce(grad_context)
            bias = side.blocks[i].gather_bias
            sought = [self.gathered[i]] + ([bias] if bias.requires_grad else [])
            grads[i], *rest = torch.autograd.grad(self.contexts[i], sought, grad_context, retain_graph=True)
            biases[i] = rest[0] if rest else None
        return grads, biases

    def _entry(self, i: int, x: Tensor) -> Tensor:
        return ENTRY[self.side.blocks[i].entry](x)

    def _through(self, i: int, x: Tensor, entry: Tensor, grad: Tensor, grad_gathered: Tensor, chunk: slice) -> Tensor:
        """Gradient of block i's input x from that of its output, which may be overwritten."""
        block = self.side.blocks[i]
        weight = self._rows(block.gather_weight, chunk)
        through = product(grad_gathered, weight.t(), torch.empty_like(grad))
        through = ENTRY_BACKWARD[block.entry](through, x, entry)
        return grad.add_(through) if block.residual else through

    def backward(self, scale: Tensor | float, sink, again: bool = False) -> tuple[Tensor, list[Tensor | None]]:
        """The last sweep. sink(parameter, chunk) -> (l, ...) tensor for that gradient, or None if it is not wanted;
        sink.finish(chunk) is told when a chunk's gradients are complete and its weights no longer needed.

        again: the sweep will be made once more. Returns the features' gradient and those of `side.shared_parameters()`.
        """
        side, n = self.side, len(self.side.blocks)
        grads, biases = self._grads = self._grads or self.grad_gathered(scale)
        features = torch.zeros_like(self.encoded.features, dtype=self.dtype)
        decoder_rows = side.decoder.label_parameters()
        shared: dict[str, Tensor] = {}
        with torch.no_grad(), self.autocast():
            for chunk in side.chunks():
                values, positives = self.descending(chunk, spend=not again), self.targets.positives(chunk)
                x = next(values)
                grad = self.targets.derivative(x, positives, scale)
                for i in reversed(range(n)):
                    x = next(values).to(self.dtype)
                    entry = self._entry(i, x)
                    self._block_gradients(i, entry, grad, grads[i], chunk, sink)
                    grad = self._through(i, x, entry, grad, grads[i], chunk)
                if side.raw_loss_weight:
                    grad = grad + side.raw_loss_weight * self.targets.derivative(x, positives, scale)
                out = {name: sink(p, chunk) for name, p in decoder_rows.items()}
                out = {name: place for name, place in out.items() if place is not None}
                part, more = side.decoder.slice_gradients(self.encoded, chunk, grad, out)
                features += part
                for name, value in more.items():
                    shared[name] = shared[name].add_(value) if name in shared else value.to(self.dtype)
                sink.finish(chunk)
        decoder_shared = [shared.get(name) for name in side.decoder.shared_parameters()]
        return features, decoder_shared + biases

    def _block_gradients(self, i: int, entry: Tensor, grad: Tensor, grad_gathered: Tensor, chunk: slice, sink):
        block = self.side.blocks[i]
        if (out := sink(block.gather_weight, chunk)) is not None:
            out.product(block.centred(entry, chunk).t(), grad_gathered)
        if (out := sink(block.spread_weight, chunk)) is not None:
            out.product(grad.t(), self.contexts[i].detach())
        if (out := sink(block.spread_bias, chunk)) is not None:
            out.put(grad.sum(dim=0))
