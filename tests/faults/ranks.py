"""Kills or stops one of two processes of a training run, and looks at how the other ends.

    python -m tests.faults.ranks --cases 20 [--seed 0] [--log FILE]

The survivor must end within `MOST` seconds with exit code 75 and name the lost rank; the run must then go on, in two
processes. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from tests.faults.log import Log
from tests.faults.training import TRAINING

DDP = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.devices=2")
MOST = 60  # seconds


def start(errors: Path, *words: object) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "XMTC_PROGRESS": "off"}
    command = [sys.executable, "-m", "xmtc.run", *map(str, words)]
    with open(errors, "w") as file:
        return subprocess.Popen(command, env=environment, stderr=file, stdout=subprocess.DEVNULL)


def second_of(first: int) -> int:
    """The process that the first one has started for the second rank."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                ranked = b"LOCAL_RANK=1" in (entry / "environ").read_bytes()
            except (OSError, PermissionError):
                continue
            if int(fields[1]) == first and ranked:
                return int(entry.name)
    raise LookupError(first)


def case(folder: Path, cache: Path, rank: int, number: signal.Signals) -> dict:
    """One run that loses `rank`; answers with what is logged of it."""
    endless = ("recipe.max_epochs=100000", "recipe.validation.patience=null")
    errors = folder.with_suffix(".log")
    first = start(errors, *TRAINING, *DDP, f"paths.cache_dir={cache}", f"hydra.run.dir={folder}", *endless)
    last = folder / "checkpoints" / "last.ckpt"
    second = 0
    try:
        while not last.exists():  # the agreement of the processes comes every 50 steps
            if first.poll() is not None:
                return {"outcome": "FAILED EARLY", "said": errors.read_text()[-500:]}
            time.sleep(0.1)
        second = second_of(first.pid)
        lost, survivor = (first.pid, second) if rank == 0 else (second, first.pid)
        began = time.monotonic()
        os.kill(lost, number)
        while alive(survivor) and time.monotonic() - began < MOST:
            first.poll()
            time.sleep(0.1)
        seconds, ended = round(time.monotonic() - began, 1), not alive(survivor)
    finally:
        for pid in filter(None, (first.pid, second)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    first.wait()
    said = errors.read_text()
    named = f"rank {rank} of 2" in said and f"rank {1 - rank} stops" in said
    code = first.returncode if rank == 1 else None  # of the second nobody asks
    row = {"rank": rank, "signal": number.name, "seconds": seconds, "code": code}
    lines = [line for line in said.splitlines() if "of 2" in line] or [said[-600:]]
    if not (ended and named and code in (75, None)):
        return row | {"outcome": "WRONG", "said": lines[0][:600]}
    steps = int(torch.load(last, weights_only=True, mmap=True)["global_step"]) + 3
    again = start(errors, f"resume={folder}", f"trainer.max_steps={steps}", "test=false")
    again.wait()
    metrics = folder / "metrics.json"
    if again.returncode or json.loads(metrics.read_text())["steps"] != steps:
        return row | {"outcome": "NOT CONTINUED", "said": errors.read_text()[-1000:]}
    return row | {"outcome": "ended, continued", "said": lines[0][:300]}


def alive(pid: int) -> bool:
    """Whether the process runs (one that has ended and waits for its parent does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path)
    options = parser.parse_args(argv)
    done = failures = 0
    with tempfile.TemporaryDirectory() as name, Log(options.log, options.seed) as log:
        for number in range(log.done, options.cases):
            choose = random.Random(f"{options.seed}/{number}")
            how = (signal.SIGKILL, signal.SIGSTOP)[number % 2]
            row = case(Path(name) / f"run{number}", Path(name) / "cache", choose.randrange(2), how)
            log.write(number, row)
            print(json.dumps(row), flush=True)
            done, failures = done + 1, failures + row["outcome"].isupper()
    result = {"cases": done, "failures": failures}
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    sys.exit(bool(main()["failures"]))
