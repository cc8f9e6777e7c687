"""The needs of one configured run: parameters, optimiser state, activations, peak memory a process, seconds."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from xmtc.config.make import make
from xmtc.estimating.probe import Memory, Probe, Sizes
from xmtc.execution.base import Execution, row_names
from xmtc.execution.chunked import Chunked, chunk_size
from xmtc.training.best import LARGE
from xmtc.training.optimizers import parameter_groups
from xmtc.training.record import resident_bytes

if TYPE_CHECKING:
    from xmtc.training.build import Built

TIMED_LABELS, TIMED_STEPS = 2048, 3  # of the label side that is timed, and how often
LISTS = 100 * 12  # bytes of a scored document: labels and scores of its best 100


@dataclass
class Needs:
    """Bytes of one process. averages: that of the recipe and, on a CPU, the best weights, which wait for the disk.
    phases: activations and gradients at the peak of each. base: what the process held before training beside the
    parameters (libraries, label names)."""

    parameters: int
    optimizer: int
    averages: int
    gradients: int
    phases: dict[str, int]
    base: int
    execution: str

    @property
    def activations(self) -> int:
        """The most that a phase holds, gradients that exist by then included."""
        return max(self.phases.values())

    @property
    def peak(self) -> int:
        return self.parameters + self.optimizer + self.averages + self.activations + self.base

    def line(self) -> str:
        where = max(self.phases, key=self.phases.get)
        return (
            f"estimated peak {size(self.peak)} (parameters {size(self.parameters)}, optimiser {size(self.optimizer)}, "
            f"averages and best weights {size(self.averages)}, "
            f"activations and gradients {size(self.activations)} in {where}, the process itself {size(self.base)})"
        )


def size(number: float) -> str:
    return f"{number / 2**30:.2f} GiB" if number >= 2**29 else f"{number / 2**20:.0f} MiB"


def needs(built: Built, config: dict, processes: int = 1) -> Needs:
    """From the built modules, before they are trained. Random numbers of the run are left as they were."""
    probe, sizes = probe_of(built, config, processes)
    scored = len(built.data.validation) + (len(built.data.test) if config["test"] else 0)
    return needs_of(built.module, probe, sizes, config, processes, scored)


def needs_of(
    module, probe: Probe, sizes: Sizes, config: dict, processes: int, scored: int, base: int | None = None
) -> Needs:
    """What `probe` finds for a module of these sizes. scored: documents whose lists are kept. base: bytes of the
    process without the module; null: what it holds now beside that."""
    execution, memory = module.execution, probe.memory(sizes)
    on_gpu = _device_type(config) == "cuda"
    weights, optimizer, averages = _held(module, config, memory, sizes)
    if processes > 1 and not execution.collective:  # DDP's buckets are a second copy of what it averages
        memory.phases = {k: v + memory.gradients * ("backward" in k) for k, v in memory.phases.items()}
    if not on_gpu and weights <= LARGE:
        averages += weights
    else:
        memory.phases["best weights"] = weights  # read beside those of the last step before the test
    if base is None:
        base = max(resident_bytes() - sum(p.nbytes for p in module.parameters()), 0)
    base = 0 if on_gpu else base + LISTS * scored
    return Needs(weights, optimizer, averages, memory.gradients, memory.phases, base, execution.describe())


def probe_of(built: Built, config: dict, processes: int) -> tuple[Probe, Sizes]:
    module, execution = built.module, built.module.execution
    sizes = sizes_of(execution, config, module.decoder.num_labels, processes)

    def make_side(labels: int):
        return module.encoder.make_decoder(labels), make(config["head"], num_labels=labels)

    batch = typical_batch(built.data.train, sizes.documents)
    # on the GPU it trains on, if there is one: a large encoder would take minutes on the CPU
    on_gpu = _device_type(config) == "cuda" and torch.cuda.is_available()
    device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else next(module.parameters()).device
    module.encoder.to(device)
    autocast = autocast_of(config, device.type)
    return Probe(module.encoder, batch.to(device), make_side, execution, autocast, module.micro_batch), sizes


def sizes_of(execution: Execution, config: dict, labels: int, processes: int) -> Sizes:
    together = processes if execution.collective else 1
    documents, evaluation = config["data"]["batch_size"], config["data"]["evaluation_batch_size"]
    sizes = Sizes(math.ceil(labels / together), documents, evaluation, together)
    if isinstance(execution, Chunked):
        device = _device_type(config)
        chunks = [execution.chunk or chunk_size(n * together, sizes.labels, device) for n in (documents, evaluation)]
        sizes.chunk, sizes.evaluation_chunk = chunks
    return sizes


def typical_batch(documents, count: int):
    """The longest document and others spread evenly over the corpus."""
    size = len(documents)
    positions = np.unique(np.linspace(0, size - 1, min(count, size)).astype(np.int64))
    positions[0] = int(np.argmax(documents.lengths()))
    return documents[positions]


def autocast_of(config: dict, device: str):
    precision = str(config["trainer"]["precision"])
    if not precision.endswith("mixed"):
        return nullcontext
    dtype = torch.bfloat16 if precision.startswith("bf16") or device == "cpu" else torch.float16
    return lambda: torch.autocast(device, dtype)


def _device_type(config: dict) -> str:
    asked = config["trainer"]["accelerator"]
    return "cuda" if asked in ("gpu", "cuda") or (asked == "auto" and torch.cuda.is_available()) else "cpu"


def _held(module, config: dict, memory: Memory, sizes: Sizes) -> tuple[int, int, int]:
    """Bytes of weights, of the optimiser's state and of averages."""
    names = row_names(module.decoder, module.head)
    rows = {name for name, _ in module.named_parameters() if name in names}
    whole = {name: p for name, p in module.named_parameters() if name not in rows}
    weights = sum(p.nbytes for p in whole.values()) + sum(b.nbytes for b in module.buffers())
    weights += round(memory.row_bytes * sizes.labels)
    own = getattr(module.execution, "update", None)
    trained = {id(p) for group in parameter_groups(module) for p in group["params"]}
    share = sizes.labels / max(module.decoder.num_labels, 1)
    per_byte = state_per_weight(module.make_optimizer)
    states, averaged = 0.0, 0.0
    for name, parameter in module.named_parameters():
        if id(parameter) not in trained or (name in rows and own):
            continue
        part = parameter.nbytes * (share if name in rows else 1.0)
        states, averaged = states + per_byte * part, averaged + part
    states += memory.row_state_bytes * sizes.labels
    return weights, round(states), round(averaged) if config["recipe"]["averaging"] else 0


def state_per_weight(make_optimizer) -> float:
    """Bytes of the optimiser's state for a byte of weight, by making a step with a small one."""
    weight = torch.nn.Parameter(torch.zeros(64, 64))
    weight.grad = torch.ones_like(weight)
    optimizer = make_optimizer([{"params": [weight]}])
    optimizer.step()
    tensors = [t for state in optimizer.state.values() for t in state.values() if torch.is_tensor(t) and t.ndim]
    return sum(t.nbytes for t in tensors) / weight.nbytes


def modelled_seconds(built: Built, config: dict, processes: int = 1) -> dict[str, float]:
    """Seconds of a step and an epoch from small steps: the encoder's as it is, the label side's in proportion to L.
    The optimiser's step and evaluations are not in it."""
    probe, sizes = probe_of(built, config, processes)
    few, many = 64, max(min(TIMED_LABELS, sizes.labels), 128)
    seconds = {}
    with torch.random.fork_rng(devices=[]):
        for labels in (few, many):
            execution = probe.execution(labels, sizes.chunk)
            seconds[labels] = _median(lambda execution=execution: _untracked(probe, execution))
    for parameter in built.module.encoder.parameters():
        parameter.grad = None
    slope = max(seconds[many] - seconds[few], 0.0) / (many - few)
    return _epoch(max(seconds[few] + slope * (sizes.labels - few), 0.0), built, sizes.documents * processes)


def timed_seconds(built: Built, config: dict) -> dict[str, float]:
    """Seconds of a step and an epoch from steps of the whole model, its optimiser included. Changes the weights."""
    probe, sizes = probe_of(built, config, 1)
    built.module.to(probe.batch.documents.device)
    execution = built.module.execution
    execution.start()
    optimizer = built.module.make_optimizer(parameter_groups(built.module))
    execution.follow(optimizer)

    def step():
        optimizer.zero_grad()
        _untracked(probe, execution)
        execution.finish_step(1.0)
        optimizer.step()

    return _epoch(_median(step), built, sizes.documents)


def _untracked(probe: Probe, execution) -> None:
    with probe.autocast():
        loss = probe.loss(execution)
    loss.backward()


def _median(call) -> float:
    """Median seconds after one call that nobody counts."""
    call()
    found = []
    for _ in range(TIMED_STEPS):
        begun = time.perf_counter()
        call()
        found.append(time.perf_counter() - begun)
    return float(np.median(found))


def _epoch(step: float, built: Built, documents: int) -> dict[str, float]:
    """documents: of a step, over all processes."""
    steps = math.ceil(len(built.data.train) / documents)
    return {"step": step, "epoch": step * steps}
