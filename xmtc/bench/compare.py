"""Alternating measurement: both ways see the same machine in the same minute, so that their ratio can be trusted."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # --help needs no torch
    from torch import Tensor


@dataclass
class Bench:
    """baseline, ours: one call is one repetition. facts: what else belongs in the result (shapes, errors).
    baseline may be None where the size leaves no room for it, both where `facts` say all.
    per_call: things that one call works through; the result then tells things a second instead of seconds.
    others: further ways, measured in the same alternation; the result tells their seconds, and time_ratio over the
    baseline's."""

    baseline: Callable[[], object] | None
    ours: Callable[[], object] | None
    facts: dict = field(default_factory=dict)
    per_call: int | None = None
    others: dict[str, Callable[[], object]] = field(default_factory=dict)


def largest_error(found: Iterable[Tensor], truth: Iterable[Tensor]) -> float:
    """Of the relative errors, norm by norm, of several tensors."""
    pairs = zip(found, truth, strict=True)
    return max(float((mine - theirs).norm() / theirs.norm()) for mine, theirs in pairs)


def compare(name: str, bench: Bench, repeats: int, only: str | None) -> dict:
    """Median seconds of each way after one warm-up call, and how many times faster ours is.

    cpu_seconds: medians of processor time of this process, all threads together: on a machine that others use too it is
    steadier than the clock.
    only: run one way alone, so that its peak memory can be measured from outside; the other's time is then null.
    """
    ways = {"baseline": bench.baseline, "ours": bench.ours, **bench.others}
    ways = {way: function for way, function in ways.items() if function is not None}
    if only:
        ways = {way: function for way, function in ways.items() if way == only}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    processor: dict[str, list[float]] = {way: [] for way in ways}
    for function in ways.values():
        function()
    for _ in range(repeats):
        for way, function in ways.items():
            start, begun = time.perf_counter(), time.process_time()
            function()
            seconds[way].append(time.perf_counter() - start)
            processor[way].append(time.process_time() - begun)
    medians = {way: statistics.median(values) for way, values in seconds.items()}
    baseline, ours = medians.get("baseline"), medians.get("ours")
    ratio, time_ratio = (baseline / ours, ours / baseline) if baseline and ours else (None, None)
    others = {way: {"seconds": medians[way], "time_ratio": medians[way] / baseline if baseline else None}
              for way in bench.others if way in medians}  # fmt: skip
    if bench.per_call:
        baseline, ours = (bench.per_call / seconds if seconds else None for seconds in (baseline, ours))
    return {"bench": name, "baseline": baseline, "ours": ours, "ratio": ratio, "time_ratio": time_ratio,
            "cpu_seconds": {way: statistics.median(values) for way, values in processor.items()},
            "repeats": repeats, **({"others": others} if others else {}), **bench.facts}  # fmt: skip
