"""What Lightning says of devices, products and defaults is kept back during a run; what matters is in our lines."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

LOGGERS = ("utilities.rank_zero", "trainer.connectors.checkpoint_connector", "callbacks.model_checkpoint")
WARNINGS = (
    r".*isinstance\(treespec, LeafSpec\).*is deprecated",
    r"The '\w+_dataloader' does not have many workers",
    r".*You have overridden `.*` .* dataloader",
    r"Checkpoint directory .* exists and is not empty",
    r"It is recommended to use `self.log\('(val|test)/.*sync_dist=True",  # our sums are already those of all
    r"You're resuming from a checkpoint that ended before the epoch ended",  # the sampler goes on where it was
    r"The number of training batches .* is smaller than the logging interval",
)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """For the whole process; as before behind it, for whoever uses Lightning beside `xmtc.run`."""
    loggers = [logging.getLogger(f"pytorch_lightning.{name}") for name in LOGGERS]
    levels = [each.level for each in loggers]
    with warnings.catch_warnings():
        for message in WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        for each in loggers:
            each.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for each, level in zip(loggers, levels, strict=True):
                each.setLevel(level)
