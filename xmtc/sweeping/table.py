"""One live table of a sweep on a terminal; a line whenever a job starts or ends elsewhere."""

from __future__ import annotations

import csv
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from xmtc.sweeping.jobs import Job
from xmtc.sweeping.pool import State

log = logging.getLogger("xmtc.sweep")
STYLES = {"running": "bold", "failed": "red", "finished": "green", "kept": "green dim", "stopped": "yellow"}


class Table:
    """Use with `with`. names: what tells each job apart."""

    def __init__(self, jobs: Sequence[Job], names: Sequence[str]):
        self.jobs, self.names = list(jobs), list(names)
        self.ends: dict[int, str] = {}
        wanted = os.environ.get("XMTC_PROGRESS", "auto") != "off" and sys.stderr.isatty()
        self._live = _live() if wanted else None

    def __enter__(self) -> Table:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exception) -> None:
        if self._live:
            self._live.stop()

    def show(self, states: dict[int, State]) -> None:
        if self._live:
            self._live.update(self._picture(states))

    def changed(self, job: Job, state: State) -> None:
        """A line in the log; on a terminal only for what failed, which should outlive the table."""
        name = self.names[self.jobs.index(job)]
        if state.state == "running":
            words = f"started on {state.slot.name}: {job.folder}"
        elif state.state == "failed":
            words = f"failed (exit code {state.code}): {last_line(job.folder / 'job.log')}"
        elif state.state == "elsewhere":
            words = f"is run by another process already, which is waited for: {job.folder}"
        elif state.state == "kept":
            words = f"finished before: {score(job) or 'no score'}"
        else:
            words = f"{state.state} after {duration(state.seconds)}{': ' + score(job) if job.finished else ''}"
        if not self._live or state.state == "failed":
            log.info("#%d %s %s", job.number, name, words)

    def _picture(self, states: dict[int, State]):
        from rich.table import Table as Rich

        table = Rich(box=None, pad_edge=False, title=None)
        for title, right in (("#", True), ("job", False), ("state", False), ("on", False), ("time", True),
                             ("epoch", True), ("nDCG@5", True)):  # fmt: skip
            table.add_column(title, justify="right" if right else "left", no_wrap=title != "job")
        for job, name in zip(self.jobs, self.names):
            state = states[job.number]
            epoch, value = self._progress(job, state)
            time = duration(state.seconds) if state.seconds else ""
            on = state.slot.name if state.slot and state.state == "running" else ""
            table.add_row(str(job.number), name, state.state, on, time, epoch, value, style=STYLES.get(state.state))
        return table

    def _progress(self, job: Job, state: State) -> tuple[str, str]:
        if state.state == "waiting":
            return "", ""
        last = last_row(job.folder / "curves.csv")
        value = last.get("val/nDCG@5")
        return str(last.get("epoch", "")), f"{100 * float(value):.2f}" if value else ""


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


def score(job: Job) -> str:
    result = job.result()
    part = result.get("test") or result.get("validation") or {}
    return " ".join(f"{name} {100 * part[name]:.2f}" for name in ("P@1", "P@5", "nDCG@5") if name in part)


def duration(seconds: float) -> str:
    """`1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
