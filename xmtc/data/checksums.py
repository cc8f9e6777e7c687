"""Whether files are as they were written: a list `checksums` in their folder, `CRC-32  bytes  name` a line.

Against damage (a disk's flipped bits, a copy cut short, an edit by mistake), not against malice. CRC-32 finds every
burst of up to 32 bits and misses 1 in 4e9 of the rest; it reads 1.7 GB/s on a core where SHA-256 reads 0.3, and what
is read here is read again soon after. A file that is not listed counts as whole, as all of an older folder do.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from xmtc.data.files import replace_text
from xmtc.errors import InputError

NAME = "checksums"
PIECE = 1 << 20  # bytes


def list_files(folder: Path, names: Iterable[str] | None = None) -> None:
    """Lists the files `names` of the folder (those that are there; by default all, in subfolders too) as they are now.

    What else is listed stays. The list is replaced at once.
    """
    if names is None:
        found = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
        names = (name for name in found if name != NAME)
    known = _listed(folder)
    for name in names:
        known.pop(name, None)
        if (folder / name).is_file():
            known[name] = state(folder / name)
    _write(folder, known)


def forget(folder: Path, names: Iterable[str]) -> None:
    """What is about to be written anew is no longer listed."""
    if known := _listed(folder):
        _write(folder, {name: state for name, state in known.items() if name not in names})


def _write(folder: Path, known: Mapping[str, str]) -> None:
    replace_text(folder / NAME, "".join(f"{state}  {name}\n" for name, state in sorted(known.items())))


def damaged(folder: Path, names: Iterable[str] | None = None) -> str | None:
    """The first of the files (by default all that are listed) that is missing or not as it is listed, else None.

    Of files that are named, those that are missing count as whole: whoever reads them says what is missing.
    """
    known = _listed(folder)
    for name in known if names is None else names:
        path = folder / name
        if not path.is_file():
            if names is None:
                return name
        elif name in known and known[name] != state(path):
            return name
    return None


def require_whole(folder: Path, names: Iterable[str]) -> None:
    """InputError: one of the files is not as it was written."""
    if (name := damaged(folder, names)) is not None:
        raise InputError(
            f"{folder / name}: changed or damaged since it was written (its checksum is another than in "
            f"{folder / NAME}); if it was changed on purpose, delete its line there"
        )


def state(path: Path) -> str:
    """ "CRC-32  bytes" of a file as it is."""
    checksum = size = 0
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            checksum, size = zlib.crc32(piece, checksum), size + len(piece)
    return f"{checksum:08x}  {size}"


def sha256_of(path: Path) -> str:
    """Of a file's content: what a corpus is known by."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _listed(folder: Path) -> dict[str, str]:
    """name -> "CRC-32  bytes". A damaged list says what it says: the files it then gets wrong count as damaged."""
    try:
        text = (folder / NAME).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return {}
    rows = (line.split("  ", 2) for line in text.split("\n") if line)
    return {row[-1]: "  ".join(row[:2]) for row in rows}
