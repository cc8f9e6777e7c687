"""What a machine fails at: memory, a process killed for want of it, a disk. Recognised here, told in one line."""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from xmtc.errors import InputError

# of PyTorch on a CPU and on a GPU, of C++, of the system's loader (an import), of Python's threads
SIGNS = (
    "can't allocate memory", "DefaultCPUAllocator", "out of memory", "bad_alloc", "Cannot allocate memory",
    "failed to map segment", "can't start new thread", "unable to mmap",
)  # fmt: skip
BROKEN = (errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.EBADMSG)  # of a disk, or of one over a network
LOADER = ("DataLoader worker", "exited unexpectedly", "is killed by signal")  # of torch, of a process that has ended


def is_shortage(error: BaseException) -> bool:
    """A failed allocation on a GPU, of PyTorch on the CPU, of Python, or of the system."""
    if isinstance(error, MemoryError) or isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    told = any(sign in str(error) for sign in SIGNS)
    return told and isinstance(error, RuntimeError | ImportError | OSError)


def said(error: BaseException) -> str:
    """What an exception says, its first line; never empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]


class NoTraces(logging.Filter):
    """For a log: a want of memory is said in one line, wherever in a library it was met."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and is_shortage(error):
            what = (record.getMessage().strip() or record.name).splitlines()[0]
            record.msg, record.args = f"out of memory: {what} ({said(error)})", ()
            record.exc_info = record.exc_text = None
        return True


@contextmanager
def in_one_line(doing: str) -> Iterator[None]:
    """InputError in the place of whatever tells that the machine has failed while `doing`. A want of memory that Python
    cannot raise, since a finaliser met it, is left unsaid: it would be printed as a traceback beside that line."""
    before = sys.unraisablehook

    def without_shortage(told) -> None:
        short = told.exc_type is not None and issubclass(told.exc_type, MemoryError)
        if not (short or told.exc_value is not None and is_shortage(told.exc_value)):
            before(told)

    sys.unraisablehook = without_shortage
    try:
        yield
    except Exception as error:
        if isinstance(error, RuntimeError) and LOADER[0] in str(error) and any(s in str(error) for s in LOADER[1:]):
            raise InputError(
                f"data.workers: a process that reads documents has died while {doing}, perhaps for want of memory"
                f" ({said(error)}); data.workers=0 reads in this process alone"
            ) from error
        if is_shortage(error):
            raise InputError(f"out of memory while {doing} ({said(error)})") from error
        if isinstance(error, OSError) and error.errno in BROKEN:
            raise InputError(f"the disk has failed while {doing} ({error})") from error
        raise
    finally:
        sys.unraisablehook = before
