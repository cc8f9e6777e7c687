"""A file that is written past the system's cache of the disk, and its checksum.

A checkpoint is written once and seldom read. Through the cache each of its pages has to be found, copied and written
back by the processor's time, and pushes out what training reads; straight from a buffer to the disk (O_DIRECT of
open(2)) costs a copy alone. The disk takes one buffer while the next is filled and summed up. Where a system or a file
system knows no such writing, the file is written as any other.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

PIECE = 8 << 20  # bytes that are written at a time, from one of two buffers of that size
BLOCK = 4096  # bytes; the disk takes whole ones alone
DIRECT = getattr(os, "O_DIRECT", 0)
NOT_SO = (errno.EINVAL, errno.EOPNOTSUPP)  # what a file system says that knows no such writing, or wants larger blocks


class Direct:
    """For `torch.save` and as a context: takes bytes in order. Behind the context all of it has been written, which is
    not to say synced, and `checksum` is that of `xmtc.data.checksums`. Cost: two buffers, a thread.

    What stopped a `write` is raised behind the context, too: PyTorch's archive says something else of it."""

    def __init__(self, path: str | Path):
        self._error: BaseException | None = None
        self._crc = self._size = self._filled = 0
        # they begin at a page, as the disk wants it
        self._buffer, self._other = memoryview(mmap.mmap(-1, PIECE)), memoryview(mmap.mmap(-1, PIECE))
        self._disk = ThreadPoolExecutor(1)
        self._written: Future | None = None  # of the other buffer
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        try:
            self._file = os.open(path, flags | DIRECT, 0o666)
        except OSError as error:
            if error.errno not in NOT_SO:
                raise
            self._file = os.open(path, flags, 0o666)

    def __enter__(self) -> Direct:
        return self

    def __exit__(self, kind, error, trace) -> None:
        try:
            if self._error:
                raise self._error from None
            if kind is None:
                self._put(self._filled)
                self._wait()
        finally:
            self._disk.shutdown()
            os.close(self._file)

    @property
    def checksum(self) -> str:
        return f"{self._crc:08x}-{self._size}"

    def write(self, data) -> int:
        """All of the bytes. Raises what writing raises; after that nothing is taken (an archive still ends itself)."""
        if self._error:
            return 0
        data = memoryview(data).cast("B")
        try:
            for start in range(0, len(data), PIECE):
                self._take(data[start : start + PIECE])
        except BaseException as error:
            self._error = error
            raise
        return len(data)

    def flush(self) -> None:
        """Of a file's interface; nothing to do."""

    def _take(self, piece: memoryview) -> None:
        self._crc, self._size = zlib.crc32(piece, self._crc), self._size + len(piece)
        while len(piece):
            room = min(PIECE - self._filled, len(piece))
            self._buffer[self._filled : self._filled + room] = piece[:room]
            self._filled, piece = self._filled + room, piece[room:]
            if self._filled == PIECE:
                self._put(PIECE)

    def _put(self, end: int) -> None:
        """Lets the disk take the buffer up to `end`, once it has taken the other one."""
        self._wait()
        self._written = self._disk.submit(self._write, self._buffer[:end])
        self._buffer, self._other, self._filled = self._other, self._buffer, 0

    def _wait(self) -> None:
        written, self._written = self._written, None
        if written:
            written.result()

    def _write(self, data: memoryview) -> None:
        """What is no whole block, the end of a file, goes the way of any other file."""
        while len(data):
            whole = len(data) // BLOCK * BLOCK
            if not whole:
                self._through_the_cache()
            try:
                data = data[os.write(self._file, data[: whole or len(data)]) :]
            except OSError as error:
                if error.errno not in NOT_SO or not self._through_the_cache():
                    raise

    def _through_the_cache(self) -> bool:
        """From now on; whether that was another way."""
        flags = fcntl.fcntl(self._file, fcntl.F_GETFL)
        fcntl.fcntl(self._file, fcntl.F_SETFL, flags & ~DIRECT)
        return bool(flags & DIRECT)
