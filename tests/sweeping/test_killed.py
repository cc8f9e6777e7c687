"""The launcher itself is killed (SIGKILL: nothing can be saved) and started again: no job runs twice, none is lost."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time

import pytest

import xmtc
from xmtc.sweeping.devices import cpu_slots
from xmtc.sweeping.pool import Pool, locked
from xmtc.testing.jobs import SCRIPT, StandIn, starts

# a launcher of stand-ins in a process of its own; says when it has ended
LAUNCHER = """
import os, pathlib, sys
from xmtc.sweeping.devices import cpu_slots
from xmtc.sweeping.pool import Pool
from xmtc.testing.jobs import StandIn
base = pathlib.Path(sys.argv[1])
jobs = [StandIn(n, [f"seed={n}"], base / str(n)) for n in range(6)]
for job in jobs:
    job.seconds = 0.3
states = Pool(jobs, cpu_slots(2), dict(os.environ), pause=0.01).run()
print(*(states[n].state for n in range(6)))
"""


def launcher(tmp_path):
    return subprocess.Popen([sys.executable, "-c", LAUNCHER, str(tmp_path)], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_launcher_that_is_killed_at_random_moments(tmp_path, seed):
    moments = random.Random(seed)
    jobs = [StandIn(n, [], tmp_path / str(n)) for n in range(6)]
    for wanted in (1, 3):  # after so many starts, and a while
        process = launcher(tmp_path)
        while sum(len(starts(job)) for job in jobs) < wanted:
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(moments.random() * 0.4)
        process.kill()
        process.communicate()
    process = launcher(tmp_path)
    said, _ = process.communicate()
    assert process.returncode == 0 and set(said.split()) <= {"kept", "finished"}
    assert [len(starts(job)) for job in jobs] == [1] * 6 and all(job.finished for job in jobs)


def orphan(job, launcher, seconds=0.5):
    """The job as a launcher that is gone has left it: it runs, and holds its folder."""
    job.folder.mkdir()
    lock = locked(job.folder)
    script = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + SCRIPT
    )  # a shell's `&` ignores it
    process = subprocess.Popen([sys.executable, "-c", script, str(job.folder), str(seconds), "0"], pass_fds=(lock,))
    os.close(lock)
    job.note(state="running", device="cpu", host=socket.gethostname(), launcher=launcher)
    return process


def gone():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_an_orphan_keeps_its_slot_and_is_named_once(tmp_path):
    jobs, seen = [StandIn(n, [], tmp_path / str(n)) for n in range(2)], []
    process = orphan(jobs[0], gone())
    pool = Pool(jobs, cpu_slots(1), dict(os.environ), changed=lambda job, state: seen.append((job.number, state.state)),
                pause=0.01)  # fmt: skip
    states = pool.run()
    assert process.wait() == 0
    assert seen == [(0, "elsewhere"), (1, "running"), (1, "finished"), (0, "kept")] or seen[:2] == [
        (0, "elsewhere"), (0, "kept"),
    ]  # fmt: skip
    # the one slot was the orphan's: the other job came after it
    ended, began = (tmp_path / "0" / "metrics.json").stat(), (tmp_path / "1" / "ready").stat()
    assert began.st_mtime_ns >= ended.st_mtime_ns and states[0].state == "kept"
    assert [len(starts(job)) for job in jobs] == [1, 1]


def test_jobs_of_a_launcher_that_is_alive_take_no_slot_of_ours(tmp_path):
    """Two launchers may share the work of one folder."""
    jobs = [StandIn(n, [], tmp_path / str(n)) for n in range(2)]
    process = orphan(jobs[0], os.getpid(), seconds=60.0)

    def changed(job, state):
        if (job.number, state.state) == (1, "finished"):  # beside the other, which would take a minute
            assert process.poll() is None
            while not (tmp_path / "0" / "ready").exists():  # it can be asked to stop from then on
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)

    states = Pool(jobs, cpu_slots(1), dict(os.environ), changed=changed, pause=0.01).run()
    process.wait()
    assert [states[n].state for n in range(2)] == ["finished", "finished"]
    assert [len(starts(job)) for job in jobs] == [2, 1]  # the other one was stopped with a checkpoint, and taken up


def test_what_an_orphan_did_not_finish_is_taken_up(tmp_path):
    job = StandIn(0, [], tmp_path / "0")
    process = orphan(job, gone(), seconds=60.0)
    while not (tmp_path / "0" / "ready").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.wait()
    states = Pool([job], cpu_slots(1), dict(os.environ), pause=0.01).run()
    assert states[0].state == "finished" and len(starts(job)) == 2 and job.noted()["state"] == "finished"


@pytest.mark.slow
def test_the_table_is_that_of_a_sweep_that_nobody_killed(command, sweep, tmp_path, cache):
    """Launcher and job are killed in the middle of the first of two jobs."""
    from tests.sweeping.conftest import TINY

    words = ["recipe.max_epochs=6", "recipe.validation.patience=null", "checkpoints.steps=1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command("head=none,lcenet", *words), cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    folder = tmp_path / "sweep"
    while not list(folder.glob("*/checkpoints/last.ckpt")):
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.communicate()
    (first,) = folder.glob("*/checkpoints")
    _kill_holder(first.parent)
    cut = not (first.parent / "metrics.json").exists()

    done = sweep("head=none,lcenet", *words)
    assert done.returncode == 0, done.stderr
    results = [json.loads(path.read_text()) for path in sorted(folder.glob("*/metrics.json"))]
    assert [result["provenance"]["head"] for result in results] == ["none", "lcenet"]
    assert bool(results[0]["provenance"]["resumed_from_step"]) == cut
    for result in results:
        head = result["provenance"]["head"]
        plain = [*TINY, *words, f"head={head}", f"paths.cache_dir={cache}", f"hydra.run.dir={tmp_path / head}"]
        assert result["test"] == pytest.approx(xmtc.run(plain)["test"], abs=1e-6)


def _kill_holder(folder):
    """The job that a killed launcher has left: the process that has this folder's lock open."""
    lock = os.stat(folder / ".job.lock")
    for place in os.listdir("/proc"):
        try:
            held = [os.stat(f"/proc/{place}/fd/{name}") for name in os.listdir(f"/proc/{place}/fd")]
        except (OSError, NotADirectoryError):
            continue
        if place.isdigit() and any((each.st_dev, each.st_ino) == (lock.st_dev, lock.st_ino) for each in held):
            try:
                os.kill(int(place), signal.SIGKILL)
            except ProcessLookupError:
                pass
    while locked_by_somebody(folder):
        time.sleep(0.02)


def locked_by_somebody(folder):
    lock = locked(folder)
    if lock is not None:
        os.close(lock)
    return lock is None
