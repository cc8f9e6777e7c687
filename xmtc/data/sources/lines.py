"""Lines of a text file, plain or compressed, with the file and the line named in every complaint.

Only "\\n" ends a line. Python's own text mode and `str.splitlines` also break at \\x85, \\u2028 and others, which real
texts contain, and would shift texts against labels without an error.
"""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path

from xmtc.errors import InputError

SUFFIXES = ("", ".gz", ".xz")


def find(folder: Path, name: str) -> Path | None:
    """`name` in `folder`, plain before .gz before .xz; None where there is none of them."""
    return next((path for suffix in SUFFIXES if (path := folder / f"{name}{suffix}").is_file()), None)


def open_binary(path: Path) -> io.BufferedReader:
    """A buffered stream of the decompressed bytes."""
    try:
        if path.suffix == ".gz":
            return io.BufferedReader(gzip.open(path), 1 << 16)
        if path.suffix == ".xz":
            return io.BufferedReader(lzma.open(path), 1 << 16)
        return open(path, "rb", buffering=1 << 16)
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror or error})") from None


def lines(path: Path, keep_ends: bool = False) -> Iterator[str]:
    """Lines without their "\\n" or "\\r\\n" (with it where `keep_ends`: a CSV field may hold line ends).

    A byte-order mark at the start is dropped. Memory: one line. InputError: bytes that are not UTF-8 (file, line,
    byte), a compressed file that is cut short or damaged (file, last good line).
    """
    number = 0
    with open_binary(path) as stream:
        try:
            for number, raw in enumerate(stream, start=1):
                if number == 1:
                    raw = raw.removeprefix(b"\xef\xbb\xbf")
                if not keep_ends and raw.endswith(b"\n"):
                    raw = raw[: -2 if raw.endswith(b"\r\n") else -1]
                yield raw.decode("utf-8")
        except UnicodeDecodeError as error:
            found = f"byte 0x{error.object[error.start]:02x} at column {error.start + 1}"
            raise InputError(f"{path}, line {number}: expected UTF-8 text, found {found}") from None
        except EOFError:
            raise InputError(
                f"{path}: the compressed file is cut short after line {number}; copy or download it again"
            ) from None
        except (OSError, zlib.error, lzma.LZMAError) as error:
            raise InputError(f"{path}: the file is damaged after line {number} ({error})") from None
