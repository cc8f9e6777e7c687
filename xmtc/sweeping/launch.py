"""What our launchers do with the jobs that Hydra's sweeper gives them."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, configure_log
from omegaconf import DictConfig, OmegaConf, open_dict

from xmtc.config.compose import without_hydra
from xmtc.config.paths import sweep_name, typed
from xmtc.errors import InputError
from xmtc.sweeping.devices import Slot, cpu_slots, gpu_slots, on_gpu, processes, visible_gpus
from xmtc.sweeping.jobs import Job, place, swept
from xmtc.sweeping.pool import Pool, State
from xmtc.sweeping.table import Table, reason

log = logging.getLogger("xmtc.sweep")


def launch(launcher, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """hydra/launcher=local. SystemExit with 1 if a job failed, 130 if the sweep was stopped."""
    jobs, sweep = jobs_of(launcher, job_overrides, first)
    slots = slots_of(launcher, jobs)
    environment = {**os.environ, "XMTC_SWEEP": sweep_name(sweep)}
    with Table(jobs, swept(jobs)) as table:
        pool = Pool(jobs, slots, environment, table.show, table.changed, launcher.stop_seconds)
        try:
            states = pool.run()
        except KeyboardInterrupt:
            table.show(pool.states)
            log.info("stopped; the same command goes on where it was with %s", _as_typed(sweep))
            raise SystemExit(130) from None
    return returns(jobs, states, sweep)


def jobs_of(launcher, job_overrides: Sequence[Sequence[str]], first: int) -> tuple[list[Job], Path]:
    """The jobs, each with its folder, and the sweep's folder. InputError if a folder holds another configuration."""
    config = launcher.config
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    sweep = Path(str(config.hydra.sweep.dir)).absolute()
    sweep.mkdir(parents=True, exist_ok=True)
    switches = switches_of(config)
    jobs = []
    for number, overrides in enumerate(job_overrides, start=first):
        composed = launcher.hydra_context.config_loader.load_sweep_config(config, list(overrides))
        with open_dict(composed):
            composed.hydra.job.id = composed.hydra.job.num = number
            composed.hydra.runtime.output_dir = "."  # known when the job has its folder; makes no difference
        HydraConfig.instance().set_config(composed)
        folder = sweep / str(composed.hydra.sweep.subdir)
        plain = OmegaConf.to_container(without_hydra(composed.copy()), resolve=True)
        jobs.append(Job(number, list(overrides), folder, plain, switches))
    place(jobs, sweep)
    HydraConfig.instance().set_config(config)
    return jobs, sweep


def switches_of(config: DictConfig) -> list[str]:
    """Of the sweep's own command, those that a job needs: where more configuration lies, and its name."""
    sources = config.hydra.runtime.config_sources
    found = [f"--config-dir={source.path}" for source in sources if source.provider == "command-line"]
    name = config.hydra.job.config_name
    return [*found, *([f"--config-name={name}"] if name and name != "run" else [])]


def slots_of(launcher, jobs: Sequence[Job]) -> list[Slot]:
    """Where jobs run. InputError: too few devices, or a job of more than one node."""
    trainers = [job.config["trainer"] for job in jobs]
    if any((trainer.get("num_nodes") or 1) > 1 for trainer in trainers):
        raise InputError(
            "hydra/launcher=local starts jobs on this machine alone; set trainer.num_nodes=1 or use submitit"
        )
    most = max(processes(trainer) for trainer in trainers)
    if not any(on_gpu(trainer) for trainer in trainers):
        return cpu_slots(launcher.jobs, most)
    for trainer in trainers:
        if not isinstance(trainer.get("devices", 1), int) and str(trainer["devices"]) not in ("auto", "-1"):
            raise InputError(
                f"trainer.devices={trainer['devices']}: hydra/launcher=local chooses a job's devices; say how many,"
                " and which there are with hydra.launcher.devices=[...]"
            )
    visible = visible_gpus()
    hidden = [device for device in launcher.devices or () if device.isdigit() and device not in visible]
    if hidden and all(device.isdigit() for device in visible):
        raise InputError(
            f"hydra.launcher.devices: {', '.join(hidden)} is not visible here (CUDA_VISIBLE_DEVICES), only"
            f" {', '.join(visible) or 'no GPU'}"
        )
    per_job = most if launcher.devices_per_job is None else launcher.devices_per_job
    if per_job < most:
        raise InputError(f"hydra.launcher.devices_per_job={per_job}: there is a job with trainer.devices={most}")
    return gpu_slots(launcher.devices or visible, per_job, launcher.jobs_per_device)


def launcher_dir(sweep: Path) -> str:
    """As one would type it here."""
    try:
        return str(sweep.relative_to(Path.cwd()))
    except ValueError:
        return str(sweep)


def _as_typed(sweep: Path) -> str:
    return typed("hydra.sweep.dir", launcher_dir(sweep))


def returns(jobs: Sequence[Job], states: dict[int, State], sweep: Path) -> list[JobReturn]:
    """For Hydra's sweeper, whose value is the validation score. SystemExit(1) names the jobs that failed."""
    failed = [job for job in jobs if states[job.number].state in ("failed", "stopped")]
    done = len(jobs) - len(failed)
    log.info("%d of %d jobs finished in %s", done, len(jobs), launcher_dir(sweep))
    if failed:
        for job in failed:
            state = states[job.number]
            print(f"xmtc.run: {state.state}: {job.name}: {reason(job, state)}", file=sys.stderr)
        print(
            f"xmtc.run: {len(failed)} of {len(jobs)} jobs did not finish (job.log in each folder); the same command"
            f" with {_as_typed(sweep)} takes those up again",
            file=sys.stderr,
        )
        codes = {states[job.number].code for job in failed}
        raise SystemExit(2 if codes == {2} else 1)
    answers = []
    for job in jobs:
        answer = JobReturn(overrides=job.overrides, working_dir=str(job.folder), task_name="run")
        answer.status = JobStatus.COMPLETED
        answer.return_value = (job.result().get("best") or {}).get("score")
        answers.append(answer)
    return answers
