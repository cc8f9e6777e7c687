"""Writing arrays, so that a full disk is an error that says so, and locks between processes.

`ndarray.tofile` (hence `np.save`) reports a full disk without its error number, and a memory-mapped output is killed by
a signal; plain writes do neither.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import numpy as np

from xmtc.errors import InputError


def save(path: Path, array: np.ndarray) -> None:
    """As `np.save`, byte by byte."""
    with open(path, "wb") as file:
        np.lib.format.write_array(SimpleNamespace(write=file.write), np.asarray(array), allow_pickle=False)


@contextlib.contextmanager
def growing(path: Path, dtype: type, length: int) -> Iterator[BinaryIO]:
    """A .npy file of a known length whose numbers are then written in pieces."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": (length,)}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        yield file


@contextlib.contextmanager
def writing_to(folder: Path, doing: str, key: str = "cache_dir") -> Iterator[None]:
    """Around code that writes under `folder`, which `paths.KEY` names: InputError if that cannot be written."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(f"paths.{key}: the disk is full while {doing} in {folder}") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise InputError(f"paths.{key}: cannot write to {folder} ({error.strerror})") from error
        raise


@contextlib.contextmanager
def locked(path: Path, waits: bool = True) -> Iterator[None]:
    """One process at a time, the others wait, or get a BlockingIOError. The file is gone afterwards, and the lock
    of a process that died is free."""
    while True:
        file = open(path, "w")
        fcntl.flock(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        if _is_still(file, path):
            break
        file.close()  # who had the lock before has removed its file: others may lock a new one
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def _is_still(file, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
