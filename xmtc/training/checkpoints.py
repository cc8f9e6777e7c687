"""`last.ckpt`, from which a run goes on, and `best.ckpt`, the weights that scored best on validation.

`best.ckpt` holds the weights that were evaluated (the average, if there is one) and nothing else, and is written as
rarely as `xmtc.training.best` says; both load with `weights_only=True`. `last.ckpt` is written at the start of a step
or at the end of training only, where everything that a run consists of is between two steps: what goes on from it is
what would have gone on.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.trainer.states import TrainerFn

from xmtc.errors import InputError
from xmtc.training.averaging import RunningMean
from xmtc.training.best import Best
from xmtc.training.kept import BEST, LAST, is_whole, save_tensors, write
from xmtc.training.results import MONITOR
from xmtc.training.stopping import Stopping, error

log = logging.getLogger(__name__)


class Checkpoints(Checkpoint):
    """monitor: validation metric, larger is better. minutes, steps: how old `last.ckpt` may get (with Adam's state
    it is three times the model, too much for every step); null for no bound. share: most of the time that `minutes` and
    `best.ckpt` may cost together; what takes longer to write than that is written more rarely."""

    def __init__(
        self,
        folder: Path,
        monitor: str = MONITOR,
        minutes: float | None = 5,
        steps: int | None = None,
        share: float = 0.01,
    ):
        if not 0 < share <= 1:
            raise InputError(f"checkpoints.share: expected more than 0 and at most 1, got {share}")
        self.folder, self.monitor, self.minutes, self.steps = Path(folder), monitor, minutes, steps
        self.share = share
        self.best = Best(self.folder, share)
        self.best_score: float | None = None
        self.best_step: int | None = None
        self.enabled = True
        self.seconds = 0.0  # that writing took, of both files, summed over resumes
        self.stopping = Stopping()
        self._in_memory: dict | None = None  # what `best.ckpt` holds, where the end of training still had it
        self._saved_at, self._saved_step = time.monotonic(), None
        self._stepped_at = 0  # the step after the last batch that was one: between the others gradients are collected
        self._evaluating = self._stopped = False
        self._resumed: dict | None = None

    def state_dict(self) -> dict:
        return {"best_score": self.best_score, "best_step": self.best_step, "seconds": self.seconds}

    def load_state_dict(self, state: dict) -> None:
        self.best_score, self.best_step = state["best_score"], state["best_step"]
        self.seconds = state.get("seconds", 0.0)

    def on_validation_end(self, trainer, module) -> None:
        self._evaluating = False
        if not self.enabled or trainer.sanity_checking:
            return
        score = float(trainer.callback_metrics[self.monitor])
        if self.best_score is None or score > self.best_score:
            self.best_score, self.best_step, self._in_memory = score, trainer.global_step, None
            average = next((c for c in trainer.callbacks if isinstance(c, RunningMean)), None)
            weights = average.evaluated(module) if average else module.state_dict()
            weights = module.execution.whole_state(weights)
            if trainer.is_global_zero:
                content = {"state_dict": weights, "step": trainer.global_step, "score": score, "monitor": self.monitor}
                self.seconds += self.best.offer(content)
                if trainer.state.fn != TrainerFn.FITTING:  # behind the last step no later moment will come
                    self._in_memory = self.best.held
                    self.seconds += self.best.flush()

    def on_train_start(self, trainer, module) -> None:
        self.stopping.listen()
        self._stepped_at = self._saved_step = trainer.global_step
        if self._resumed:
            # the step that was about to begin counts as ready: it will be counted again
            progress = trainer.fit_loop.epoch_loop.batch_progress
            progress.total.ready = progress.total.completed

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        if self._resumed:
            trainer.fit_loop.epoch_loop._batches_that_stepped = self._resumed["batches_that_stepped"]
            self._resumed = None
        if self.best.held and self.best.due():
            self.seconds += self.best.flush()
        if not self.enabled or trainer.global_step != self._stepped_at:
            return
        save, number = self.stopping.agreed(trainer, self._due(trainer))
        self._stop_if(number)
        if save:
            self.save_last(trainer)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        accumulated = trainer.fit_loop.epoch_loop._should_accumulate()
        self._stepped_at = None if accumulated else trainer.global_step

    def on_validation_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or not self.enabled:
            return
        if trainer.global_step != self._stepped_at:  # collected gradients would be lost: at the end of the step
            return
        self._evaluating = True
        self._stop_if(self.stopping.agreed(trainer, False)[1])

    def _stop_if(self, number: int) -> None:
        if number:
            self._stopped = True
            raise error(number)

    def _due(self, trainer) -> bool:
        old = False
        if self.minutes is not None and trainer.is_global_zero:  # which writes, and knows how long that takes
            cost = self.best.beside + self.best.cost
            old = time.monotonic() - self._saved_at > max(60 * self.minutes, cost / self.share)
        far = self.steps is not None and trainer.global_step - (self._saved_step or 0) >= self.steps
        return old or far

    def on_train_end(self, trainer, module) -> None:
        self._in_memory = self.best.held
        self.save_last(trainer)

    def load_best(self, trainer, module: pl.LightningModule) -> dict:
        """At the end of a run: the best weights into the module, which need not be read from the disk if they were
        written a moment ago by the only process. Returns {step, score, monitor}."""
        content, self._in_memory = self._in_memory, None
        if content is None or trainer.world_size > 1:
            return load_best(self.folder, module)
        return _load(content, module)

    def on_exception(self, trainer, module, exception) -> None:
        """Behind averaging's, which has put the raw weights back by now."""
        if self._stopped:
            self.save_last(trainer)
        elif isinstance(exception, Exception):  # not a second Ctrl-C, which saves nothing
            try:
                self.best.flush()
            except (OSError, RuntimeError, MemoryError, InputError) as error:
                log.warning("%s cannot be written either: %s", self.folder / BEST, error)

    def on_save_checkpoint(self, trainer, module, checkpoint: dict) -> None:
        loops = checkpoint["loops"]["fit_loop"]
        checkpoint["batches_that_stepped"] = loops["epoch_loop.state_dict"]["_batches_that_stepped"]
        epoch, batch = loops["epoch_progress"], loops["epoch_loop.batch_progress"]
        ended = epoch["current"]["completed"] == epoch["current"]["ready"]
        if ended and 0 < batch["current"]["completed"] < trainer.num_training_batches:
            # Lightning counts an epoch that early stopping or max_steps has cut as whole and would go on behind it
            checkpoint["epoch"] -= 1
            for part in ("total", "current"):
                epoch[part]["processed"] -= 1
                epoch[part]["completed"] -= 1
                batch[part]["ready"] += 1  # as within an epoch: see on_train_start
        if self._evaluating:
            # Lightning would go on with the evaluation's next batch, without the sums of those before
            progress = loops["epoch_loop.val_loop.batch_progress"]
            for part in ("total", "current"):
                progress[part] |= {"ready": 1, "started": 1, "processed": 0, "completed": 0}

    def on_load_checkpoint(self, trainer, module, checkpoint: dict) -> None:
        self._resumed = checkpoint

    def save_last(self, trainer) -> None:
        """What goes on from `last.ckpt` knows its best score, so `best.ckpt` must be there first."""
        self.seconds += self.best.flush()
        if trainer.global_step != self._saved_step:
            began = time.monotonic()
            write(self.folder / LAST, lambda path: saved(trainer, path), trainer.is_global_zero)
            self._saved_at, self._saved_step = time.monotonic(), trainer.global_step
            self.best.beside = self._saved_at - began
            self.seconds += self.best.beside


class DirectIO(TorchCheckpointIO):
    """Writes a checkpoint straight to its file. Lightning's own way builds it in memory first, twice: with Adam's state
    that is six times the weights. `write` renames the file, so nothing half-written gets its name.

    checksum: of the last one that this process wrote."""

    checksum = ""

    def save_checkpoint(self, checkpoint, path, storage_options=None) -> None:
        self.checksum = save_tensors(checkpoint, path)


def saved(trainer: pl.Trainer, path: str) -> str:
    """Lets the trainer write; the checksum of what it wrote, empty where another process writes."""
    trainer.save_checkpoint(path)
    return trainer.strategy.checkpoint_io.checksum


def load_best(folder: Path, module: pl.LightningModule) -> dict:
    """Loads the best weights into the module; returns {step, score, monitor}."""
    if not is_whole(folder / BEST):
        raise InputError(f"{folder / BEST}: missing or damaged (its checksum is not listed in {folder / 'hashes'})")
    return _load(torch.load(folder / BEST, map_location="cpu", weights_only=True), module)


def _load(content: dict, module: pl.LightningModule) -> dict:
    module.load_state_dict(module.execution.own_state(content.pop("state_dict")))
    return content
