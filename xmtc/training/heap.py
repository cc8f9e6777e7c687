"""While a model is trained on a CPU, the memory of its tensors is kept from step to step.

PyTorch's allocator on a CPU keeps nothing: each large tensor is mapped anew, which costs the system a page fault and
zeros for every 4 KiB. A bag of words, whose step makes and drops some hundred megabytes, spent a third of its time so
(experiments/LOG.md). glibc can be told to serve every size from its heap; the price is what lies unused between two
tensors, until the heap is trimmed at the end.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import torch

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # of malloc.h
# where glibc's own adaptation ends that large tensors set off; it does not go on once somebody has set one of these
USUAL = {TRIM_THRESHOLD: 64 << 20, MMAP_THRESHOLD: 32 << 20, MMAP_MAX: 65536}


@contextmanager
def memory_kept(device: torch.device) -> Iterator[None]:
    """For the whole process, whatever its threads. Nothing changes on a GPU or where the C library is not glibc."""
    libc = ctypes.CDLL(None)
    if device.type != "cpu" or not hasattr(libc, "gnu_get_libc_version"):
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
