"""`best.ckpt`, the weights that scored best so far, written no more often than their share of the time allows.

A short epoch improves again and again, and writing each improvement took a third of some trainings. What comes too
early is kept as a copy in the process's memory, the newest in the place of the one before, until its time has come or
the training ends, whatever the end. What is too large for a copy is written at once: its epochs are long.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from torch import Tensor

from xmtc.training.kept import BEST, save_tensors, write

LARGE = 2**30  # bytes of weights of which no second copy is made


class Best:
    """share: most of the time that writing may take before the end, `last.ckpt` included; the first is written at
    once."""

    def __init__(self, folder: Path, share: float):
        self.path, self.share = folder / BEST, share
        self.held: dict | None = None
        self.cost, self._at = 0.0, float("-inf")  # seconds that the last one took, and when it was written
        self.beside = 0.0  # seconds that `last.ckpt` takes

    def offer(self, content: dict) -> float:
        """A better one, whose `state_dict` may change after the call. Returns the seconds that writing took."""
        before, self.held = self.held, None
        if self.due():
            return self._write(content)
        weights = content["state_dict"]
        if sum(w.nbytes for w in weights.values() if isinstance(w, Tensor)) > LARGE:
            return self._write(content)
        room = before["state_dict"] if before else {}  # new memory takes longer than what is copied there
        self.held = {**content, "state_dict": {n: _copied(w, room.get(n)) for n, w in weights.items()}}
        return 0.0

    def due(self) -> bool:
        return time.monotonic() - self._at > (self.cost + self.beside) / self.share

    def flush(self) -> float:
        """Writes what is held, if anything is. Returns the seconds that it took."""
        held, self.held = self.held, None  # a disk that is full now is full at the next attempt, too
        return self._write(held) if held else 0.0

    def _write(self, content: dict) -> float:
        began = time.monotonic()
        write(self.path, lambda path: save_tensors(content, path))
        self._at = time.monotonic()
        self.cost = self._at - began
        return self.cost


def _copied(value: Any, room: Tensor | None) -> Any:
    """In the memory of `room`, where that is as large."""
    if not isinstance(value, Tensor):
        return value
    fits = isinstance(room, Tensor) and (room.shape, room.dtype) == (value.shape, value.dtype)
    return room.copy_(value.detach()) if fits else value.detach().to("cpu", copy=True)
