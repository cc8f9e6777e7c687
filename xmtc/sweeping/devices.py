"""How many processes a job has, and which devices the jobs of a sweep get."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xmtc.errors import InputError


def processes(trainer: Mapping[str, Any]) -> int:
    """Processes that a run with these trainer settings has, on all nodes. `auto` and -1 count the visible GPUs."""
    devices, nodes = trainer.get("devices", 1), trainer.get("num_nodes") or 1
    if isinstance(devices, str) and devices.strip("[]").replace(",", "").replace(" ", "").isdigit() and "," in devices:
        devices = [part for part in devices.strip("[]").split(",") if part.strip()]
    if isinstance(devices, (list, tuple)):
        return len(devices) * nodes
    if str(devices) in ("auto", "-1"):
        return (max(1, len(visible_gpus())) if on_gpu(trainer) else 1) * nodes
    return int(devices) * nodes


def on_gpu(trainer: Mapping[str, Any]) -> bool:
    accelerator = trainer.get("accelerator")
    return accelerator in ("gpu", "cuda") or (accelerator == "auto" and bool(visible_gpus()))


def visible_gpus() -> list[str]:
    """Their names as CUDA_VISIBLE_DEVICES has them. Starts no CUDA context."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [part.strip() for part in named.split(",") if part.strip() and part.strip() != "-1"]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


@dataclass(frozen=True)
class Slot:
    """A place where one job at a time runs. gpus: its devices; empty on the CPU. threads: for OMP_NUM_THREADS."""

    gpus: tuple[str, ...] = ()
    threads: int | None = None

    @property
    def name(self) -> str:
        return "gpu " + ",".join(self.gpus) if self.gpus else "cpu"


def cpu_slots(jobs: int, processes_per_job: int = 1) -> list[Slot]:
    """`jobs` places that share the processor's cores."""
    if jobs < 1:
        raise InputError(f"hydra.launcher.jobs: expected at least 1, got {jobs}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max(1, cores // (jobs * processes_per_job)) if jobs * processes_per_job > 1 else None
    return [Slot(threads=threads)] * jobs


def gpu_slots(devices: list[str], devices_per_job: int, jobs_per_device: int) -> list[Slot]:
    """Places of `devices_per_job` neighbouring GPUs each, `jobs_per_device` on each; what is left over idles."""
    if jobs_per_device < 1:
        raise InputError(f"hydra.launcher.jobs_per_device: expected at least 1, got {jobs_per_device}")
    if devices_per_job < 1:
        raise InputError(f"hydra.launcher.devices_per_job: expected at least 1, got {devices_per_job}")
    if len(devices) < devices_per_job:
        raise InputError(
            f"hydra.launcher.devices_per_job={devices_per_job}: only {len(devices)} GPUs are visible here"
            f" ({', '.join(devices) or 'none'})"
        )
    groups = [
        tuple(devices[start : start + devices_per_job])
        for start in range(0, len(devices) - devices_per_job + 1, devices_per_job)
    ]
    return [Slot(group) for _ in range(jobs_per_device) for group in groups]
