"""The label side in 1, 2 and 4 gloo processes: same loss and gradients as dense, memory shared out."""

from __future__ import annotations

import time

import torch
import torch.distributed as dist

from xmtc.bench.classifier import Case
from xmtc.bench.compare import Bench, largest_error
from xmtc.data.batch import Labels
from xmtc.encoders.base import Encoded
from xmtc.execution.base import row_names
from xmtc.execution.dense import Dense
from xmtc.execution.sharded import Sharded
from xmtc.testing.distributed import run_distributed
from xmtc.training.objectives import Objective

WORLDS = (1, 2, 4)


def sharded(labels: int = 40_000, features: int = 128, rank: int = 32, blocks: int = 2, documents: int = 64) -> Bench:
    """facts.worlds: by number of processes the bytes of label-side parameters in the largest process and their share of
    one process's, largest relative error of loss and gradients against dense, seconds of a step (as many threads as
    processes: not a comparison of speed). documents: of all processes together."""
    shape = (labels, features, rank, blocks, documents)
    case = Case(*shape, large=False)
    case.gradients()
    loss = float(case.step(Dense(case.decoder, case.head, Objective())).detach())
    names = _names(case)
    truth = {name: parameter.grad for name, parameter in names.items()}
    whole = sum(p.nbytes for name, p in names.items() if name in row_names(case.decoder, case.head))
    worlds = []
    for world in WORLDS:
        answers = run_distributed(_rank, world, shape, timeout_seconds=600.0)
        found = answers[0]
        error = largest_error((found["gradients"][name] for name in truth), truth.values())
        largest = max(answer["bytes"] for answer in answers)
        worlds.append({
            "processes": world, "bytes": largest, "share": largest / whole,
            "loss_error": abs(found["loss"] - loss) / loss, "gradient_error": error,
            "seconds": max(answer["seconds"] for answer in answers),
        })  # fmt: skip
    return Bench(None, None, {"labels": labels, "documents": documents, "worlds": worlds})


def _names(case: Case) -> dict[str, torch.nn.Parameter]:
    parts = {"decoder": case.decoder, "head": case.head}
    return {f"{part}.{name}": p for part, module in parts.items() for name, p in module.named_parameters()}


def _rank(shape: tuple[int, ...]) -> dict:
    """Loss, whole gradients and seconds of this process's share of the documents."""
    rank, world = dist.get_rank(), dist.get_world_size()
    case = Case(*shape, large=False)
    execution = Sharded(case.decoder, case.head, Objective())
    own = {id(p) for p in execution.start()} if world > 1 else set()
    cut = [len(case.features) * i // world for i in range(world + 1)]
    mine = slice(cut[rank], cut[rank + 1])
    offsets = case.labels.offsets[cut[rank] : cut[rank + 1] + 1]
    labels = Labels(case.labels.ids[offsets[0] : offsets[-1]], offsets - offsets[0])
    features = case.features.detach()[mine].clone().requires_grad_()

    def step():
        for parameter in case.parameters:
            parameter.grad = None
        loss = execution.loss(Encoded(features), labels)
        loss.backward()
        return float(loss.detach())

    step()
    dist.barrier()
    begun = time.perf_counter()
    loss = step()
    seconds = time.perf_counter() - begun
    names = _names(case)
    gradients = {name: parameter.grad for name, parameter in names.items()}
    held = sum(p.nbytes for p in names.values() if world == 1 or id(p) in own)
    return {"loss": loss, "gradients": execution.whole_state(gradients), "seconds": seconds, "bytes": held}
