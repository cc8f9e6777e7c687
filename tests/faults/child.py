"""Commands of xmtc in children that are forked behind the imports: what they say, how they end, and what is done to
them at a random moment of their processor time."""

from __future__ import annotations

import importlib
import os
import random
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

TRACE = "Traceback (most recent call last)"


def start(work: Callable[[], object], errors: Path) -> int:
    """A child that does `work()` and ends as a command would; its pid. Its stderr goes to `errors`, its stdout to
    errors.out."""
    errors.write_text("")
    if pid := os.fork():
        return pid
    status = 1
    try:
        new = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(errors.with_suffix(".out"), new), 1), os.dup2(os.open(errors, new), 2)
        work()
        sys.stdout.flush()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stderr.flush()
        finally:
            os._exit(status)


def command(name: str, words: list[str]) -> Callable[[], object]:
    """`python -m xmtc.NAME WORDS`, for `start`. Imported in the child: it would stand in the place of `xmtc.run`."""

    def work() -> None:
        raise SystemExit(importlib.import_module(f"xmtc.{name}").main(words))

    return work


def processor_seconds(pid: int) -> float:
    """Of a process. Not the clock: a busy machine, or one that stops us, would let no life come to its end."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def alive(pid: int) -> bool:
    """Whether the process runs (one that has ended and waits for its parent does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait(pid: int, after: float | None = None, happens: Callable[[int], None] = lambda pid: None) -> tuple[int, float]:
    """Exit code (negative: the signal that ended it) and processor seconds. `happens(pid)` once the child has used
    `after` of them, if it lives so long."""
    while after is not None:
        ended, status, used = os.wait4(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime
        if processor_seconds(pid) >= after:
            happens(pid)
            break
        time.sleep(0.005)
    _, status, used = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime


def outcome(code: int, errors: Path) -> tuple[str, str]:
    """ended, refused (one line, another code than 0), died (by a signal) or, in capitals, what must not be; and what
    was said."""
    said = errors.read_text(errors="replace")
    lines = [line for line in said.splitlines() if line.startswith("xmtc")]
    if TRACE in said:
        return "TRACEBACK", re.sub(r'File "[^"]*/', 'File "', said)[-1500:]  # logs are kept; where it was run is not
    if code < 0:
        return "died", signal.Signals(-code).name
    if code == 0:
        return "ended", ""
    return ("refused" if len(lines) == 1 else "NOT ONE LINE"), (lines[0] if len(lines) == 1 else said[-1500:])[:300]


def sometime(choose: random.Random, longest: float) -> float:
    """A moment of a life that lasts `longest` processor seconds, or some behind its end."""
    return choose.uniform(0.02, 1.05) * longest
