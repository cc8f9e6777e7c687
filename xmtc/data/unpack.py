"""Unpacks a downloaded archive, trusting nothing in it: no path outside, no links, no more than a bound."""

from __future__ import annotations

import errno
import lzma
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from xmtc.errors import InputError

RATIO = 100  # text shrinks to a tenth at best; an archive that grows more is no corpus
SMALL = 1 << 30  # bytes that any archive may grow to
MOST_FILES = 2_000_000
# the last ones: what the libraries raise for names, flags, methods, sizes and places that make no sense
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, OSError, struct.error,
           ValueError, RuntimeError, OverflowError, IndexError)  # fmt: skip


def unpack(archive: Path, folder: Path) -> None:
    """Writes the archive's files (zip, or tar under any compression) into `folder`, which must be empty or absent.

    InputError: not an archive, damaged, a path outside of the folder, a link or device, too large in all; what was
    written until then stays, for the caller to remove.
    """
    if not archive.is_file():
        raise InputError(f"{archive}: there is no such file")
    folder.mkdir(parents=True, exist_ok=True)
    bound = max(SMALL, RATIO * archive.stat().st_size)
    free = shutil.disk_usage(folder).free
    written = 0
    try:
        for number, (name, stream) in enumerate(_members(archive)):
            if number >= MOST_FILES:
                raise InputError(f"{archive}: more than {MOST_FILES:,} files")
            path = folder / _safe(archive, name)
            if path.name.startswith("._") or "__MACOSX" in path.parts:
                continue  # what macOS adds about each file
            path.parent.mkdir(parents=True, exist_ok=True)
            with stream, open(path, "xb") as file:
                while piece := stream.read(1 << 20):
                    written += len(piece)
                    if written > bound:
                        raise InputError(f"{archive}: grows to more than {bound:,} bytes, as no corpus should")
                    if written > free:
                        raise InputError(f"paths.data_dir: {folder} has {free:,} bytes free, {archive.name} needs more")
                    file.write(piece)
    except FileExistsError as error:
        raise InputError(f"{archive}: holds {Path(error.filename).name} twice") from None
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # not of what the archive says
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise InputError(f"{archive}: the archive is damaged ({reason}); remove it and download it again") from None


def _members(archive: Path) -> Iterator[tuple[str, BinaryIO]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            for member in file.infolist():
                kind = (member.external_attr >> 16) & 0o170000
                if kind not in (0, 0o100000, 0o040000):
                    raise InputError(f"{archive}: {member.filename} is a link or a device, expected files only")
                if member.flag_bits & 1:
                    raise InputError(f"{archive}: {member.filename} is encrypted")
                if not member.is_dir():
                    yield member.filename, file.open(member)
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as file:
            for member in file:
                if member.isdir():
                    continue
                if not member.isfile():
                    raise InputError(f"{archive}: {member.name} is a link or a device, expected files only")
                yield member.name, file.extractfile(member)
            while file.fileobj.read(1 << 20):  # to the end, where the checksum of a compressed one is compared
                pass
    else:
        raise InputError(f"{archive}: expected a whole zip or tar archive; remove it and download it again")


def _safe(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts or "\0" in name:
        raise InputError(f"{archive}: holds a file outside of its own folder ({name[:80]!r})")
    return path
