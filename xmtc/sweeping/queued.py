"""Jobs of a cluster that an earlier start of the sweep has queued, and that go on without it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xmtc.data.files import replace_text
from xmtc.sweeping.jobs import Job
from xmtc.sweeping.pool import locked

NAME = ".submitted"
ON_THE_WAY = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "PREEMPTED")


class Held:
    """In the place of submitit's job: one that another process runs, whoever started it."""

    job_id = "another process"

    def __init__(self, job: Job):
        self.job = job

    def done(self) -> bool:
        if (lock := locked(self.job.folder)) is not None:
            os.close(lock)
        return lock is not None

    def exception(self) -> Exception | None:
        return None if self.job.finished else RuntimeError(f"{self.job.folder}: stopped")


def remember(job: Job, job_id: str) -> None:
    job.folder.mkdir(parents=True, exist_ok=True)
    replace_text(job.folder / NAME, f"{job_id}\n")


def on_the_way(jobs: Sequence[Job], cluster: str, folder: Path) -> dict[int, Any]:
    """{number: submitit's job, or `Held`} of those that need not be queued again. folder: of submitit. SLURM says which
    of its jobs wait, run or are to run again; the lock in a job's folder whether it runs where that can be seen."""
    import submitit

    queued = {}
    for job in jobs if cluster == "slurm" else ():
        if (file := job.folder / NAME).is_file():
            queued[job.number] = submitit.SlurmJob(folder=folder, job_id=file.read_text(encoding="utf-8").strip())
    if queued:
        submitit.SlurmJob.watcher.update()
    # `CANCELLED by 1000`; what SLURM knows nothing of is UNKNOWN
    found: dict[int, Any] = {
        number: each
        for number, each in queued.items()
        if each.watcher.get_state(each.job_id, mode="cache").split()[0] in ON_THE_WAY
    }
    for job in jobs:
        if job.number not in found and job.folder.is_dir() and not (held := Held(job)).done():
            found[job.number] = held
    return found
