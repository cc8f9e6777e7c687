"""`last.ckpt`, from which a run goes on, and `best.ckpt`, the weights that scored best on validation.

Both are written to a temporary name and renamed. `best.ckpt` holds the weights that were evaluated (the average, if
there is one) and nothing else; both load with `weights_only=True`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint

from xmtc.training.averaging import Averaging


class Checkpoints(Checkpoint):
    """monitor: validation metric, larger is better. minutes: how old `last.ckpt` may get (with Adam's state it is three
    times the model, too much for every evaluation of a large one). Several processes, whose clocks may disagree, write
    it at every evaluation."""

    def __init__(self, folder: Path, monitor: str = "val/nDCG@5", minutes: float = 5):
        self.folder, self.monitor, self.minutes = Path(folder), monitor, minutes
        self.best_score: float | None = None
        self.best_step: int | None = None
        self.enabled = True
        self._saved_at, self._saved_step = time.monotonic(), None
        self._stepped = False

    def state_dict(self) -> dict:
        return {"best_score": self.best_score, "best_step": self.best_step}

    def load_state_dict(self, state: dict) -> None:
        self.best_score, self.best_step = state["best_score"], state["best_step"]

    def on_validation_end(self, trainer, module) -> None:
        if not self.enabled or trainer.sanity_checking:
            return
        score = float(trainer.callback_metrics[self.monitor])
        if self.best_score is None or score > self.best_score:
            self.best_score, self.best_step = score, trainer.global_step
            average = next((c for c in trainer.callbacks if isinstance(c, Averaging)), None)
            weights = average.evaluated(module) if average else module.state_dict()
            weights = module.execution.whole_state(weights)
            if trainer.is_global_zero:
                content = {"state_dict": weights, "step": trainer.global_step, "score": score, "monitor": self.monitor}
                write(self.folder / "best.ckpt", lambda path: torch.save(content, path))
        if trainer.state.fn == pl.trainer.states.TrainerFn.FITTING and (trainer.world_size > 1 or self._due()):
            self.save_last(trainer)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self._stepped = True
        if trainer.world_size == 1 and self._due():
            self.save_last(trainer)

    def _due(self) -> bool:
        return time.monotonic() - self._saved_at > 60 * self.minutes

    def on_train_end(self, trainer, module) -> None:
        self.save_last(trainer)

    def on_exception(self, trainer, module, exception) -> None:
        if isinstance(exception, KeyboardInterrupt) and self._stepped and self.enabled:
            self.save_last(trainer)

    def save_last(self, trainer) -> None:
        if trainer.global_step != self._saved_step:
            write(self.folder / "last.ckpt", trainer.save_checkpoint, trainer.is_global_zero)
            self._saved_at, self._saved_step = time.monotonic(), trainer.global_step


def write(path: Path, save, writes: bool = True) -> None:
    """Lets `save` write a temporary file and renames it. Where every process calls `save`, one `writes`: the others must
    not touch the file, which they may see before it has its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    save(str(temporary))
    if writes:
        os.replace(temporary, path)


def load_best(folder: Path, module: pl.LightningModule) -> dict:
    """Loads the best weights into the module; returns {step, score, monitor}."""
    content = torch.load(folder / "best.ckpt", map_location="cpu", weights_only=True)
    module.load_state_dict(module.execution.own_state(content.pop("state_dict")))
    return content
