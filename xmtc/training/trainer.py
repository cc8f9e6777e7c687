"""Lightning's trainer of a run, with what stands around its steps."""

from __future__ import annotations

import inspect
import os
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch.nn.parallel import DistributedDataParallel

from xmtc.config.make import make
from xmtc.data.datamodule import XMTCData
from xmtc.data.sampler import TrainingSampler
from xmtc.errors import InputError
from xmtc.shortage import said
from xmtc.training.checkpoints import DirectIO
from xmtc.training.heap import Trimming
from xmtc.training.patience import EarlyStopping
from xmtc.training.progress import Progress
from xmtc.training.random_state import RandomState
from xmtc.training.results import monitor
from xmtc.training.tracking import make_logger

# options of Lightning's that would end in a part of the scores, or in a gradient that is no dense one, and what to take
INSTEAD = {
    "gradient_clip_val": "recipe.clipping", "limit_val_batches": "data.limit", "limit_test_batches": "data.limit",
    "overfit_batches": "data.limit", "fast_dev_run": "debug=fast",
}  # fmt: skip


def make_trainer(config: dict, folder: Path, *callbacks: pl.Callback) -> pl.Trainer:
    """InputError: options that Lightning refuses, or that cannot be used here."""
    recipe = config["recipe"]
    patience = recipe["validation"]["patience"]
    callbacks = [*callbacks, RandomState(), Trimming()]
    for part in ("clipping", "averaging"):
        if recipe[part]:
            callbacks.append(make(recipe[part]))
    if patience is not None:
        callbacks.append(EarlyStopping(monitor(config), patience))
    if os.environ.get("XMTC_PROGRESS", "auto") != "off" and os.isatty(2):
        callbacks.append(Progress())
    logger = make_logger(config["logger"], folder)
    options = {"plugins": []} | config["trainer"]
    for key, instead in INSTEAD.items():
        if options.get(key) is not None:
            raise InputError(f"trainer.{key}: cannot be used here, take {instead}")
    if isinstance(interval := options.get("val_check_interval"), int):  # steps, where Lightning counts batches
        options["val_check_interval"] = interval * options.get("accumulate_grad_batches", 1)
    options["plugins"] = [*options["plugins"], DirectIO()]
    options["enable_progress_bar"] = any(isinstance(c, Progress) for c in callbacks)
    made = {"logger": logger, "callbacks": callbacks}
    if options["strategy"] == "ddp":
        # buffers are constants, or follow from the documents of all processes. Sending them before every step would not
        # only take time: it holds the interpreter, so that nobody could say which process is lost (ranks.py)
        new = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters  # from torch 2.13 on
        made["strategy"] = DDPStrategy(**{"forward_sync_buffers" if new else "broadcast_buffers": False})
    if options["accelerator"] in ("gpu", "cuda") and not torch.cuda.is_available():
        raise InputError(f"trainer.accelerator={options['accelerator']}: no GPU is visible here; use trainer=cpu")
    try:
        return make(options, **made, default_root_dir=str(folder))
    except (ValueError, TypeError, MisconfigurationException) as error:
        raise InputError(f"trainer: {said(error)}") from error


def check_interval(options: dict, data: XMTCData, world_size: int) -> None:
    """InputError: more steps between two evaluations than an epoch has, where each epoch counts its own."""
    interval = options.get("val_check_interval")
    batches = len(TrainingSampler(len(data.train), data.batch_size, 0, 0, world_size))
    steps = batches // options.get("accumulate_grad_batches", 1)  # of as many batches; an epoch's last may have fewer
    if options.get("check_val_every_n_epoch", 1) is not None and isinstance(interval, int) and interval > steps:
        raise InputError(
            f"recipe.validation.interval={interval}: an epoch has {steps} steps; a share of it, such as 0.5, or"
            " recipe.validation.epochs=null, which counts steps over epochs"
        )
