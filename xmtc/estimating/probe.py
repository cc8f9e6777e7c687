"""The memory of a step at full size, from the same code run with a few labels.

The memory of each phase of a step grows in a simple way: of the label side with the labels (an L x L head: with their
square), in chunks also with the chunk; the encoder does not know the labels at all. So the step is run with the real
encoder, a real batch and three small label sides, `Tracker` counts, and what they have in common is read at the real
sizes. It is exact up to what the batch changes (number of words), and needs no table that would go stale when the
code changes. Costs three small steps and three small evaluations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xmtc.data.batch import Batch, Labels
from xmtc.encoders.base import Encoded, Encoder
from xmtc.errors import InputError
from xmtc.estimating.tracker import Tracker
from xmtc.execution.base import Execution
from xmtc.execution.chunked import Chunked
from xmtc.execution.dense import Dense
from xmtc.heads.block import FullBlock
from xmtc.training.micro_batches import encode

SMALL = 64  # labels of the smallest probe


@dataclass
class Sizes:
    """What the probe is extrapolated to. labels: of one process. documents, evaluation_documents: of one process.
    processes: that share the labels out, whose documents each of them then scores. chunk: labels, null for dense."""

    labels: int
    documents: int
    evaluation_documents: int
    processes: int = 1
    chunk: int | None = None
    evaluation_chunk: int | None = None


@dataclass
class Memory:
    """Bytes beyond parameters and optimiser state. phases: peak of each, gradients included. gradients: all of a step,
    just before the optimiser uses them. row_bytes: of a label's weights and of the state of an update in the sweep."""

    phases: dict[str, int]
    gradients: int
    row_bytes: float
    row_state_bytes: float


class Probe:
    """encoder: the real one, on the device of `batch`. make_side: labels -> (decoder, head), small ones. like: the
    execution whose kind and switches are tried. autocast: a function that makes its context."""

    def __init__(
        self,
        encoder: Encoder,
        batch: Batch,
        make_side: Callable,
        like: Execution,
        autocast: Callable,
        micro_batch: int | None = None,
    ):
        self.encoder, self.batch, self.make_side, self.like, self.autocast = encoder, batch, make_side, like, autocast
        self.micro_batch = micro_batch
        self.chunked = isinstance(like, Chunked)
        self.full = any(isinstance(block, FullBlock) for block in like.head.blocks)
        # the same number of positives whatever the labels, or their count would look like a growth with L
        self.labels = Labels(batch.labels.ids % SMALL, batch.labels.offsets)

    def memory(self, sizes: Sizes) -> Memory:
        norms = [module for module in self.encoder.modules() if isinstance(module, torch.nn.BatchNorm1d)]
        states = [{name: value.clone() for name, value in norm.state_dict().items()} for norm in norms]
        try:
            return self._memory(sizes)
        finally:  # running statistics are as before: a run does not depend on its estimate
            for norm, state in zip(norms, states, strict=True):
                norm.load_state_dict(state)

    def _memory(self, sizes: Sizes) -> Memory:
        small = SMALL
        if self.chunked:  # alpha + beta labels + gamma chunk
            # four and eight chunks, so that any quarter of them can be kept
            points = [(4 * small, small), (8 * small, small), (8 * small, 2 * small)]
            found = [self._measure(labels, chunk, sizes) for labels, chunk in points]
        else:  # alpha + beta labels, + gamma labels^2 with an L x L head
            found = [self._measure(labels, None, sizes) for labels in (small, 2 * small, 3 * small)]
        values = {}
        for name in found[0]:
            chunk = sizes.evaluation_chunk if name.startswith("evaluation") else sizes.chunk
            three = [part[name] for part in found]
            if self.chunked:
                slope, wider = (three[1] - three[0]) / (4 * small), (three[2] - three[1]) / small
                value = three[0] + slope * (sizes.labels - 4 * small) + wider * (min(chunk, sizes.labels) - small)
            else:
                value = _parabola(three, small, sizes.labels, self.full)
            values[name] = max(round(value), 0)
        gradients = values.pop("gradients")
        rows, state = found[0]["rows"] / (4 * small), found[0]["state"] / (4 * small)
        if not self.chunked:
            rows, state = values["rows"] / max(sizes.labels, 1), 0.0
        phases = {name: value for name, value in values.items() if name not in ("rows", "state")}
        return Memory(phases, gradients, rows, state)

    def execution(self, labels: int, chunk: int | None) -> Execution:
        decoder, head = self.make_side(labels)
        device = self.batch.documents.device
        decoder, head, like = decoder.to(device), head.to(device), self.like
        if not self.chunked:
            return Dense(decoder, head, like.objective)
        execution = Chunked(
            decoder, head, like.objective, chunk, like.keep_raw, like.update, like.lr_factor, like.weights,
            like.rounding,
        )  # fmt: skip
        execution.start()
        execution.follow(torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1, device=device))], fused=True))
        return execution

    def _measure(self, labels: int, chunk: int | None, sizes: Sizes) -> dict[str, int]:
        """Peak bytes of every phase, of the gradients, the label rows and the states of their updates."""
        tracker = Tracker()
        with torch.random.fork_rng(devices=_devices(self.batch)):
            execution = self.execution(labels, chunk)
            rows = [*execution.decoder.label_parameters().values()]
            rows += [p for block in execution.head.blocks for p in _rows(block)]
            with tracker, self.autocast():
                gradients = self._step(tracker, execution, sizes)
                for parameter in [*self.encoder.parameters(), *execution.parameters()]:
                    parameter.grad = None
                self._evaluate(tracker, execution, sizes)
        peaks = dict(tracker.peaks)
        peaks["evaluation encoder"] = round(peaks["evaluation encoder"] * sizes.evaluation_documents / len(self.batch))
        state = sum(t.nbytes for v in execution.state_dict().values() if isinstance(v, list) for t in v)
        return peaks | {"gradients": gradients, "rows": sum(p.nbytes for p in rows), "state": state}

    def _step(self, tracker: Tracker, execution: Execution, sizes: Sizes) -> int:
        self.encoder.train()
        tracker.phase("encoder forward")
        loss = self.loss(execution, sizes.processes, tracker)
        tracker.phase("labels backward")
        loss.backward()
        del loss
        tracker.phase("update")
        return tracker.live

    def loss(self, execution: Execution, processes: int = 1, tracker: Tracker | None = None) -> Tensor:
        """As in a training step. What the encoder made is let go at its end, before the backward pass."""
        encoded = encode(self.encoder, self.batch, self.micro_batch)
        if tracker and encoded.features.requires_grad:
            encoded.features.register_hook(lambda _: tracker.phase("encoder backward"))
        if tracker:
            tracker.phase("labels forward")
        together, labels = _repeated(encoded, self.labels, processes)
        loss = encoded.main_weight * execution.loss(together, labels)
        return loss + sum(encoded.auxiliary.values())

    @torch.no_grad()
    def _evaluate(self, tracker: Tracker, execution: Execution, sizes: Sizes) -> None:
        self.encoder.eval()
        tracker.phase("evaluation encoder")
        encoded = self.encoder(self.batch)
        self.encoder.train()
        tracker.phase("evaluation labels")
        count = sizes.evaluation_documents * sizes.processes
        order = torch.arange(count, device=encoded.features.device) % len(encoded.features)
        mask = None if encoded.mask is None else encoded.mask[order]
        execution.topk(Encoded(encoded.features[order], mask), 5)


def _rows(block) -> list[Tensor]:
    named = getattr(block, "label_parameters", None)
    return list(named().values()) if named else list(block.parameters())


def _repeated(encoded: Encoded, labels: Labels, processes: int) -> tuple[Encoded, Labels]:
    """The batches of all processes that share the labels, as if each had this one."""
    if processes == 1:
        return encoded, labels
    features = torch.cat([encoded.features] * processes)
    mask = None if encoded.mask is None else torch.cat([encoded.mask] * processes)
    counts = labels.offsets.diff().repeat(processes)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return Encoded(features, mask), Labels(labels.ids.repeat(processes), offsets)


def _parabola(three: list[int], small: int, at: int, curved: bool) -> float:
    """Through the values at small, 2 small and 3 small; through the outer two in a straight line if not `curved`."""
    if not curved:
        return three[0] + (three[2] - three[0]) / 2 * (at / small - 1)
    first, second = three[1] - three[0], three[2] - 2 * three[1] + three[0]
    steps = at / small - 1
    return three[0] + first * steps + second * steps * (steps - 1) / 2


def _devices(batch: Batch) -> list[int]:
    device = batch.documents.device
    if device.type == "meta":
        raise InputError("a probe needs real documents")
    return [] if device.type == "cpu" else [device.index or 0]
