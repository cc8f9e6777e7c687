"""PECOS' text files: `X.trn.txt` with one text a line, `Y.trn.npz` with its labels as a sparse matrix.

As in the archives of https://github.com/amzn/pecos (`xmc-base`): also `X.tst.txt`, `Y.tst.npz`, and `output-items.txt`
with the text of label k on line k. Labels are the matrix' column numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from xmtc.data.files import read_npz
from xmtc.data.sources.lines import lines
from xmtc.data.sources.part_files import Document, PartFiles
from xmtc.errors import InputError


class PecosSource(PartFiles):
    """Memory: the label matrix of one part."""

    FILES = {"train": (("X.trn.txt", "Y.trn.npz"),), "test": (("X.tst.txt", "Y.tst.npz"),)}
    NAMES = ("output-items.txt",)

    def read(self, texts: Path, matrix: Path) -> Iterator[Document]:
        offsets, labels = read_csr(matrix)
        number = 0
        for number, text in enumerate(lines(texts), start=1):
            if number >= len(offsets):
                raise InputError(f"{texts}, line {number}: {matrix.name} has {len(offsets) - 1} rows, expected more")
            yield text, [str(label) for label in labels[offsets[number - 1] : offsets[number]].tolist()]
        if number < len(offsets) - 1:
            raise InputError(f"{texts} ended after line {number}, {matrix.name} has {len(offsets) - 1} rows")

    def label_names(self) -> dict[str, str]:
        return names_by_line(self.beside("output-items.txt"))


def names_by_line(path: Path | None) -> dict[str, str]:
    """Line k (from 0) names label k."""
    return {} if path is None else {str(number): name for number, name in enumerate(lines(path)) if name}


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        return read_npz(path)
    except InputError as error:
        raise ValueError(str(error).removeprefix(f"{path}: ")) from None


def read_csr(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(row offsets (N + 1,), columns of the entries that are not zero) of a matrix that scipy.sparse.save_npz wrote."""
    try:
        file = _arrays(path)
        kind = bytes(file["format"].item()).decode()
        if kind != "csr":
            raise InputError(f"{path}: expected a sparse matrix by rows (csr), found {kind}")
        indices, offsets, values = file["indices"].astype(np.int64), file["indptr"].astype(np.int64), file["data"]
        rows, columns = (int(size) for size in file["shape"])
    except (ValueError, KeyError, AttributeError, TypeError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: expected a matrix written by scipy.sparse.save_npz ({reason})") from None
    if (
        not (offsets.ndim == indices.ndim == values.ndim == 1)
        or len(offsets) != rows + 1
        or offsets[-1] != len(indices)
        or len(values) != len(indices)
    ):
        raise InputError(f"{path}: expected {rows + 1} offsets that end at {len(indices)}, found another count")
    if offsets[0] != 0 or (np.diff(offsets) < 0).any() or not ((0 <= indices) & (indices < columns)).all():
        raise InputError(f"{path}: expected offsets that start at 0 and grow, and columns below {columns}")
    kept = np.concatenate([[0], np.cumsum(values != 0)])
    return kept[offsets], indices[values != 0]
