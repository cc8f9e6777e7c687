"""Where answers go: standard output, or a file that is there only when it is whole and can be resumed until then.

FILE.partial        answers so far, whole lines but perhaps the last
FILE.partial.json   what they answer, so that another command does not continue them
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from xmtc.errors import InputError
from xmtc.parsing import read_json

PIECE = 1 << 20  # bytes


def _encoded(lines: Iterable[str]) -> bytes:
    """Half a surrogate pair, which an id of JSON may hold and UTF-8 may not, is escaped again as JSON has it."""
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")


class Printed:
    """Answers on standard output."""

    done = 0

    def write(self, lines: Iterable[str]) -> None:
        sys.stdout.buffer.write(_encoded(lines))
        sys.stdout.buffer.flush()

    def finish(self) -> None: ...

    def close(self) -> None: ...


class Kept:
    """Answers in a file. done: documents that an earlier, interrupted command of the same `job` has answered.

    job: everything that decides the answers. InputError: another job's answers are in the way, the disk is full.
    """

    def __init__(self, path: Path, job: dict, resumable: bool):
        self.path = path
        self.partial, self.facts = (path.with_name(f"{path.name}{end}") for end in (".partial", ".partial.json"))
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise InputError(f"output: cannot write {path}: {'it is' if path.is_dir() else 'there is no such'} folder")
        if not os.access(path.absolute().parent, os.W_OK):
            raise InputError(f"output: cannot write {path}: its folder is not writable")
        self.job, self.done = job, self._known(job) if resumable else 0
        self._file: BinaryIO | None = None

    def _open(self) -> BinaryIO:
        """Only once there is something to write: a command that is refused leaves nothing."""
        if self._file is None:
            if not self.done:
                self.facts.write_text(json.dumps(self.job), encoding="utf-8")
            self._file = open(self.partial, "ab" if self.done else "wb")
        return self._file

    def write(self, lines: Iterable[str]) -> None:
        content = _encoded(lines)
        if not content:
            return
        try:
            file = self._open()
            file.write(content)
            file.flush()
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            reason = "the disk is full" if full else error.strerror
            raise InputError(f"output: {reason} at {self.partial}; the same command goes on from there") from None

    def finish(self) -> None:
        self._open()  # of no documents at all
        self.close()
        os.replace(self.partial, self.path)
        self.facts.unlink(missing_ok=True)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _known(self, job: dict) -> int:
        """Whole lines of an earlier attempt; what follows the last of them is cut off."""
        if not self.partial.exists():
            return 0
        try:
            earlier = read_json(self.facts, dict)
        except InputError:
            earlier = None
        if earlier != job:
            changed = [key for key in job if (earlier or {}).get(key) != job[key]]
            raise InputError(
                f"output: {self.partial} holds answers of another command"
                f"{' (other ' + ', '.join(changed) + ')' if earlier else ''}; delete it to start again"
            )
        lines = whole = 0
        with open(self.partial, "r+b") as file:
            position = 0
            while piece := file.read(PIECE):
                lines += piece.count(b"\n")
                whole = position + piece.rfind(b"\n") + 1 if b"\n" in piece else whole
                position += len(piece)
            file.truncate(whole)
        return lines
