"""hydra/launcher=submitit, with submitit's own executor on this machine in the place of SLURM's."""

import json
import re
import threading
import time

import pytest

submitit = pytest.importorskip("submitit")

from xmtc.sweeping.submit import Task, _parameters  # noqa: E402
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
