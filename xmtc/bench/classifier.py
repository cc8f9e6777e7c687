"""The label side of a training step: chunked against dense, in time, memory and gradients."""

from __future__ import annotations

import gc
import json
import subprocess
import sys

import torch

from xmtc.bench.compare import Bench, largest_error
from xmtc.bench.memory import peak_beyond
from xmtc.bounds import Natural
from xmtc.data.batch import Labels
from xmtc.decoders.linear import LinearDecoder
from xmtc.encoders.base import Encoded
from xmtc.execution.chunked import Chunked
from xmtc.execution.dense import Dense
from xmtc.heads.block import CorrelationBlock, CorrelationHead
from xmtc.training.objectives import Objective
from xmtc.training.optimizers import AdamW

KEPT = {"ours": {}, "all kept": {"keep_raw": True}, "recomputed": {"keep_raw": False}}  # by way: what of the raw logits
LARGE = 1_000_000  # labels from which dense is not tried and rows are bfloat16, updated within the sweep


class Case:
    """Linear decoder, blocks, five labels a document. large: bfloat16 rows, updated within the sweep; null: by size."""

    def __init__(self, labels, features, rank, blocks, documents, large: bool | None = None):
        torch.manual_seed(0)
        self.large = labels >= LARGE if large is None else large
        made = 1 if self.large else labels
        self.decoder = LinearDecoder(features, made)
        self.head = CorrelationHead([CorrelationBlock(made, rank) for _ in range(blocks)])
        if self.large:  # rows in their final type from the start: float32 beside it would not fit
            self.decoder.num_labels = labels
            rows = [self.decoder.label_parameters(), *(block.label_parameters() for block in self.head.blocks)]
            for parameter in (p for named in rows for p in named.values()):
                parameter.data = torch.empty(labels, *parameter.shape[1:], dtype=torch.bfloat16)
                _fill(parameter.data.view(-1))
        self.features = torch.randn(documents, features).requires_grad_()
        ids = torch.stack([torch.randperm(labels)[:5].sort().values for _ in range(documents)]).flatten()
        self.labels = Labels(ids, torch.arange(0, 5 * documents + 1, 5))
        self.parameters = [*self.decoder.parameters(), *self.head.parameters()]

    def gradients(self) -> None:
        """Sets aside the memory of all gradients, zero, as between the steps of a training that keeps them."""
        for parameter in [*self.parameters, self.features]:
            parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None

    def execution(self, way: str):
        if way == "baseline":
            return Dense(self.decoder, self.head, Objective())
        if not self.large:
            return Chunked(self.decoder, self.head, Objective(), **KEPT[way])
        execution = Chunked(self.decoder, self.head, Objective(), keep_raw=False, update="sgd", weights="bf16")
        execution.start()
        execution.follow(AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-3))
        return execution

    def step(self, execution):
        """Loss and gradients, added to those on the parameters."""
        loss = execution.loss(Encoded(self.features), self.labels)
        loss.backward()
        return loss


def _fill(numbers: torch.Tensor) -> None:
    """The same million random numbers again and again: to draw billions would take longer than the rest."""
    drawn = torch.empty(min(2**20, len(numbers))).uniform_(-0.05, 0.05)
    for part in numbers.split(len(drawn)):
        part.copy_(drawn[: len(part)])


def classifier(
    labels: int = 501_008,
    features: int = 512,
    rank: int = 100,
    blocks: int = 2,
    documents: int = 64,
    others: Natural = 1,
) -> Bench:
    """memory_ratio: bytes beyond parameters and gradients, ours over dense, each in a process of its own. time_ratio:
    seconds of ours over dense. gradient_error: largest relative error of a gradient (norms). others: 1 measures as well
    what comes of all raw logits kept, and of none; of a large label space, what a third of its labels takes; 0 does
    not."""
    shape = [labels, features, rank, blocks, documents]
    facts = dict(zip(("labels", "features", "rank", "blocks", "documents"), shape, strict=True))
    further = [way for way in KEPT if way != "ours"] if others and labels < LARGE else []
    memory = {way: _memory(way, shape) for way in (["ours"] if labels >= LARGE else ["baseline", "ours", *further])}
    facts["memory_bytes"] = memory
    if labels >= LARGE and others:
        memory["ours, a third of the labels"] = _memory("ours", [labels // 3, *shape[1:]], large=True)
    case = Case(*shape)
    ours = case.execution("ours")
    if case.large:
        return Bench(None, lambda: case.step(ours), facts)
    facts["memory_ratio"] = memory["ours"] / memory["baseline"]
    facts["other_memory_ratios"] = {way: memory[way] / memory["baseline"] for way in further}
    dense = case.execution("baseline")
    facts["gradient_error"] = _gradient_error(case, dense, ours)
    executions = {way: case.execution(way) for way in further}
    steps = {way: lambda execution=execution: case.step(execution) for way, execution in executions.items()}
    return Bench(lambda: case.step(dense), lambda: case.step(ours), facts, others=steps)


def _gradient_error(case: Case, dense, ours) -> float:
    sought = [*case.parameters, case.features]
    case.gradients()
    case.step(dense)
    truth = [p.grad for p in sought]
    case.gradients()
    case.step(ours)
    return largest_error((p.grad for p in sought), truth)


def _memory(way: str, shape: list[int], large: bool | None = None) -> int:
    code = "from xmtc.bench.classifier import measure; import sys, json; measure(*json.loads(sys.argv[1]))"
    command = [sys.executable, "-c", code, json.dumps([way, shape, large])]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def measure(way: str, shape: list[int], large: bool | None = None) -> None:
    """Prints the bytes that one step needs beyond parameters and gradients, in a process that does nothing else."""
    small = Case(1000, 8, 4, 1, 4, large)
    small.step(small.execution(way))  # libraries are loaded
    del small
    case = Case(*shape, large)
    peaks = []
    for _ in range(1 if case.large else 3):  # the least of three: pages of libraries that come back only add
        execution = case.execution(way)
        case.gradients()
        gc.collect()
        peaks.append(peak_beyond(lambda execution=execution: case.step(execution)))
        del execution
    print(min(peaks))
