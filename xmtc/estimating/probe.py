"""The memory of a step at full size, from the same code run with a few labels.

The memory of each phase of a step grows in a simple way: of the label side with the labels (an L x L head: with their
square), in chunks also with the chunk; the encoder does not know the labels at all. So the real encoder is run on a
real batch, forward and back (alone.py), three small label sides are run on its features, `Tracker` counts, and what the
three have in common is read at the real sizes. It is exact up to what the batch changes (number of words), and needs no
table that would go stale when the code changes. Costs at most one step and one evaluation of the encoder.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xmtc.data.batch import Batch, Labels
from xmtc.encoders.base import Encoded, Encoder
from xmtc.estimating.alone import FEW, Alone, comparable, devices, grown, grows_evenly, tried_alone
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
        alone = self._encoder(sizes)
        if self.chunked:  # alpha + beta labels + gamma chunk
            # four and eight chunks, so that any quarter of them can be kept
            points = [(4 * small, small), (8 * small, small), (8 * small, 2 * small)]
        else:  # alpha + beta labels, + gamma labels^2 with an L x L head
            points = [(small, None), (2 * small, None), (3 * small, None)]
        found = [self._measure(labels, chunk, sizes, alone) for labels, chunk in points]
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
        objective = copy.copy(like.objective)  # one may hold weights of the corpus' labels, which may be fewer
        objective.prepare(torch.ones(labels), len(self.batch))
        if not self.chunked:
            return Dense(decoder, head, objective)
        execution = Chunked(
            decoder, head, objective, chunk, like.keep_raw, like.update, like.lr_factor, like.weights,
            like.rounding,
        )  # fmt: skip
        execution.start()
        execution.follow(torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1, device=device))], fused=True))
        return execution

    def _measure(self, labels: int, chunk: int | None, sizes: Sizes, alone: Alone) -> dict[str, int]:
        """Peak bytes of every phase of a step with that label side, of the gradients, the label rows and the states of
        their updates. What the encoder keeps for its way back lives through both phases of the label side, and the
        gradients of the label side through the encoder's."""
        tracker, given = Tracker(), alone.encoded
        with torch.random.fork_rng(devices=devices(self.batch)):
            execution = self.execution(labels, chunk)
            rows = [*execution.decoder.label_parameters().values()]
            rows += [p for block in execution.head.blocks for p in _rows(block)]
            features = given.features.detach().requires_grad_(given.features.requires_grad)
            with tracker, self.autocast():
                tracker.phase("labels forward")
                labels_of_rows = self.labels.repeated(given.readings)
                together, true = _repeated(Encoded(features, given.mask), labels_of_rows, sizes.processes)
                loss = given.main_weight * execution.loss(together, true)
                tracker.phase("labels backward")
                if loss.requires_grad:  # else nothing of the label side is trained, only the encoder's own losses
                    loss.backward()
                del loss, together
                held, features.grad = tracker.live, None
                update = tracker.live + alone.gradients
                execution.rest()
                gradients = tracker.live + alone.gradients
            for parameter in execution.parameters():
                parameter.grad = None
            standing = tracker.live  # scratch memory of an update in the sweeps
            with tracker, self.autocast():
                tracker.phase("evaluation labels")
                self._evaluate(alone.evaluated, execution, sizes)
        peaks = dict(tracker.peaks)
        for name in ("labels forward", "labels backward"):
            peaks[name] += alone.kept
        beside = {"encoder backward": held, "evaluation encoder": standing}
        peaks |= {name: max(moments) + beside.get(name, 0) for name, moments in alone.moments.items()}
        state = sum(t.nbytes for v in execution.state_dict().values() if isinstance(v, list) for t in v)
        more = {"rows": sum(p.nbytes for p in rows), "state": state}
        return peaks | {"update": update, "gradients": gradients} | more

    def _encoder(self, sizes: Sizes) -> Alone:
        """As of the whole batch."""
        documents = len(self.batch)
        if self.micro_batch is None and grows_evenly(self.encoder, self.batch):
            found = [self._alone(self.batch.part(0, count)) for count in FEW]
            if comparable(*found):
                return grown(*found, documents, sizes.evaluation_documents)
        alone, name = self._alone(self.batch), "evaluation encoder"
        alone.moments[name] = [round(max(alone.moments[name]) * sizes.evaluation_documents / documents)]
        return alone

    def _alone(self, batch: Batch) -> Alone:
        return tried_alone(self.encoder, batch, self.autocast, self.micro_batch)

    def loss(self, execution: Execution) -> Tensor:
        """As in a training step. What the encoder made is let go at its end, before the backward pass."""
        encoded = encode(self.encoder, self.batch, self.micro_batch)
        loss = encoded.main_weight * execution.loss(encoded, self.labels.repeated(encoded.readings))
        return loss + sum(encoded.auxiliary.values())

    @torch.no_grad()
    def _evaluate(self, encoded: Encoded, execution: Execution, sizes: Sizes) -> None:
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
