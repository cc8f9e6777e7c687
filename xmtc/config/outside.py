"""Processes of one run that somebody else started: torchrun, or srun. Each of them reads the command line for itself.

Lightning's own further processes are given the first one's folder. These must find the same one: a name made of the
time would be another one in each.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from xmtc.errors import InputError
from xmtc.sweeping.devices import processes

NAME = "XMTC_RUN_NAME"  # conf/run.yaml reads it
PATIENCE = timedelta(seconds=60)
_runs = count()  # of this process: xmtc.run(...) may be called several times


def starter() -> str | None:
    """Which program has started this process as one of several; None if none has that is known. As for Lightning, srun
    within an interactive job starts processes that have nothing to do with each other."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return "torchrun" if _number("WORLD_SIZE") > 1 else None
    alone = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    return "srun" if _number("SLURM_STEP_NUM_TASKS") > 1 and not alone else None


def world() -> int:
    """How many processes were started from outside for one run."""
    name = {"torchrun": "WORLD_SIZE", "srun": "SLURM_STEP_NUM_TASKS"}.get(starter() or "", "WORLD_SIZE")
    return max(1, _number(name))


def together(overrides: Sequence[str]) -> list[str]:
    """The overrides of a single run as this process takes part in it. All processes agree on the name of its folder
    unless hydra.run.dir was given, and those behind the first one write no log and no .hydra into it, as those that
    Lightning starts. InputError: there is nothing by which they could agree."""
    words = list(overrides)
    if world() == 1:
        return words
    if not any(word.lstrip("+").startswith("hydra.run.dir=") for word in words):
        os.environ[NAME] = _agreed(next(_runs))
    rank = _number("RANK" if starter() == "torchrun" else "SLURM_PROCID") if starter() else 0
    return [*words, f"hydra.job.name=train_ddp_process_{rank}", "hydra.output_subdir=null"] if rank else words


def _agreed(number: int) -> str:
    """The same word in every process of the run's, also where it is started again, and in no other run's."""
    started = starter()
    if started == "srun":
        return f"slurm-{os.environ['SLURM_JOB_ID']}.{os.environ['SLURM_STEP_ID']}" + (f"-{number}" if number else "")
    if started == "torchrun" and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        import torch.distributed as dist

        try:  # torchrun's own, which outlives its processes
            store = dist.TCPStore(os.environ["MASTER_ADDR"], _number("MASTER_PORT"), is_master=False, timeout=PATIENCE)
            mine = datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
            return store.compare_set(f"xmtc/run/{number}", "", mine).decode()  # the first one's
        except RuntimeError:
            pass
    raise InputError(
        f"hydra.run.dir: {world()} processes were started for one run ({started or 'WORLD_SIZE'}), which need one"
        " folder; say which to all of them: hydra.run.dir=runs/NAME"
    )


def refuse_sweep(what: str) -> None:
    """InputError if several processes were to run the same sweep, each of them all of it. what: is asked for."""
    if world() > 1:
        raise InputError(
            f"{what}: each of {world()} processes ({starter() or 'WORLD_SIZE'}) would run the whole sweep; start it"
            " once, by python -m alone: hydra/launcher=local or submitit starts the processes of each job"
        )


def refuse_other_count(trainer: Mapping[str, Any]) -> None:
    """InputError if the trainer's settings do not name as many processes as there are."""
    named = processes(trainer)
    if starter() and named != world():
        raise InputError(
            f"trainer.devices: {starter()} has started {world()} processes for this run, whose settings make {named}"
            " (trainer.devices for each of trainer.num_nodes); trainer=ddp takes several"
        )


def _number(name: str) -> int:
    word = os.environ.get(name, "")
    return int(word) if word.isdigit() else 0
