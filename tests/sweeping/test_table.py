"""The live table of a sweep that has more jobs than the terminal has lines."""

import io

import pytest
from rich.console import Console
from rich.live import Live

from xmtc.sweeping import table as module
from xmtc.sweeping.devices import Slot
from xmtc.sweeping.jobs import Job
from xmtc.sweeping.pool import State
from xmtc.sweeping.table import Table


@pytest.fixture
def console(monkeypatch):
    """Of 10 lines; `shown(table)` are those it has now."""
    console = Console(file=io.StringIO(), force_terminal=True, width=60, height=10, color_system=None)
    monkeypatch.setattr(module, "_live", lambda: Live(console=console, auto_refresh=False))
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: True)
    monkeypatch.delenv("XMTC_PROGRESS", raising=False)
    return console


def shown(console, table):
    with console.capture() as caught:
        console.print(table._live.renderable)
    return [line.rstrip() for line in caught.get().splitlines()]


def test_jobs_that_run_and_that_failed_are_seen_however_many_there_are(console, tmp_path):
    jobs = [Job(n, [], tmp_path / str(n)) for n in range(30)]
    states = {n: State("finished", seconds=5.0) for n in range(25)} | {n: State() for n in range(26, 30)}
    states[3] = State("failed", seconds=1.0)
    states[25] = State("running", Slot(), seconds=2.0)
    with Table(jobs, [f"recipe.optimizer.lr={n} and many more settings of a long name" for n in range(30)]) as table:
        table.show(states)
        lines = shown(console, table)
        assert len(lines) < 10 and lines[-1] == "1 running, 1 failed, 4 waiting, 24 finished"
        assert [line.split()[0] for line in lines[1:-1]] == ["0", "3", "25", "26", "27", "28", "29"]
        assert ("failed" in lines[2], "running" in lines[3]) == (True, True)
    whole = shown(console, table)
    assert sum(line.endswith("0:05") for line in whole) == 24 and sum("name" in line for line in whole) == 30


def test_curves_of_jobs_that_have_ended_are_read_once(console, tmp_path, monkeypatch):
    """They were read five times a second, each of them: half a core for a sweep of 180 jobs."""
    jobs, read = [Job(n, [], tmp_path / str(n)) for n in range(2)], []
    monkeypatch.setattr(module, "last_row", lambda path: read.append(path.parent.name) or {"epoch": "7"})
    with Table(jobs, ["a", "b"]) as table:
        for _ in range(3):
            table.show({0: State("finished"), 1: State("running", Slot())})
    assert read.count("0") == 1 and read.count("1") >= 3
