"""A file that is written past the system's cache of the disk, and its checksum.

A checkpoint is written once and seldom read. Through the cache each of its pages has to be found, copied and written
back by the processor's time, and pushes out what training reads; straight from a buffer to the disk (O_DIRECT of
open(2)) costs a copy alone. Where a system or a file system knows no such writing, the file is written as any other.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import zlib
from pathlib import Path

PIECE = 8 << 20  # bytes that are written at a time, from a buffer of that size
BLOCK = 4096  # bytes; the disk takes whole ones alone
DIRECT = getattr(os, "O_DIRECT", 0)


class Direct:
    """For `torch.save` and as a context: takes bytes in order. Only behind `close` is all of it on its way to the disk,
    and then `checksum` is that of `xmtc.data.checksums`.

    error: what stopped a `write`, for a caller (PyTorch's archive) that says something else of it."""

    def __init__(self, path: str | Path):
        self.error: BaseException | None = None
        self._crc = self._size = self._filled = 0
        self._buffer = memoryview(mmap.mmap(-1, PIECE))  # begins at a page, as the disk wants it
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        try:
            self._file = os.open(path, flags | DIRECT, 0o666)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._file = os.open(path, flags, 0o666)

    def __enter__(self) -> Direct:
        return self

    def __exit__(self, kind, error, trace) -> None:
        try:
            if kind is None:
                self._put(self._filled)
        finally:
            os.close(self._file)

    @property
    def checksum(self) -> str:
        return f"{self._crc:08x}-{self._size}"

    def write(self, data) -> int:
        """All of the bytes. Raises what writing raises; after that nothing is taken (an archive still ends itself)."""
        if self.error:
            return 0
        data = memoryview(data).cast("B")
        try:
            for start in range(0, len(data), PIECE):
                self._take(data[start : start + PIECE])
        except BaseException as error:
            self.error = error
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
        """Writes the buffer up to `end`; what is no whole block, the end of a file, as any other file."""
        start = 0
        while start < end:
            whole = (end - start) // BLOCK * BLOCK
            if not whole:
                self._through_the_cache()
            try:
                start += os.write(self._file, self._buffer[start : start + (whole or end - start)])
            except OSError as error:
                if error.errno != errno.EINVAL or not self._through_the_cache():
                    raise
        self._filled = 0

    def _through_the_cache(self) -> bool:
        """From now on; whether that was another way."""
        flags = fcntl.fcntl(self._file, fcntl.F_GETFL)
        fcntl.fcntl(self._file, fcntl.F_SETFL, flags & ~DIRECT)
        return bool(flags & DIRECT)
