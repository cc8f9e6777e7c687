"""One live table of a sweep on a terminal; a line whenever a job starts or ends elsewhere."""

from __future__ import annotations

import csv
import logging
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from xmtc.sweeping.jobs import LOG, Job
from xmtc.sweeping.pool import State

log = logging.getLogger("xmtc.sweep")
STYLES = {"running": "bold", "failed": "red", "finished": "green", "kept": "green dim", "stopped": "yellow"}


# which jobs are worth a line where the terminal has not enough for all, and which are still to change theirs
FIRST = ("running", "elsewhere", "failed", "stopped", "waiting", "finished", "kept")
OPEN = ("running", "elsewhere", "waiting")
KILLED = ", as by the system where memory runs out"


class Table:
    """Use with `with`. names: what tells each job apart. It is as high as the terminal; at the end it has every job."""

    def __init__(self, jobs: Sequence[Job], names: Sequence[str]):
        self.jobs, self.names = list(jobs), list(names)
        self._states: dict[int, State] = {}
        self._ended: dict[int, tuple[str, str]] = {}
        wanted = os.environ.get("XMTC_PROGRESS", "auto") != "off" and sys.stderr.isatty()
        self._live = _live() if wanted else None

    def __enter__(self) -> Table:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exception) -> None:
        if self._live:
            self._live.update(self._picture(self.jobs, whole=True))
            self._live.stop()

    def show(self, states: dict[int, State]) -> None:
        self._states = states
        if self._live:
            self._live.update(self._picture(self._worth_a_line(self._live.console.height - 3)))

    def changed(self, job: Job, state: State) -> None:
        """A line in the log; on a terminal only for what failed, which should outlive the table."""
        name = self.names[self.jobs.index(job)]
        if state.state == "running":
            words = f"started on {state.slot.name}: {job.folder}"
        elif state.state == "failed":
            code = "" if state.code is None else f" (exit code {state.code})"
            words = f"failed{code}: {reason(job, state)}"
        elif state.state == "elsewhere":
            words = f"is run by another process already, which is waited for: {job.folder}"
        elif state.state == "kept":
            words = f"finished before: {score(job) or 'no score'}"
        else:
            words = f"{state.state} after {duration(state.seconds)}{': ' + score(job) if job.finished else ''}"
        if not self._live or state.state == "failed":
            log.info("#%d %s %s", job.number, name, words)

    def _worth_a_line(self, room: int) -> list[Job]:
        """So many jobs, in their order."""
        first = sorted(self.jobs, key=lambda job: FIRST.index(self._state(job).state))[: max(room, 1)]
        return sorted(first, key=lambda job: job.number)

    def _state(self, job: Job) -> State:
        return self._states.get(job.number) or State()

    def _picture(self, jobs: Sequence[Job], whole: bool = False):
        from rich.table import Table as Rich
        from rich.text import Text

        counts = Counter(self._state(job).state for job in self.jobs)
        tally = ", ".join(f"{counts[state]} {state}" for state in FIRST if counts[state])
        table = Rich(box=None, pad_edge=False, caption=tally, caption_justify="left")
        for title, right in (("#", True), ("job", False), ("state", False), ("on", False), ("time", True),
                             ("epoch", True), ("nDCG@5", True)):  # fmt: skip
            table.add_column(title, justify="right" if right else "left", no_wrap=title != "job")
        for job in jobs:
            state = self._state(job)
            name = Text(self.names[self.jobs.index(job)], no_wrap=not whole, overflow="fold" if whole else "ellipsis")
            epoch, value = self._progress(job, state)
            time = duration(state.seconds) if state.seconds else ""
            on = state.slot.name if state.slot and state.state == "running" else ""
            table.add_row(str(job.number), name, state.state, on, time, epoch, value, style=STYLES.get(state.state))
        return table

    def _progress(self, job: Job, state: State) -> tuple[str, str]:
        """(epoch, nDCG@5) by its curves. Those of a job that has ended are read once."""
        if state.state == "waiting":
            return "", ""
        if job.number not in self._ended or state.state in OPEN:
            last = last_row(job.folder / "curves.csv")
            value = last.get("val/nDCG@5")
            self._ended[job.number] = str(last.get("epoch", "")), f"{100 * float(value):.2f}" if value else ""
        return self._ended[job.number]


def _live():
    from rich.console import Console
    from rich.live import Live

    return Live(console=Console(stderr=True), refresh_per_second=4, transient=False)


def last_row(path: Path) -> dict[str, str]:
    """The newest row of a curves.csv (a few hundred rows at most); empty if there is none."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        return {}
    return rows[-1] if rows else {}


def last_line(path: Path) -> str:
    """The last line that says something, which is where our commands put the reason."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "no log"
    return next((line.strip() for line in reversed(lines) if line.strip()), "nothing in its log")


def reason(job: Job, state: State) -> str:
    """Why a job has not finished. One that was killed says nothing of it itself: its last line is of something else."""
    if (state.code or 0) < 0:
        return f"killed by {signal.Signals(-state.code).name}" + (KILLED if -state.code == signal.SIGKILL else "")
    return state.why or last_line(job.folder / LOG)


def score(job: Job) -> str:
    result = job.result()
    part = result.get("test") or result.get("validation") or {}
    return " ".join(f"{name} {100 * part[name]:.2f}" for name in ("P@1", "P@5", "nDCG@5") if name in part)


def duration(seconds: float) -> str:
    """`1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
