"""While a model is trained on a CPU, the memory of its tensors is kept from step to step.

PyTorch's allocator on a CPU keeps nothing: each large tensor is mapped anew, which costs the system a page fault and
zeros for every 4 KiB. A bag of words, whose step makes and drops some hundred megabytes, spent a third of its time so
(experiments/LOG.md). glibc can be told to serve every size from its heap; the price is what lies unused between two
tensors. Where batches differ in shape that grows from step to step (LACO with batches by length: 10 GB where a step
needs 2), so the heap is trimmed when it holds much more than a step ever needed, before an evaluation, whose tensors
are of other sizes, and at the end.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import pytorch_lightning as pl
import torch

from xmtc.training.record import resident_bytes

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # of malloc.h
# where glibc's own adaptation ends that large tensors set off; it does not go on once somebody has set one of these
USUAL = {TRIM_THRESHOLD: 64 << 20, MMAP_THRESHOLD: 32 << 20, MMAP_MAX: 65536}


MOST, SLACK = 2, 64 << 20  # of the heap: times what a step needs, and bytes above that


class _Info(ctypes.Structure):
    """struct mallinfo2 of malloc.h, glibc 2.33 and later."""

    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks",
                                                     "fsmblks", "uordblks", "fordblks", "keepcost")]  # fmt: skip


def _glibc() -> ctypes.CDLL | None:
    """The C library where its heap can be asked and told."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        return None
    libc.mallinfo2.restype = _Info
    return libc


class Trimming(pl.Callback):
    """Gives back what lies unused in the heap before an evaluation, and after a step once the heap is twice what a step
    has ever needed.

    What a step needs is read before its backward pass, when every activation is there. Cost: some 0.1 ms a step; after
    a trim the next step asks for its pages again.
    """

    def __init__(self) -> None:
        self.trims, self._needed = 0, 0
        self._libc = _glibc()
        self._beside = max(resident_bytes() - self._in_use(), 0)  # code and files, which are no heap

    def _in_use(self) -> int:
        if self._libc is None:
            return 0
        info = self._libc.mallinfo2()
        return info.uordblks + info.hblkhd

    def on_before_backward(self, trainer, module, loss) -> None:
        if self._libc is not None and loss.device.type == "cpu":
            self._needed = max(self._needed, self._in_use())

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        if self._needed and resident_bytes() - self._beside > MOST * self._needed + SLACK:
            self._trim()

    def on_validation_start(self, trainer, module) -> None:
        if self._needed:
            self._trim()

    def _trim(self) -> None:
        self._libc.malloc_trim(0)
        self.trims += 1
        # what is left beside what is in use cannot be given back: pages of files, such as a store's, read since
        self._beside = max(resident_bytes() - self._in_use(), 0)


@contextmanager
def memory_kept(device: torch.device) -> Iterator[None]:
    """For the whole process, whatever its threads. Nothing changes on a GPU or without a recent glibc."""
    libc = _glibc()
    if device.type != "cpu" or libc is None:
        yield
        return
    libc.mallopt(MMAP_MAX, 0)
    libc.mallopt(TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        for parameter, value in USUAL.items():
            libc.mallopt(parameter, value)
        libc.malloc_trim(0)
