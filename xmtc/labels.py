"""The labels of a trained model, as its `labels.tsv` lists them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from xmtc.errors import InputError


@dataclass(frozen=True, slots=True)
class Label:
    """id: as in the corpus. name: for people (the id where the corpus has none). frequency: training documents."""

    id: str
    name: str
    frequency: int


class LabelTable(Sequence[Label]):
    """L labels by index. Rows are decoded when asked for: opening a file of millions takes a fraction of a second.

    InputError: not a `labels.tsv` of ours.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        try:
            content = self.path.read_bytes()
            content.decode("utf-8")
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise InputError(
                f"{path}, line {line}: expected UTF-8 text, found byte 0x{content[error.start]:02x}"
            ) from None
        self._rows = content.split(b"\n")[:-1]
        if not self._rows:
            raise InputError(f"{path}: expected lines of index, id, name and frequency, found none")
        for i, row in enumerate(self._rows):  # a quarter of a second for three million
            if row.count(b"\t") != 3:
                self[i]
        self[0], self[-1]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        cells = self._rows[index].decode("utf-8").split("\t")
        if len(cells) != 4 or not (cells[3].isascii() and cells[3].isdigit() and len(cells[3]) < 19):
            line = index % len(self) + 1
            raise InputError(f"{self.path}, line {line}: expected index, id, name and frequency, found {cells!r:.80}")
        return Label(cells[1], cells[2], int(cells[3]))

    @cached_property
    def ids(self) -> list[str]:
        """(L,) ids, in order."""
        return [row.split(b"\t")[1].decode("utf-8") for row in self._rows]

    @cached_property
    def names(self) -> list[str]:
        return [row.split(b"\t")[2].decode("utf-8") for row in self._rows]

    @cached_property
    def frequency(self) -> np.ndarray:
        """(L,) int64, training documents of each label."""
        try:
            return np.fromiter((int(row.rsplit(b"\t", 1)[1]) for row in self._rows), np.int64, len(self))
        except (ValueError, OverflowError):
            raise InputError(f"{self.path}: a line does not end with a training frequency") from None

    @cached_property
    def index(self) -> dict[str, int]:  # type: ignore[override]  # not Sequence's method, which reads all rows
        """id -> index."""
        return {label: i for i, label in enumerate(self.ids)}
