"""hydra/launcher=local: every job once, in its own process; failures and stops cost nothing that was done."""

import json
import os
import re
import signal
import subprocess
import time

import pytest
import yaml


def folders(tmp_path):
    return sorted(path for path in (tmp_path / "sweep").iterdir() if path.is_dir())


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.mark.slow
def test_each_job_runs_once_and_a_failure_stops_nothing(sweep, tmp_path):
    done = sweep("head=lcenet", "init_from=nowhere,null", "head.blocks=1", "seed=3")
    assert done.returncode == 2, done.stderr
    first, second = folders(tmp_path)
    assert not (first / "metrics.json").exists() and metrics(second)["provenance"]["seed"] == 3
    assert json.loads((first / "job.json").read_text())["state"] == "failed"
    assert "init_from" in (first / "job.log").read_text() and "1 of 2 jobs did not finish" in done.stderr
    held = yaml.safe_load((second / "overrides.yaml").read_text())
    assert "head.blocks=1" in held and not any(word.startswith(("-m", "hydra")) for word in held)
    command = metrics(second)["provenance"]["command"]
    assert "head.blocks=1" in command and " -m head" not in command and "init_from=nowhere" not in command
    # each of the two files has one writer: what the process says, and what Hydra logs
    assert [(second / name).read_text().count("run directory: ") for name in ("job.log", "run.log")] == [1, 1]

    before = (second / "metrics.json").stat().st_mtime_ns
    # the sweep has changed: what is finished still counts
    again = sweep("head=lcenet", "init_from=null", "head.blocks=1,2", "seed=3")
    assert again.returncode == 0, again.stderr
    assert (second / "metrics.json").stat().st_mtime_ns == before
    assert sum((f / "metrics.json").exists() for f in folders(tmp_path)) == 2


@pytest.mark.slow
def test_a_sweep_that_was_stopped_goes_on(command, sweep, tmp_path):
    words = ("head=none", "recipe.max_epochs=60,1", "recipe.validation.patience=null")
    process = subprocess.Popen(
        command(*words), cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True
    )
    try:
        while not list((tmp_path / "sweep").glob("*/curves.csv")):
            assert process.poll() is None
            time.sleep(0.05)
    finally:  # also where pytest's timeout comes first: jobs are processes of their own
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=130)
    assert process.returncode == 130, error
    (first,) = (path.parent for path in (tmp_path / "sweep").glob("*/curves.csv"))
    assert (first / "checkpoints" / "last.ckpt").exists() and not (first / "metrics.json").exists()
    assert json.loads((first / "job.json").read_text())["state"] == "stopped"

    done = sweep(*words)
    assert done.returncode == 0, done.stderr
    results = [metrics(folder) for folder in folders(tmp_path)]
    assert [result["steps"] for result in results] == [180, 3]
    assert results[0]["provenance"]["resumed_from_step"] and results[1]["provenance"]["resumed_from_step"] is None


@pytest.mark.slow
def test_two_processes_a_job_train_each_configuration_exactly_once(sweep, tmp_path):
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.devices=2"]
    refused = sweep("head=none,lcenet", *ddp, launcher=None)
    assert refused.returncode == 2 and "hydra/launcher=local" in refused.stderr
    assert not (tmp_path / "sweep").exists()
    done = sweep("head=lcenet", "execution=dense,sharded", "hydra.launcher.devices_per_job=2", *ddp)
    assert done.returncode == 0, done.stderr
    results = [metrics(folder) for folder in folders(tmp_path)]
    assert [result["provenance"]["execution"].split()[0] for result in results] == ["dense", "sharded"]
    for folder, result in zip(folders(tmp_path), results):
        assert result["provenance"]["world_size"] == 2
        # its ranks trained this configuration and no other
        assert set(re.findall(r"run directory: (\S+)", (folder / "job.log").read_text())) == {str(folder)}
        steps = [line.split(",")[0] for line in (folder / "curves.csv").read_text().splitlines()]
        assert len(steps) == len(set(steps))
    dense, sharded = results  # one model, wherever its labels lie
    assert dense["test"] == pytest.approx(sharded["test"], abs=1e-6)
