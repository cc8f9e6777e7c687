"""Out of memory: answered with settings that would fit."""

from __future__ import annotations

import logging

from xmtc.config.make import make
from xmtc.errors import InputError
from xmtc.estimating.run import Needs, needs, size
from xmtc.execution.auto import total_memory
from xmtc.execution.base import Execution
from xmtc.shortage import said

log = logging.getLogger(__name__)
SHARE = 0.9  # of the memory that a setting may fill to be called fitting; and of what has just failed
CHUNKED = {"_target_": "xmtc.execution.chunked.Chunked"}
# from what changes nothing about the model to what changes its optimiser
EXECUTIONS = {
    "execution=chunked": {},
    "execution=chunked execution.keep_raw=false": {"keep_raw": False},
    "execution=chunked execution.keep_raw=false execution.update=adam": {"keep_raw": False, "update": "adam"},
    "execution=chunked execution.keep_raw=false execution.update=sgd execution.weights=bf16": {
        "keep_raw": False, "update": "sgd", "weights": "bf16",
    },
}  # fmt: skip


def answer(error: BaseException, expected: Needs | None, built, config: dict, processes: int) -> InputError:
    """One line: what failed, and up to three settings that would fit. expected: the estimate of what failed."""
    try:
        found = fitting(expected or needs(built, config, processes), built, config, processes)
    except Exception as failure:  # the advice must not hide what happened
        log.debug("no estimate: %s", failure)
        found = []
    fits = "; ".join(f"{setting} ({size(peak)})" for setting, peak in found)
    advice = (
        f"these would fit: {fits}" if fits else "lower data.batch_size and data.evaluation_batch_size, or head.rank"
    )
    return InputError(f"out of memory ({said(error)}): {advice}")


def fitting(
    now: Needs, built, config: dict, processes: int, most: int = 3, memory: int | None = None
) -> list[tuple[str, int]]:
    """Settings, least intrusive first, whose estimated peak is below the memory and well below what failed.

    now: the needs of what failed. memory: bytes of the device; null: all that it has.
    """
    device = "cuda" if config["trainer"]["accelerator"] in ("gpu", "cuda") else "cpu"
    limit = SHARE * min(memory or total_memory(device), now.peak)
    found = []
    for setting, changed, execution in candidates(built, config):
        try:
            peak = _needs_with(built, changed, processes, execution).peak
        except InputError:
            continue  # settings that exclude each other
        if peak <= limit:
            found.append((setting, peak))
        if len(found) == most:
            break
    return found


def candidates(built, config: dict):
    """(overrides, configuration, execution) of what may be tried instead."""
    module = built.module
    smaller = []
    for divisor in (1, 2, 8):
        data = config["data"]
        sizes = {key: max(data[key] // divisor, 1) for key in ("batch_size", "evaluation_batch_size")}
        words = "" if divisor == 1 else " ".join(f"data.{key}={value}" for key, value in sizes.items())
        smaller.append((words, config | {"data": data | sizes}))
    for words, changed in smaller:
        if words:
            yield words, changed, module.execution
        for setting, options in EXECUTIONS.items() if module.head.in_slices() else ():
            if options.get("update") and config["recipe"]["averaging"]:
                continue
            parts = dict(decoder=module.decoder, head=module.head, objective=module.execution.objective)
            yield f"{setting} {words}".strip(), changed, make(CHUNKED | options, **parts)


def _needs_with(built, config: dict, processes: int, execution: Execution) -> Needs:
    held = built.module.execution
    built.module.execution = execution
    try:
        return needs(built, config, processes)
    finally:
        built.module.execution = held
