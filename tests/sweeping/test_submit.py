"""hydra/launcher=submitit, with submitit's own executor on this machine in the place of SLURM's."""

import json
import os
import pickle
import re
import threading
import time
from types import SimpleNamespace

import pytest

submitit = pytest.importorskip("submitit")

from xmtc.sweeping.pool import locked  # noqa: E402
from xmtc.sweeping.queued import on_the_way, remember  # noqa: E402
from xmtc.sweeping.submit import RUNS, Task, _parameters  # noqa: E402
from xmtc.testing.jobs import StandIn, starts  # noqa: E402


def fake(tmp_path, **settings):
    job = StandIn(0, [], tmp_path / "job")
    vars(job).update(settings)
    return job


def test_a_task_runs_its_job_once(tmp_path):
    job = fake(tmp_path)
    assert Task(job, {"NAME": "sweep"})() == 0 and Task(job, {})() == 0
    assert [start["NAME"] for start in starts(job)] == ["sweep"]


def test_a_failure_is_submitits_to_see(tmp_path):
    job = fake(tmp_path, code=3)
    with pytest.raises(RuntimeError, match="job.log"):
        Task(job, {})()
    assert json.loads((job.folder / "job.json").read_text()) == {"state": "failed", "exit_code": 1}


def test_a_preempted_job_is_queued_again_and_goes_on(tmp_path):
    job = fake(tmp_path, seconds=60.0)
    first, delayed = Task(job, {}), []

    def preempt():
        while not (job.folder / "ready").exists():
            time.sleep(0.01)
        delayed.append(first.checkpoint())

    thread = threading.Thread(target=preempt)
    thread.start()
    with pytest.raises(RuntimeError):
        first()
    thread.join()
    (again,) = delayed
    assert job.cut and again.function.attempt == 1
    assert again.function() == 0 and job.finished and len(starts(job)) == 2


def test_other_ranks_stop_when_the_first_was_told(tmp_path):
    job = fake(tmp_path, seconds=60.0)
    task = Task(job, {})

    def told():
        while not (job.folder / "ready").exists():
            time.sleep(0.01)
        task._stop_file.touch()

    thread = threading.Thread(target=told)
    thread.start()
    with pytest.raises(RuntimeError):
        task()
    thread.join()
    assert job.cut


def test_what_slurm_is_asked_for():
    from hydra_plugins.xmtc_launchers.slurm import SubmititLauncher

    launcher = SubmititLauncher(partition="gpu", mem_gb=64, more={"exclude": "node7"})
    asked = _parameters(launcher, (2, 4, True))
    assert asked == {
        "name": "xmtc", "nodes": 2, "tasks_per_node": 4, "gpus_per_node": 4, "timeout_min": 1440, "mem_gb": 64,
        "slurm_array_parallelism": 256, "slurm_partition": "gpu", "slurm_additional_parameters": {"exclude": "node7"},
    }  # fmt: skip


def test_the_sbatch_file_starts_one_task_a_device(tmp_path):
    """What submitit's SLURM executor would hand to sbatch, without a cluster."""
    from submitit.slurm.slurm import _make_sbatch_string

    from hydra_plugins.xmtc_launchers.slurm import SubmititLauncher

    asked = _parameters(SubmititLauncher(partition="gpu"), (1, 2, True))
    words = {key.removeprefix("slurm_"): value for key, value in asked.items() if key != "slurm_array_parallelism"}
    words["job_name"], words["ntasks_per_node"] = words.pop("name"), words.pop("tasks_per_node")
    words["time"] = words.pop("timeout_min")
    text = _make_sbatch_string(command="COMMAND", folder=tmp_path, **words)
    for line in ("--ntasks-per-node=2", "--gpus-per-node=2", "--nodes=1", "--partition=gpu", "--open-mode=append"):
        assert f"#SBATCH {line}" in text
    assert "srun" in text and "COMMAND" in text


@pytest.fixture
def submitted(tmp_path, monkeypatch):
    """`submitted(jobs, cluster)`: the states that the launcher ends with; it may queue nothing."""
    from xmtc.sweeping import submit as module

    def refuse(*arguments, **settings):
        raise AssertionError("queued again")

    def submitted(jobs, cluster):
        monkeypatch.setattr(module, "jobs_of", lambda *arguments: (jobs, tmp_path))
        monkeypatch.setattr(submitit, "AutoExecutor", refuse)
        monkeypatch.setattr(module, "returns", lambda jobs, states, sweep: states)
        return module.submit(SimpleNamespace(cluster=cluster, wait=True), [], 0)

    return submitted


def test_a_job_that_runs_since_an_earlier_start_is_waited_for(tmp_path, submitted):
    """It was queued again, and that one told as failed."""
    jobs = [StandIn(n, [], tmp_path / str(n)) for n in range(2)]
    for job in jobs:
        job.folder.mkdir()
    held = [locked(job.folder) for job in jobs]

    def end():
        (jobs[0].folder / "metrics.json").write_text("{}")
        for lock in held:
            os.close(lock)

    threading.Timer(0.3, end).start()
    states = submitted(jobs, "local")
    assert [states[n].state for n in range(2)] == ["finished", "failed"]


def test_jobs_that_slurm_has_in_its_queue_are_not_queued_again(tmp_path, submitted, monkeypatch):
    """`sacct` of a cluster on which both wait; then they end."""
    jobs = [StandIn(n, [], tmp_path / str(n)) for n in range(2)]
    for job in jobs:
        remember(job, f"7_{job.number}")
        (tmp_path / ".submitit" / f"7_{job.number}").mkdir(parents=True)
    sacct = tmp_path / "bin" / "sacct"
    sacct.parent.mkdir()
    sacct.write_text("#!/bin/sh\necho 'JobID|State|NodeList'; echo '7_0|RUNNING|a'; echo '7_1|PENDING|'\n")
    sacct.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sacct.parent}:{os.environ['PATH']}")

    def end():
        for job in jobs:
            path = tmp_path / ".submitit" / f"7_{job.number}" / f"7_{job.number}_0_result.pkl"
            replace = path.with_suffix(".new")
            replace.write_bytes(pickle.dumps(("error", RUNS) if job.number else ("success", 0)))
            replace.rename(path)

    threading.Timer(0.3, end).start()
    states = submitted(jobs, "slurm")
    assert [states[n].state for n in range(2)] == ["finished", "failed"] and states[1].why == RUNS


def test_jobs_that_slurm_has_ended_are_queued_again(tmp_path, monkeypatch):
    job = StandIn(0, [], tmp_path / "0")
    remember(job, "8_0")
    monkeypatch.setattr(submitit.SlurmJob.watcher, "update", lambda: None)
    monkeypatch.setitem(submitit.SlurmJob.watcher._info_dict, "8_0", {"State": "CANCELLED by 1000"})
    assert on_the_way([job], "slurm", tmp_path) == {}


@pytest.mark.slow  # ranks are real processes: submitit knows its own by their ids
def test_two_ranks_a_job_train_each_configuration_exactly_once(sweep, tmp_path):
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.devices=2"]
    done = sweep("head=none,lcenet", *ddp, "hydra.launcher.cluster=local", launcher="submitit")
    assert done.returncode == 0, done.stderr
    for folder, head in zip(sorted((tmp_path / "sweep").glob("[01]_*")), ("none", "lcenet"), strict=True):
        result = json.loads((folder / "metrics.json").read_text())
        assert result["provenance"]["head"] == head and result["provenance"]["world_size"] == 2
        logs = [(folder / name).read_text() for name in ("job.log", "job.1.log")]
        for text in logs:  # both ranks trained this configuration and no other
            assert set(re.findall(r"run directory: (\S+)", text)) == {str(folder)}
