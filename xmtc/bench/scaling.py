"""The cost of the chunked label side against the number of labels, from 4,096 to 3,000,000."""

from __future__ import annotations

import gc
import math
import statistics
import time

import torch

from xmtc.bench.classifier import Case
from xmtc.bench.compare import Bench
from xmtc.estimating.tracker import Tracker
from xmtc.execution.chunked import Chunked
from xmtc.training.objectives import Objective


def scaling(
    labels: int = 3_000_000, features: int = 64, rank: int = 16, blocks: int = 2, documents: int = 64, repeats: int = 3
) -> Bench:
    """facts.points: labels, median seconds of a step (raw logits recomputed), bytes beyond parameters and gradients.
    exponent: slope of log seconds over log labels by least squares; memory_exponent likewise. `labels`: the largest."""
    sizes = [4096 * 4**i for i in range(20) if 4096 * 4**i < labels] + [labels]
    points = [_point(size, features, rank, blocks, documents, repeats) for size in sizes]
    logs = [math.log(point["labels"]) for point in points]
    exponents = {}
    for name, key in (("exponent", "seconds"), ("memory_exponent", "bytes")):
        exponents[name] = statistics.linear_regression(logs, [math.log(p[key]) for p in points]).slope
    shape = {"features": features, "rank": rank, "blocks": blocks, "documents": documents}
    return Bench(None, None, shape | {"points": points} | exponents)


def _point(labels: int, features: int, rank: int, blocks: int, documents: int, repeats: int) -> dict:
    case = Case(labels, features, rank, blocks, documents, large=False)
    execution = Chunked(case.decoder, case.head, Objective(), keep_raw=False)
    case.gradients()
    case.step(execution)
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        case.step(execution)
        seconds.append(time.perf_counter() - begun)
    tracker = Tracker()
    with tracker:
        case.step(execution)
    point = {"labels": labels, "seconds": statistics.median(seconds), "bytes": max(tracker.peaks.values())}
    del case, execution
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return point
