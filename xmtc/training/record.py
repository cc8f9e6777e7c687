"""What a run records while it trains: `curves.csv`, throughput, a log line an evaluation; and when it diverges."""

from __future__ import annotations

import csv
import logging
import math
import resource
import sys
import time
from pathlib import Path

import pytorch_lightning as pl
import torch

from xmtc.data.files import replaced
from xmtc.errors import InputError

log = logging.getLogger(__name__)
COLUMNS = ("step", "epoch", "seconds", "loss")


def peak_memory_bytes() -> int:
    """Most memory used since `peak_from_now`: of the GPU if there is one, else of this process."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    return process_bytes("VmHWM")


def peak_from_now() -> None:
    """What `peak_memory_bytes` tells is of what comes, and not of an earlier run in this process, as Hydra's own
    launcher makes them. Where the system cannot forget a peak, nothing happens."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def resident_bytes() -> int:
    """Memory of this process now, where the system tells (Linux), else the most it ever had."""
    return process_bytes("VmRSS")


def process_bytes(field: str) -> int:
    """Linux: a field of /proc/self/status. getrusage would do for the peak, but there a process that was started by a
    larger one begins with the peak of that one, so that a sweep's jobs would report the launcher's memory."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def write_curve(path: Path, rows: list[dict]) -> None:
    """curves.csv, a row an evaluation, with the columns of the last one."""
    with replaced(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, [*COLUMNS, *(name for name in rows[-1] if name not in COLUMNS)], restval="")
        writer.writeheader()
        writer.writerows(rows)


class Record(pl.Callback):
    """One row of curves.csv an evaluation, with the mean training loss since the row before.

    seconds: time inside fit, evaluations included, summed over resumes. documents_per_second: training alone.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self.seconds = self.training_seconds = 0.0
        self._fit_from = self._mark = time.monotonic()
        self.documents = 0
        self._loss, self._steps = 0.0, 0
        self._rows: list[dict] = []

    def state_dict(self) -> dict:
        names = ("seconds", "training_seconds", "documents", "_loss", "_steps")
        return {name: getattr(self, name) for name in names} | {"rows": self._rows}

    def load_state_dict(self, state: dict) -> None:
        self._rows = state.pop("rows")
        self.__dict__.update(state)
        self._fit_from = time.monotonic() - self.seconds

    @property
    def documents_per_second(self) -> float:
        return self.documents / self.training_seconds if self.training_seconds else 0.0

    def on_train_start(self, trainer, module) -> None:
        self._fit_from = time.monotonic() - self.seconds
        self._mark = time.monotonic()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        loss = outputs["loss"].detach()
        # reading a value stops a GPU, so there it is read now and then
        if (loss.device.type == "cpu" or trainer.global_step % 50 == 0) and not math.isfinite(float(loss)):
            raise InputError(
                f"the loss is {float(loss)} at step {trainer.global_step}: lower recipe.optimizer.lr, set"
                " recipe.clipping, or use trainer.precision=32-true"
            )
        # Lightning has divided it for the sum of gradients. This order: after a resume on another device too
        self._loss = loss * trainer.accumulate_grad_batches + self._loss
        self._steps += 1
        self.documents += len(batch) * trainer.world_size
        now = time.monotonic()
        self.training_seconds += now - self._mark
        self._mark, self.seconds = now, now - self._fit_from

    def on_validation_end(self, trainer, module) -> None:
        if trainer.sanity_checking or not self._steps:
            self._mark = time.monotonic()
            return
        self.seconds = time.monotonic() - self._fit_from
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        # each process holds its share of every step's loss, W times as large
        together = trainer.strategy.reduce(self._loss.to(trainer.strategy.root_device), reduce_op="mean")
        loss = float(together) / self._steps
        self._loss, self._steps = 0.0, 0
        row = {"step": trainer.global_step, "epoch": trainer.current_epoch, "seconds": round(self.seconds, 2)}
        self._rows.append(row | {"loss": loss} | metrics)
        if trainer.is_global_zero:
            write_curve(self.path, self._rows)
            shown = " ".join(f"{k} {100 * metrics[f'val/{k}']:.2f}" for k in ("P@1", "P@5", "nDCG@5"))
            log.info(
                "step %d epoch %d: loss %.5g, %s, %.0f s, %.0f documents/s, %.2f GiB",
                row["step"], row["epoch"], loss, shown, self.seconds, self.documents_per_second,
                peak_memory_bytes() / 2**30,
            )  # fmt: skip
        self._mark = time.monotonic()
