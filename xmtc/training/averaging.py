"""The mean of the weights along training, which evaluation uses in place of the last ones.

Lightning's own averaging copies frozen tables and averages per epoch; the papers average every 100 steps and evaluate
the average. Only trainable parameters are averaged, so models with batch statistics are refused.
"""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from torch import Tensor

from xmtc.bounds import Count, Natural
from xmtc.errors import InputError


class RunningMean(pl.Callback):
    """Mean of snapshots: one at the start of epoch `start_epoch` (count 1), then one after each step of the run whose
    number is a multiple of `every` (SWA in the authors' code, which evaluates at these steps: the newest snapshot is
    that moment's). It is swapped in before an evaluation and out after it; training goes on from the raw weights.

    Memory: one more copy of the trainable weights. Saved and resumed with the checkpoint.
    """

    def __init__(self, start_epoch: Natural = 10, every: Count = 100):
        self.start_epoch, self.every = start_epoch, every
        self.count = 0
        self.average: dict[str, Tensor] = {}
        self.enabled = True
        self._swapped = False
        self._step = 0  # the last one seen

    def setup(self, trainer, module, stage) -> None:
        if any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in module.modules()):
            raise InputError("recipe.averaging: batch normalisation has statistics that are not averaged; use null")

    @torch.no_grad()
    def _add(self, module) -> None:
        """The weights as they are join the mean; the first ones are copied."""
        self.count += 1
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                if name in self.average:
                    average = self.average[name]
                    if average.device != parameter.device:  # loaded from a checkpoint
                        average = self.average[name] = average.to(parameter.device)
                    average.lerp_(parameter.detach(), 1 / self.count)
                else:
                    self.average[name] = parameter.detach().clone()

    def on_train_start(self, trainer, module) -> None:
        self._step = trainer.global_step

    def on_train_epoch_start(self, trainer, module) -> None:
        if not self.count and trainer.current_epoch >= self.start_epoch:
            self._add(module)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        if trainer.global_step != self._step:  # not after a batch whose gradient is only accumulated
            self._step = trainer.global_step
            if self.count and self._step % self.every == 0:
                self._add(module)

    @torch.no_grad()
    def _swap(self, module) -> None:
        for name, parameter in module.named_parameters():
            if name in self.average:
                mine = self.average[name].to(parameter.device)
                self.average[name], parameter.data = parameter.data, mine
        self._swapped = not self._swapped

    def on_validation_start(self, trainer, module) -> None:
        if self.enabled and self.average:
            self._swap(module)

    def on_validation_end(self, trainer, module) -> None:
        if self._swapped:
            self._swap(module)

    def on_exception(self, trainer, module, exception) -> None:
        if self._swapped:  # stopped within an evaluation: the last checkpoint is about to be written
            self._swap(module)

    def evaluated(self, module) -> dict[str, Tensor]:
        """The state dict with which an evaluation is made."""
        state = module.state_dict()
        return state | self.average if self.enabled else state

    def state_dict(self) -> dict:
        return {"count": self.count, "average": self.average}

    def load_state_dict(self, state: dict) -> None:
        self.count, self.average = state["count"], state["average"]
