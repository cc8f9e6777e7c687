"""hydra/launcher=local: every job of a sweep in a process of its own, pinned to devices of its own."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher


class LocalLauncher(Launcher):
    """jobs: how many at once on the CPU. devices_per_job: GPUs of a job; null: as many as its trainer.devices.
    jobs_per_device: jobs that share a GPU. devices: which of the visible GPUs; null: all. stop_seconds: how long
    jobs may take to write their checkpoint after Ctrl-C."""

    def __init__(
        self,
        jobs: int = 1,
        devices_per_job: int | None = None,
        jobs_per_device: int = 1,
        devices: list[int | str] | None = None,
        stop_seconds: float = 120.0,
    ) -> None:
        self.jobs, self.devices_per_job, self.jobs_per_device = jobs, devices_per_job, jobs_per_device
        self.devices, self.stop_seconds = devices and [str(device) for device in devices], stop_seconds

    def setup(self, *, hydra_context, task_function, config) -> None:
        self.hydra_context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from xmtc.sweeping.launch import launch

        return launch(self, job_overrides, initial_job_idx)
