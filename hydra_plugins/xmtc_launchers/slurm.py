"""hydra/launcher=submitit: every job of a sweep as a job of a SLURM cluster, one task a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher


class SubmititLauncher(Launcher):
    """cluster: slurm, or local (processes on this machine, to try it out). timeout_min: a job that needs longer is
    stopped, queued again and goes on from its checkpoint. cpus_per_task, mem_gb, partition, account, qos, constraint:
    as sbatch knows them. at_once: jobs that may run at a time. setup: shell lines before a job. more: further options
    of sbatch. wait: false leaves as soon as the jobs are queued."""

    def __init__(
        self,
        cluster: str = "slurm",
        timeout_min: int = 1440,
        cpus_per_task: int | None = None,
        mem_gb: float | None = None,
        partition: str | None = None,
        account: str | None = None,
        qos: str | None = None,
        constraint: str | None = None,
        at_once: int = 256,
        setup: list[str] | None = None,
        more: dict[str, Any] | None = None,
        wait: bool = True,
    ) -> None:
        self.cluster, self.timeout_min, self.at_once, self.wait = cluster, timeout_min, at_once, wait
        self.cpus_per_task, self.mem_gb = cpus_per_task, mem_gb
        slurm = {"partition": partition, "account": account, "qos": qos, "constraint": constraint, "setup": setup}
        self.slurm = {f"slurm_{key}": value for key, value in slurm.items() if value is not None}
        if more:
            self.slurm["slurm_additional_parameters"] = dict(more)

    def setup(self, *, hydra_context, task_function, config) -> None:
        self.hydra_context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from xmtc.sweeping.submit import submit

        return submit(self, job_overrides, initial_job_idx)
