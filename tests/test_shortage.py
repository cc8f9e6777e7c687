"""What a machine fails at is one line; what a program does wrong keeps its traceback."""

import errno
import logging
import os
import subprocess
import sys

import pytest

from xmtc.errors import InputError
from xmtc.shortage import NoTraces, in_one_line

KILLED = "DataLoader worker (pid(s) 12) exited unexpectedly with signals: SIGKILL"


@pytest.mark.parametrize("error, line", [
    (MemoryError(), r"out of memory while counting \(MemoryError\)"),
    (MemoryError("Unable to allocate 3 GiB\nfor it"), r"out of memory while counting \(Unable to allocate 3 GiB\)"),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "out of memory while counting"),
    (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), "out of memory while counting"),
    (OSError(errno.EIO, os.strerror(errno.EIO), "tokens"), "the disk has failed while counting .*tokens"),
    (OSError(errno.ESTALE, os.strerror(errno.ESTALE), "tokens"), "the disk has failed while counting"),
    (RuntimeError(KILLED), "data.workers: a process that reads documents has died while counting.*SIGKILL"),
    (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "data.workers: a process"),
], ids=repr)  # fmt: skip
def test_in_one_line(error, line):
    with pytest.raises(InputError, match=line) as raised, in_one_line("counting"):
        raise error
    assert "\n" not in str(raised.value) and raised.value.__cause__ is error


def test_finalisers_that_find_no_memory_print_no_traceback():
    script = """
import sys
from xmtc.shortage import in_one_line

class Last:
    def __init__(self, error):
        self.error = error
    def __del__(self):
        raise self.error

hook = sys.unraisablehook
with in_one_line("counting"):
    for error in (MemoryError("one"), RuntimeError("DefaultCPUAllocator: can't allocate memory"), KeyError("mistake")):
        Last(error)
assert sys.unraisablehook is hook
Last(MemoryError("afterwards"))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "mistake" in done.stderr and "afterwards" in done.stderr
    assert "Error: one" not in done.stderr and "Allocator" not in done.stderr


def test_a_log_says_it_in_one_line(caplog):
    log = logging.getLogger("somebody.elses")
    log.addFilter(NoTraces())
    for error in (MemoryError(), KeyError("x")):
        try:
            raise error
        except (MemoryError, KeyError):
            log.exception("it broke on %d\nand more", 7)
    short, whole = caplog.records
    assert short.getMessage() == "out of memory: it broke on 7 (MemoryError)" and not short.exc_info
    assert whole.exc_info and "Traceback" in caplog.text and "MemoryError:" not in caplog.text


@pytest.mark.parametrize("error", [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"), OSError(errno.ENOENT, "No such file"), KeyError("x"),
    RuntimeError("Caught KeyError in DataLoader worker process 0."), InputError("as it was"), KeyboardInterrupt(),
], ids=repr)  # fmt: skip
def test_all_else_goes_through(error):
    with pytest.raises(type(error)) as raised, in_one_line("counting"):
        raise error
    assert raised.value is error
