"""Ctrl-C and SIGTERM end a training run between two steps, where what is saved is whole.

Python raises KeyboardInterrupt anywhere, also within an update of the weights. Here the first signal is only noted; the
next step or evaluation batch saves and stops. A second one stops at once, behind the file that is just being written,
and saves nothing: the last checkpoint stays.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from xmtc.errors import Preempted

EVERY = 50  # steps between two agreements of several processes: each stops a GPU
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """What was asked for while training: `signal` is the number of the first signal, 0 for none."""

    def __init__(self):
        self.signal = 0
        self._steps = 0

    def listen(self) -> None:
        """Called when Lightning has set its own handlers, one of which would end the run after any step."""
        _handle(self._note)

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


@contextmanager
def restored() -> Iterator[None]:
    """The handlers are as before behind it: Lightning changes them too. Other threads than the main one have none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """What comes meanwhile is handled behind it. A handler that raises would leave a lock that another thread waits for
    as it is at that moment, and the process would wait for that thread for ever."""
    came: list[int] = []
    with restored():
        _handle(lambda number, frame: came.append(number))
        yield
    for number in came:
        signal.raise_signal(number)


def _handle(handler: Callable) -> None:
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, handler)


def error(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else Preempted()
