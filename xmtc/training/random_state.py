"""The random numbers of a resumed run go on where they stopped: dropout drops what it would have dropped."""

from __future__ import annotations

import random

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor


class RandomState(pl.Callback):
    """Saves the generators of Python, NumPy and torch (with the process's GPU), one set a process, and puts them back
    before the first step: what a run does before it may draw numbers too."""

    def __init__(self):
        self._resumed: list[dict] | None = None

    def on_save_checkpoint(self, trainer, module, checkpoint: dict) -> None:
        states = [_state(module.device)]
        if trainer.world_size > 1:
            states = [None] * trainer.world_size
            torch.distributed.all_gather_object(states, _state(module.device))
        checkpoint["random"] = states

    def on_load_checkpoint(self, trainer, module, checkpoint: dict) -> None:
        self._resumed = checkpoint.get("random")

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        if self._resumed:
            _restore(self._resumed[trainer.global_rank % len(self._resumed)], module.device)
            self._resumed = None


def _state(device: torch.device) -> dict:
    name, keys, position, has_gauss, cached = np.random.get_state()
    version, words, gauss = random.getstate()
    state: dict[str, Tensor | list] = {
        "torch": torch.get_rng_state(),
        "numpy": [name, keys.tolist(), int(position), int(has_gauss), float(cached)],
        "python": [version, list(words), gauss],
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _restore(state: dict, device: torch.device) -> None:
    torch.set_rng_state(state["torch"].cpu())
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
