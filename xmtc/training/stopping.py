"""Ctrl-C and SIGTERM end a training run between two steps, where what is saved is whole.

Python raises KeyboardInterrupt anywhere, also within an update of the weights. Here the first signal is only noted; the
next step or evaluation batch saves and stops. A second one stops at once and saves nothing: the last checkpoint stays.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from xmtc.errors import Preempted

EVERY = 50  # steps between two agreements of several processes: each stops a GPU


class Stopping:
    """What was asked for while training: `signal` is the number of the first signal, 0 for none."""

    def __init__(self):
        self.signal = 0
        self._steps = 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Restores the handlers, which Lightning changes too. In another thread than the main one nothing is heard."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def listen(self) -> None:
        """Called when Lightning has set its own handlers, one of which would end the run after any step."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._note)

    def _note(self, number: int, frame) -> None:
        if self.signal:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            raise error(number)
        self.signal = number

    def agreed(self, trainer, wants_save: bool) -> tuple[bool, int]:
        """(save now?, signal), the same in every process; several ask each other every `EVERY` calls only."""
        if trainer.world_size == 1:
            return wants_save, self.signal
        self._steps += 1
        if self._steps % EVERY:
            return False, 0
        # every process must come to the same answer, or one would wait in a collective that another never reaches
        said = torch.tensor([int(wants_save), self.signal], device=trainer.strategy.root_device)
        said = trainer.strategy.reduce(said, reduce_op="max")
        return bool(said[0]), int(said[1])


def error(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else Preempted()
