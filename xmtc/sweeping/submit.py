"""Jobs of a sweep through submitit (Meta's client of SLURM), which queues, requeues and keeps their logs.

Every task of a job runs the command of that one job; Lightning finds in SLURM's variables which rank it is and starts
no further process. A job that is preempted or out of time stops its run, which writes last.ckpt, and goes on from there
when it is its turn again.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobReturn

from xmtc.config.paths import sweep_name
from xmtc.errors import InputError
from xmtc.sweeping.devices import on_gpu, processes
from xmtc.sweeping.jobs import LOG, Job, swept
from xmtc.sweeping.launch import jobs_of, launcher_dir, returns
from xmtc.sweeping.pool import State, locked
from xmtc.sweeping.queued import on_the_way, remember

log = logging.getLogger("xmtc.sweep")
# why a task did not start its run, whose log tells nothing of it
RUNS = "another process runs this job"
DISPLACED = "another sweep has put its job there; start this one again"


class Task:
    """What each task of a submitted job calls. attempt: how often the job was queued before. stop_seconds: how long a
    run may take to write its checkpoint."""

    def __init__(self, job: Job, environment: dict[str, str], attempt: int = 0, stop_seconds: float = 60.0):
        self.job, self.environment, self.attempt, self.stop_seconds = job, environment, attempt, stop_seconds
        self._process: subprocess.Popen | None = None

    def __call__(self) -> int:
        """The exit code of the run. RuntimeError if it failed, which submitit shows as a failed job."""
        job, rank = self.job, self._rank()
        job.folder.mkdir(parents=True, exist_ok=True)
        lock = locked(job.folder) if rank == 0 else -1
        if lock is None:
            raise RuntimeError(f"{job.folder}: {RUNS}")
        if job.displaced:
            raise RuntimeError(f"{job.folder}: {DISPLACED}")
        if job.finished:
            return 0
        log_path = job.folder / (LOG if rank == 0 else f"job.{rank}.log")
        with open(log_path, "ab") as file:
            self._process = subprocess.Popen(
                job.command(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ | self.environment | self._ranks(),
                start_new_session=True,
            )
        while self._process.poll() is None:
            if self._stop_file.exists():  # SLURM tells rank 0 alone that time is up
                self._interrupt()
            time.sleep(0.2)
        code = self._process.returncode
        if rank == 0:
            os.close(lock)
            job.note(state=job.outcome(code), exit_code=code)
        if code:
            raise RuntimeError(f"{job.name}: exit code {code}, see {log_path}")
        return code

    def checkpoint(self):
        """Called by submitit on rank 0 before time is up: what to queue instead."""
        from submitit.helpers import DelayedSubmission

        self._stop_file.touch()
        self._interrupt()
        self.job.note(state="stopped", exit_code=self._process.returncode if self._process else None)
        return DelayedSubmission(Task(self.job, self.environment, self.attempt + 1, self.stop_seconds))

    @property
    def _stop_file(self) -> Path:
        return self.job.folder / f".stop-{os.environ.get('SLURM_JOB_ID', 'local')}-{self.attempt}"

    def _interrupt(self) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(self.stop_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _rank(self) -> int:
        import submitit

        try:
            return submitit.JobEnvironment().global_rank
        except RuntimeError:  # called by hand, outside of a submitted job
            return 0

    def _ranks(self) -> dict[str, str]:
        """What Lightning needs to know; SLURM says it itself."""
        import submitit
        from submitit.helpers import TorchDistributedEnvironment

        if "SLURM_PROCID" in os.environ:
            return {}
        try:
            if submitit.JobEnvironment().num_tasks == 1:
                return {}
        except RuntimeError:
            return {}
        place = TorchDistributedEnvironment()
        port = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(place.master_port)}
        return port | {"LOCAL_RANK": str(place.local_rank), "NODE_RANK": "0", "WORLD_SIZE": str(place.world_size)}


def submit(launcher, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """hydra/launcher=submitit. Waits for the jobs unless told not to; Ctrl-C then leaves them to the cluster."""
    try:
        import submitit
    except ImportError:
        raise InputError("hydra/launcher=submitit: submitit is not installed (pip install 'xmtc[slurm]')") from None
    jobs, sweep = jobs_of(launcher, job_overrides, first)
    states = {job.number: State("kept" if job.finished else "waiting") for job in jobs}
    environment = {"XMTC_SWEEP": sweep_name(sweep)}
    names, folder = dict(zip([job.number for job in jobs], swept(jobs))), sweep / ".submitit" / "%j"
    to_do = [job for job in jobs if not job.finished]
    sent = on_the_way(to_do, launcher.cluster, folder)
    for number, future in sent.items():
        log.info("#%d %s is on its way already (%s), and is waited for", number, names[number], future.job_id)
    to_do = [job for job in to_do if job.number not in sent]
    for shape in dict.fromkeys(map(_shape, to_do)):
        try:
            executor = submitit.AutoExecutor(folder=folder, cluster=launcher.cluster)
            executor.update_parameters(**_parameters(launcher, shape))
        except (RuntimeError, ValueError, NameError) as error:
            raise InputError(f"hydra.launcher: {str(error).splitlines()[0]}") from error
        same = [job for job in to_do if _shape(job) == shape]
        with executor.batch():
            futures = [executor.submit(Task(job, environment)) for job in same]
        for job, future in zip(same, futures):
            sent[job.number] = future
            remember(job, future.job_id)
            log.info("#%d %s queued as %s: %s", job.number, names[job.number], future.job_id, job.folder)
    if not launcher.wait:
        return []
    try:
        _wait(sent, states, names)
    except KeyboardInterrupt:
        ids = " ".join(str(future.job_id) for number, future in sent.items() if not future.done())
        log.info("the jobs go on without us (scancel %s ends them); logs in %s", ids, launcher_dir(sweep))
        raise SystemExit(130) from None
    return returns(jobs, states, sweep)


def _shape(job: Job) -> tuple[int, int, bool]:
    """(nodes, tasks a node, on a GPU)"""
    trainer = job.config["trainer"]
    nodes = trainer.get("num_nodes") or 1
    return nodes, processes(trainer) // nodes, on_gpu(trainer)


def _parameters(launcher, shape: tuple[int, int, bool]) -> dict:
    nodes, tasks, gpu = shape
    found = {"name": "xmtc", "nodes": nodes, "tasks_per_node": tasks, "timeout_min": launcher.timeout_min}
    found |= {"slurm_array_parallelism": launcher.at_once, "cpus_per_task": launcher.cpus_per_task}
    found |= {"mem_gb": launcher.mem_gb, "gpus_per_node": tasks if gpu else None}
    found |= launcher.slurm
    if launcher.cluster != "slurm":
        found = {key: value for key, value in found.items() if not key.startswith("slurm_")}
    return {key: value for key, value in found.items() if value is not None}


def _wait(sent: dict, states: dict[int, State], names: dict[int, str], pause: float = 1.0) -> None:
    waiting = dict(sent)
    while waiting:
        for number, future in list(waiting.items()):
            if not future.done():
                continue
            error = future.exception()
            states[number].state, states[number].code = ("failed", 1) if error else ("finished", 0)
            states[number].why = next((words for words in (RUNS, DISPLACED) if words in str(error)), "")
            log.info("#%d %s %s", number, names[number], states[number].state)
            del waiting[number]
        time.sleep(pause if waiting else 0)
