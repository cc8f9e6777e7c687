"""Writing arrays, so that a full disk is an error that says so, and locks between processes.

`ndarray.tofile` (hence `np.save`) reports a full disk without its error number, and a memory-mapped output is killed by
a signal; plain writes do neither.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from tokenize import TokenError
from types import SimpleNamespace
from typing import IO, BinaryIO

import numpy as np

from xmtc.errors import InputError
from xmtc.shortage import BROKEN, is_shortage, said

# what zipfile and NumPy raise for damaged archives, and for flags, methods, sizes and headers that make no sense
UNREADABLE = (OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, ValueError, RuntimeError,
              TypeError, SyntaxError, TokenError, OverflowError, MemoryError, LookupError)  # fmt: skip
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz file.

    Each array's bytes are read whole and compared with the archive's checksum before their header is believed, which
    `np.load` does not: a damaged header can announce fewer numbers than there are. InputError: no .npz file, damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            if not archive.comment and len(members) != _announced(path):  # a damaged entry can swallow the next
                raise zipfile.BadZipFile("its directory announces another number of arrays")
            return {name: _array(archive.read(member)) for name, member in members.items()}
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except UNREADABLE as error:
        what = "out of memory, or a damaged .npz file" if is_shortage(error) else "not a readable .npz file"
        raise InputError(f"{path}: {what} ({said(error)})") from None


def _announced(path: Path) -> int:
    """How many members the end of a zip archive without a comment says there are."""
    with open(path, "rb") as file:
        file.seek(-22, os.SEEK_END)
        return int.from_bytes(file.read()[10:12], "little")


def _array(data: bytes) -> np.ndarray:
    return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)


@contextlib.contextmanager
def writing_to(folder: Path, doing: str, key: str | None = "cache_dir") -> Iterator[None]:
    """Around code that writes under `folder`, which `paths.KEY` names (null: an argument of the command): InputError if
    that cannot be written."""
    setting = "" if key is None else f"paths.{key}: "
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise InputError(f"{setting}the disk is full while {doing} in {folder}") from error
        if error.errno in BROKEN:
            raise InputError(f"the disk has failed while {doing} in {folder} ({error})") from error
        if error.errno == errno.ENOENT:  # whoever tidies up a cache does not know who is at work in it
            raise InputError(f"{error.filename or folder}: was removed while {doing}; start it again") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
            raise InputError(f"{setting}cannot write to {folder} ({error})") from error
        raise


@contextlib.contextmanager
def output_to(what: str) -> Iterator[None]:
    """Around code that writes where a command was told to, by `what`: InputError, in one line, if it cannot."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{what}: cannot write there: {error.strerror or error}") from error


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary file to write, which takes the place of `path` once it is whole and is gone if it never is."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Whole or not at all, in UTF-8."""
    with replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


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


def _is_still(file: IO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
