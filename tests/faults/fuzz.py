"""Gives everything that reads what others write inputs that nobody would write, drawn by Hypothesis.

    python -m tests.faults.fuzz --inputs 20000 [--seed 0] [--seeds 50] [--what csv config ...] [--log FILE] [--again]
        [--plain]

Right is an answer, or an InputError of one line, within a bounded time and memory. Each of `--seeds` seeds, from
`--seed` on, has `--inputs`, shared out by what an input of each target costs. With --log, counts add up in FILE, a line
a target and seed; those that are there are not done again, but with --again those of which an input failed. The last
line is JSON: what FILE holds in all, or what was done without one; `--seeds 0` says that alone. With --plain edits of
files come from plain random numbers, several times as many in the same time; the other targets stay with Hypothesis.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import logging
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from tests.faults.fuzz_targets import Target, targets
from tests.faults.log import first_line
from xmtc.errors import InputError

SECONDS, WAIT = 20, 200  # of processor time, and of waiting, after which an input counts as hanging
ALARMS = {signal.ITIMER_PROF: (signal.SIGPROF, SECONDS), signal.ITIMER_REAL: (signal.SIGALRM, WAIT)}
MEMORY = 2 << 30  # bytes of address space that the inputs of a target and seed may add together
LONGEST = 20_000  # characters of an input that is kept


class Hang(BaseException):
    pass


@dataclass
class Tally:
    """failures: one line -> the first input that led to it."""

    outcomes: Counter = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)

    def failed(self, line: str, value: object) -> None:
        self.outcomes["failed"] += 1
        self.failures.setdefault(line, repr(value)[:LONGEST])


def one(read: Callable, value: object, tally: Tally) -> None:
    """Reads one input."""
    try:
        read(value)
        tally.outcomes["answered"] += 1
    except InputError as error:
        if "\n" in str(error) or not str(error).strip():
            tally.failed(f"not one line: {str(error)[:200]!r}", value)
        else:
            tally.outcomes["refused"] += 1
    except Hang:
        tally.failed(f"no answer within {SECONDS} s of work or {WAIT} s of waiting", value)
    except (Exception, SystemExit) as error:
        line = first_line(error)
        tally.failed(f"{type(error).__name__} at {line.rpartition(' at ')[2]}", (line, value))


def fuzz(target: Target, inputs: int, seed: int, plain: bool = False) -> Tally:
    """`inputs` inputs for one target. plain: without Hypothesis, where the target has a way."""
    tally = Tally()

    def run(value: object) -> None:
        for alarm, (_, seconds) in ALARMS.items():
            signal.setitimer(alarm, seconds)
        try:
            one(target.read, value, tally)
        except Hang:  # between the reading and the end of the alarm
            pass
        finally:
            for alarm in ALARMS:
                signal.setitimer(alarm, 0)

    if plain and target.draw:
        choose = random.Random(seed)
        for _ in range(inputs):
            run(target.draw(choose))
    else:
        drawn = settings(max_examples=inputs, database=None, deadline=None, phases=[Phase.generate],
                         suppress_health_check=list(HealthCheck))  # fmt: skip
        seeded(seed)(drawn(given(target.inputs)(run)))()
    return tally


def _hang(*_) -> None:
    raise Hang


def _size(field: int) -> int:
    """Bytes of this process: 0 address space, 1 resident."""
    return int(Path("/proc/self/statm").read_text().split()[field]) * resource.getpagesize()


@contextmanager
def bounded() -> Iterator[None]:
    """Time and memory of what runs within have an end; nothing is warned of or logged."""
    before = {number: signal.signal(number, _hang) for number, _ in ALARMS.values()}
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_size(0) + MEMORY, limits[1]))
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
        resource.setrlimit(resource.RLIMIT_AS, limits)
        for number, handler in before.items():
            signal.signal(number, handler)


def rows_of(log: Path | None) -> dict[tuple[str, int], dict]:
    """(target, seed) -> its last line."""
    lines = log.read_text(encoding="utf-8").splitlines() if log and log.exists() else []
    return {(row["what"], row["seed"]): row for row in map(json.loads, lines)}


def totals(rows: Iterable[dict]) -> dict:
    rows = list(rows)
    kinds = {(row["what"], line) for row in rows for line in row["failures"]}
    counts = {key: sum(row.get(key, 0) for row in rows) for key in ("inputs", "answered", "refused", "failed")}
    return counts | {"kinds of failure": len(kinds), "hours": round(sum(row["seconds"] for row in rows) / 3600, 2)}


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000, help="of each seed")
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--what", nargs="+")
    parser.add_argument("--log", type=Path)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--plain", action="store_true")
    options = parser.parse_args(argv)
    faulthandler.enable()  # should a library end the process
    rows = rows_of(options.log)
    shared = "/dev/shm" if Path("/dev/shm").is_dir() else None  # inputs are files, and disks are slow
    with tempfile.TemporaryDirectory(dir=shared) as name:
        folder = Path(name)
        found = targets(folder) if options.seeds else {}
        shares = sum(target.share for target in found.values())
        todo = [(name, seed) for seed in range(options.seed, options.seed + options.seeds)
                for name in options.what or found]  # fmt: skip
        for what, seed in todo:
            before = rows.get((what, seed))
            if before is not None and not (options.again and before["failures"]):
                continue
            began, target = time.monotonic(), found[what]
            with bounded():
                tally = fuzz(target, max(1, round(options.inputs * target.share / shares)), seed, options.plain)
            count = sum(tally.outcomes[key] for key in ("answered", "refused", "failed"))
            row = {"what": what, "seed": seed, "inputs": count} | tally.outcomes
            row["plain"] = bool(options.plain and target.draw)
            row |= {"seconds": round(time.monotonic() - began, 1), "resident_mb": _size(1) >> 20}
            row |= {"files": sum(1 for _ in folder.rglob("*")), "failures": tally.failures}
            rows[what, seed] = row
            print(json.dumps(row, indent=1 if tally.failures else None)[:5000], flush=True)
            if options.log:
                options.log.parent.mkdir(parents=True, exist_ok=True)
                with open(options.log, "a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
    result = totals(rows.values())
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    sys.exit(bool(main()["kinds of failure"]))
