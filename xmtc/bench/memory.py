"""Peak memory of a call, in bytes, beyond what the process held before."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import torch

from xmtc.training.record import peak_from_now, process_bytes


def peak_beyond(call: Callable[[], object]) -> int:
    """On a GPU what its allocator counted, else the process's resident memory (Linux only)."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        peak_from_now()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    ctypes.CDLL(None).malloc_trim(0)  # what was freed, but is held by the C library, would hide what the call needs
    peak_from_now()
    before = process_bytes("VmRSS")
    call()
    return process_bytes("VmHWM") - before
