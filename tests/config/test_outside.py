"""Processes that torchrun or srun started find one folder for their run; none of them runs a sweep of its own."""

import socket
from itertools import count
from pathlib import Path

import pytest
import torch.distributed as dist

from xmtc.config import outside
from xmtc.config.compose import compose_jobs
from xmtc.config.outside import NAME, refuse_other_count, starter, together, world
from xmtc.errors import InputError
from xmtc.job import composed


@pytest.fixture
def process(monkeypatch):
    """`process(RANK="1", ...)`: from here on this is another process, in this environment."""
    monkeypatch.setenv(NAME, "")  # so that it is taken back

    def process(**environment):
        for name in ("WORLD_SIZE", "RANK", "TORCHELASTIC_RUN_ID", "SLURM_JOB_NAME", NAME):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.setattr(outside, "_runs", count())

    return process


@pytest.fixture
def torchrun(process):
    """`torchrun(rank)`: this is that rank of two. torchrun.again(): another torchrun on this machine."""

    class Torchrun:
        def again(self):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
            self.store = dist.TCPStore("127.0.0.1", self.port, is_master=True, wait_for_workers=False)

        def __call__(self, rank, **more):
            known = {"TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_USE_AGENT_STORE": "True"}
            place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": self.port, "RANK": rank, "WORLD_SIZE": 2}
            process(**known | place | more)

    started = Torchrun()
    started.again()
    return started


def folder(words=()):
    """Where a run of this process would go."""
    return str(composed(list(words))[1])


def test_ranks_of_torchrun_share_a_folder_and_two_torchruns_do_not(torchrun):
    torchrun(1)
    first = folder()
    torchrun(0)
    assert folder() == first and starter() == "torchrun" and world() == 2
    torchrun(0, TORCHELASTIC_RESTART_COUNT=1)  # started again after a failure
    assert folder() == first
    second = folder()  # xmtc.run(...) once more in the same program
    torchrun(1)
    assert (folder(), folder()) == (first, second) and second != first
    torchrun.again()
    torchrun(0)
    assert folder() not in (first, second)


def test_tasks_of_srun_share_a_folder(process):
    def task(rank, step=0, **more):
        process(SLURM_JOB_ID=4711, SLURM_STEP_ID=step, SLURM_STEP_NUM_TASKS=2, SLURM_PROCID=rank, **more)

    task(0)
    first = folder()
    assert first.endswith("/slurm-4711.0")  # also when it is queued again
    task(1)
    assert folder() == first and folder() == f"{first}-1"
    task(0, step=1)
    assert folder() != first
    task(0, SLURM_JOB_NAME="interactive")  # for Lightning each of them is alone
    assert starter() is None and "slurm" not in folder()


def test_only_the_first_process_writes_logs_and_dot_hydra(torchrun):
    torchrun(0)
    assert together(["seed=1"]) == ["seed=1"]
    torchrun(1)
    assert together(["seed=1"])[1:] == ["hydra.job.name=train_ddp_process_1", "hydra.output_subdir=null"]


def test_a_folder_that_was_given_stays_and_one_process_asks_nobody(process):
    process(WORLD_SIZE=2)
    assert folder(["hydra.run.dir=mine"]) == str(Path("mine").absolute())
    process(TORCHELASTIC_RUN_ID="x", WORLD_SIZE=1, RANK=0)
    assert together([]) == [] and world() == 1
    process(TORCHELASTIC_RUN_ID="x", WORLD_SIZE=1, SLURM_STEP_NUM_TASKS=2, SLURM_JOB_NAME="bash")
    assert world() == 1


@pytest.mark.parametrize("known", [{}, {"TORCHELASTIC_RUN_ID": "x", "RANK": 1}])
def test_processes_that_cannot_agree_are_told_what_to_type(process, known):
    process(WORLD_SIZE=2, **known)
    with pytest.raises(InputError, match=r"^hydra.run.dir: 2 processes .*hydra.run.dir=runs/NAME$"):
        together([])


def test_no_process_runs_a_whole_sweep_of_its_own(process):
    process(TORCHELASTIC_RUN_ID="x", WORLD_SIZE=2, RANK=0)
    for launcher in ("local", "submitit", "basic"):
        with pytest.raises(InputError, match=r"^-m: each of 2 processes \(torchrun\) would run the whole sweep"):
            compose_jobs(["seed=0,1", f"hydra/launcher={launcher}"])


def test_settings_name_as_many_processes_as_there_are(process):
    process(TORCHELASTIC_RUN_ID="x", WORLD_SIZE=2, RANK=0)
    refuse_other_count({"devices": 2})
    for trainer in ({"devices": 1}, {"devices": 2, "num_nodes": 2}):
        with pytest.raises(InputError, match="trainer.devices: torchrun has started 2 processes"):
            refuse_other_count(trainer)
    process()
    refuse_other_count({"devices": 4})  # Lightning starts them
