"""Gives everything that reads what others write inputs that nobody would write, drawn by Hypothesis.

    python -m tests.faults.fuzz --inputs 100000 [--seed 0] [--what csv config ...] [--log FILE]

Right is an answer, or an InputError of one line, within a bounded time and memory. `--inputs` are shared out by what an
input of each target costs. With --log, counts add up in FILE, a line a target and seed; those that are there are not
done again. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from tests.faults.fuzz_targets import Target, targets
from tests.faults.log import first_line
from xmtc.errors import InputError

SECONDS, WAIT = 20, 200  # of processor time, and of waiting, after which an input counts as hanging
ALARMS = {signal.ITIMER_PROF: (signal.SIGPROF, SECONDS), signal.ITIMER_REAL: (signal.SIGALRM, WAIT)}
MEMORY = 2 << 30  # bytes of address space that an input may add


class Hang(BaseException):
    pass


@dataclass
class Tally:
    """failures: one line -> the first input that led to it."""

    outcomes: Counter = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)

    def failed(self, line: str, value: object) -> None:
        self.outcomes["failed"] += 1
        self.failures.setdefault(line, repr(value)[:400])


def one(read: Callable, value: object, tally: Tally) -> None:
    """Reads one input."""
    try:
        read(value)
        tally.outcomes["answered"] += 1
    except InputError as error:
        if "\n" in str(error) or not str(error).strip():
            tally.failed(f"not one line: {str(error)[:200]!r}", value)
        tally.outcomes["refused"] += 1
    except Hang:
        tally.failed(f"no answer within {SECONDS} s of work or {WAIT} s of waiting", value)
    except (Exception, SystemExit) as error:
        line = first_line(error)
        tally.failed(f"{type(error).__name__} at {line.rpartition(' at ')[2]}", (line, value))


def fuzz(target: Target, inputs: int, seed: int) -> Tally:
    """`inputs` inputs for one target."""
    tally = Tally()

    @seeded(seed)
    @settings(max_examples=inputs, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(target.inputs)
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

    run()
    return tally


def _hang(*_) -> None:
    raise Hang


def _bound_memory() -> None:
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--what", nargs="+")
    parser.add_argument("--log", type=Path)
    options = parser.parse_args(argv)
    logging.disable(logging.CRITICAL)
    lines = options.log.read_text().splitlines() if options.log and options.log.exists() else []
    done = {(row["what"], row["seed"]) for row in map(json.loads, lines)}
    before = {number: signal.signal(number, _hang) for number, _ in ALARMS.values()}
    limits = resource.getrlimit(resource.RLIMIT_AS)
    total, failed = 0, 0
    shared = "/dev/shm" if Path("/dev/shm").is_dir() else None  # inputs are files, and disks are slow
    try:
        with tempfile.TemporaryDirectory(dir=shared) as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = targets(Path(folder))
            shares = sum(target.share for target in found.values())
            _bound_memory()
            for name in options.what or found:
                if (name, options.seed) in done:
                    continue
                began, target = time.monotonic(), found[name]
                tally = fuzz(target, max(1, round(options.inputs * target.share / shares)), options.seed)
                count = sum(tally.outcomes[key] for key in ("answered", "refused", "failed"))
                row = {"what": name, "seed": options.seed, "inputs": count} | tally.outcomes
                row |= {"seconds": round(time.monotonic() - began, 1), "failures": tally.failures}
                print(json.dumps(row, indent=1 if tally.failures else None), flush=True)
                if options.log:
                    options.log.parent.mkdir(parents=True, exist_ok=True)
                    with open(options.log, "a") as file:
                        file.write(json.dumps(row) + "\n")
                total, failed = total + count, failed + len(tally.failures)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        for number, handler in before.items():
            signal.signal(number, handler)
        logging.disable(logging.NOTSET)
    result = {"inputs": total, "kinds of failure": failed}
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    sys.exit(bool(main()["kinds of failure"]))
