"""Checkpoint files that survive a kill at any moment and tell when they are damaged.

A checkpoint is written to a temporary name and synced; its checksum joins the list `hashes`; the one before becomes
`previous.ckpt`; then it gets its name. Whichever of these steps was the last, a file whose checksum is listed is left.

The checksum is CRC-32 and the size, against damage as in `xmtc.data.checksums`, of the bytes on their way to the disk
(`xmtc.training.direct`): SHA-256 took longer than all the rest of writing, several hundredths of a short training, and
reading a file again a third of it. PyTorch's own checksums, which it never compares, are left out.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from xmtc.data.checksums import state
from xmtc.data.files import FULL
from xmtc.errors import InputError
from xmtc.shortage import BROKEN
from xmtc.training.direct import Direct
from xmtc.training.stopping import undisturbed

log = logging.getLogger(__name__)
LAST, PREVIOUS, BEST, HASHES = "last.ckpt", "previous.ckpt", "best.ckpt", "hashes"


def temporary_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def write(path: Path, save: Callable[[str], str], writes: bool = True) -> None:
    """Lets `save` write a temporary file, of which it returns the checksum, and gives it its name. Where every process
    calls `save`, one `writes`: the others must not touch the file, which they may see before it has its name, and what
    their `save` returns is not looked at. A `last.ckpt` leaves its forerunner as `previous.ckpt`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_of(path)
    try:
        digest = save(str(temporary))
        if not writes:
            return
        _sync(temporary)
        listed = _listed(path.parent)  # several: a kill before the rename leaves an older file under this name
        _write_list(path.parent, {**listed, path.name: [digest, *listed.get(path.name, [])[:7]]})
        if path.name == LAST and path.exists():
            os.replace(path, path.with_name(PREVIOUS))
        if path.name == BEST:  # probabilities that were fitted to other weights
            (path.parents[1] / "calibration.json").unlink(missing_ok=True)
        os.replace(temporary, path)
        _sync(path.parent)
    except BaseException as error:  # a second Ctrl-C, too
        if writes:
            temporary.unlink(missing_ok=True)
            temporary_of(path.parent / HASHES).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (*FULL, *BROKEN):
            free = shutil.disk_usage(path.parent).free
            raise InputError(
                f"{path}: cannot be written, the disk is full or has failed ({free:,} bytes free); the file that was"
                " there before is kept"
            ) from error
        raise


def is_whole(path: Path) -> bool:
    """Whether the file is as it was written. One of a run without a list counts as whole."""
    listed = _listed(path.parent)
    if not path.exists() or not listed:
        return path.exists()
    known = listed.get(LAST if path.name == PREVIOUS else path.name, [])
    return checksum(path) in known


def newest(folder: Path) -> Path:
    """`last.ckpt`, or, loudly, `previous.ckpt` where that is missing or damaged."""
    last, previous = folder / LAST, folder / PREVIOUS
    if is_whole(last):
        return last
    if not last.exists() and not previous.exists():
        raise InputError(f"resume: {folder.parent} has no checkpoints/{LAST} to go on from")
    why = "is damaged" if last.exists() else "is missing"
    if not is_whole(previous):
        raise InputError(
            f"resume: {last} {why} and there is no whole {PREVIOUS}; init_from={folder.parent} may still work"
        )
    log.warning("%s %s: going on from %s, which is older", last, why, PREVIOUS)
    return previous


def save_tensors(content: Any, path: str | Path) -> str:
    """torch.save without the checksums that it would compute and never look at. Returns the file's own. Signals wait
    until it is written."""
    own = torch.serialization.get_crc32_options()
    with undisturbed():
        torch.serialization.set_crc32_options(False)
        try:
            with Direct(path) as file:
                torch.save(content, file)
        finally:
            torch.serialization.set_crc32_options(own)
    return file.checksum


def checksum(path: Path) -> str:
    return state(path).replace("  ", "-")


def _listed(folder: Path) -> dict[str, list[str]]:
    """Name -> the hashes it may have, newest first."""
    listed: dict[str, list[str]] = {}
    path = folder / HASHES
    for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
        digest, _, name = line.partition("  ")
        listed.setdefault(name, []).append(digest)
    return listed


def _write_list(folder: Path, listed: dict[str, list[str]]) -> None:
    temporary = temporary_of(folder / HASHES)
    lines = [f"{digest}  {name}\n" for name, digests in sorted(listed.items()) for digest in digests]
    temporary.write_text("".join(lines))
    _sync(temporary)
    os.replace(temporary, folder / HASHES)


def _sync(path: Path) -> None:
    """On the disk, not only in the system's memory: a rename must not overtake what it names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
