"""Kills or stops one of two processes of a training run, and looks at how the other ends.

    python -m tests.faults.ranks --cases 20 [--seed 0] [--log FILE]

The survivor must end within `MOST` seconds with exit code 75 and name the lost rank; the run must then go on, in two
processes. One case in four starts a command, which starts the second process itself; in the others both are forked
behind the imports, as an outer launcher would start them. The last line is JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sys
import tempfile
import time
import traceback
from pathlib import Path

import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from tests.faults.child import alive
from tests.faults.log import Log, asked
from tests.faults.training import TRAINING
from xmtc.run import main as run
from xmtc.training import session  # noqa: F401  here, not in every child

DDP = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.devices=2")
MOST = 60  # seconds


def start(errors: Path, words: list[str], launched: bool) -> list[int]:
    """The processes that were started here: one that starts the other, or both. What they say goes to `errors`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    errors.write_text("")
    return [_child(errors, words, rank, port, launched) for rank in ((0,) if launched else (0, 1))]


def _child(errors: Path, words: list[str], rank: int, port: int, launched: bool) -> int:
    if pid := os.fork():
        return pid
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(errors, os.O_WRONLY | os.O_APPEND), 2)
        os.environ |= {"OMP_NUM_THREADS": "1", "XMTC_PROGRESS": "off"}
        if launched:
            os.execv(sys.executable, [sys.executable, "-m", "xmtc.run", *words])
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "NODE_RANK": "0"}
        os.environ["LOCAL_RANK"] = str(rank)
        rank_zero_only.rank = rank  # read from the environment when it was imported
        run(words)
        status = 0
    except SystemExit as error:
        status = error.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def second_of(first: int) -> int:
    """The process that the first one has started for the second rank."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                ranked = b"LOCAL_RANK=1" in (entry / "environ").read_bytes()
            except OSError:
                continue
            if int(fields[1]) == first and ranked:
                return int(entry.name)
    raise LookupError(first)


def case(folder: Path, cache: Path, rank: int, number: signal.Signals, launched: bool) -> dict:
    """One run that loses `rank`; answers with what is logged of it."""
    errors, last = folder.with_suffix(".log"), folder / "checkpoints" / "last.ckpt"
    endless = ["recipe.max_epochs=100000", "recipe.validation.patience=null"]
    words = [*TRAINING, *DDP, f"paths.cache_dir={cache}", f"hydra.run.dir={folder}", *endless]
    ours = start(errors, words, launched)
    pids, codes = list(ours), {}
    try:
        while not last.exists():  # the agreement of the processes comes every 50 steps
            if not all(map(alive, ours)):
                return {"outcome": "FAILED EARLY", "said": errors.read_text()[-500:]}
            time.sleep(0.1)
        pids = [*ours, second_of(ours[0])] if launched else ours
        survivor = pids[1 - rank]
        seconds, looked = 0.0, time.monotonic()
        while alive(survivor) and seconds < MOST:
            if alive(pids[rank]):
                os.kill(pids[rank], number)  # again, should somebody let go on what was stopped
            time.sleep(0.1)
            now = time.monotonic()
            seconds, looked = seconds + min(now - looked, 1), now  # this process may have been stopped itself
        ended = not alive(survivor)
    finally:
        for pid in filter(alive, pids):
            os.kill(pid, signal.SIGKILL)
        codes = {pid: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in ours}
    said, code = errors.read_text(), codes.get(survivor)  # null: another process was its parent
    named = f"rank {rank} of 2" in said and f"rank {1 - rank} stops" in said
    row = {"rank": rank, "signal": number.name, "launched": launched, "seconds": round(seconds, 1), "code": code}
    lines = [line for line in said.splitlines() if "of 2" in line] or [said[-600:]]
    if not (ended and named and code in (75, None)):
        return row | {"outcome": "WRONG", "said": lines[0][:600]}
    steps = int(torch.load(last, weights_only=True, mmap=True)["global_step"]) + 3
    again = start(errors, [f"resume={folder}", f"trainer.max_steps={steps}", "test=false"], launched)
    failed = any([os.waitpid(pid, 0)[1] for pid in again])
    if failed or json.loads((folder / "metrics.json").read_text())["steps"] != steps:
        return row | {"outcome": "NOT CONTINUED", "said": errors.read_text()[-1000:]}
    return row | {"outcome": "ended, continued", "said": lines[0][:300]}


def main(argv: list[str] | None = None) -> dict:
    options = asked(__doc__, 20).parse_args(argv)
    done = failures = 0
    with tempfile.TemporaryDirectory() as name, Log(options.log, options.seed) as log:
        for number in range(log.done, options.cases):
            rank = random.Random(f"{options.seed}/{number}").randrange(2)
            how = (signal.SIGKILL, signal.SIGSTOP)[number % 2]
            launched = number % 8 in (3, 6)
            row = case(Path(name) / f"run{number}", Path(name) / "cache", rank, how, launched)
            log.write(number, row)
            print(json.dumps(row), flush=True)
            done, failures = done + 1, failures + row["outcome"].isupper()
    result = {"cases": done, "failures": failures}
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    sys.exit(bool(main()["failures"]))
