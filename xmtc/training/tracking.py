"""Trackers of runs: one run of theirs for one of ours, the same when it is continued, whole also without a network."""

from __future__ import annotations

import functools
import secrets
import sys
from pathlib import Path

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from xmtc.config.make import make
from xmtc.data.files import replace_text

ID = "wandb_id"
STAGED = "wandb.sdk.launch.inputs.internal"  # keeps what is staged; a part of W&B's whole client API


def make_logger(node: dict | None, folder: Path):
    """The logger that the configuration names, or False. A Weights & Biases run without an id gets one, which stays in
    the run directory."""
    if not node:
        return False
    if is_wandb(node):
        look_where_somebody_staged()
        if node.get("id", "") is None:
            node = node | {"id": kept_id(folder)}
    logger = make(node)
    if isinstance(logger, WandbLogger) and logger._wandb_init.get("anonymous") is None:
        logger._wandb_init.pop("anonymous", None)  # passed by Lightning in any case; W&B warns of it at every start
    return logger


def look_where_somebody_staged() -> None:
    """A run of W&B that starts looks for inputs that were staged for W&B Launch, and imports all of Launch to look:
    more CPU time than a short training. They can only be there if that has been imported before."""
    from wandb.sdk.wandb_run import Run

    look = getattr(Run, "_detect_and_apply_job_inputs", None)
    if look is None or hasattr(look, "__wrapped__"):  # another version's affair, or done
        return

    @functools.wraps(look)
    def look_if_staged(run):
        if STAGED in sys.modules:
            look(run)

    Run._detect_and_apply_job_inputs = look_if_staged


def is_wandb(node: dict | None) -> bool:
    return bool(node) and "wandb" in node["_target_"].lower()


def kept_id(folder: Path) -> str | None:
    """The id of this directory's run, made at its first start. Only the first process needs it."""
    if rank_zero_only.rank != 0:
        return None
    path = folder / ID
    if not path.exists():
        replace_text(path, secrets.token_hex(8))
    return path.read_text(encoding="utf-8").strip()


def summarise(loggers: list, result: dict, facts: dict) -> None:
    """The scores of the best weights in the run's summary, where a table of runs is made from: test and validation by
    their names, full precision, beside what it cost. Curves hold every evaluation, the last of which need not be it."""
    for logger in loggers:
        if isinstance(logger, WandbLogger) and rank_zero_only.rank == 0:
            scores = {f"best/{part}/{k}": v for part in ("test", "validation") for k, v in (result[part] or {}).items()}
            logger.experiment.summary.update(scores | facts)


def finish(node: dict | None) -> None:
    """A run left open would swallow the next one of a sweep."""
    if is_wandb(node):
        import wandb

        wandb.finish()
