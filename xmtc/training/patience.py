"""Early stopping, also of a run that is continued: one that has lost its patience trains no further step."""

from __future__ import annotations

from pytorch_lightning import callbacks


class EarlyStopping(callbacks.EarlyStopping):
    """Under Lightning's name, by which checkpoints know it. The patience is that of the configuration, which may have
    changed since the checkpoint: with more of it the run goes on.

    monitor: validation metric, larger is better. patience: evaluations without a gain.
    """

    def __init__(self, monitor: str, patience: int):
        # checked where the metric is made: a run resumed at the end of an epoch has none yet
        super().__init__(monitor, patience=patience, mode="max", check_finite=False, check_on_train_epoch_end=False)

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict | {"patience": self.patience})

    def on_train_start(self, trainer, module) -> None:
        if self.wait_count >= max(self.patience, 1):  # stopped before, in its last evaluation or behind it
            trainer.should_stop = True
