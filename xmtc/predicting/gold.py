"""Labelled documents from a file, their labels found among a model's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xmtc.data.batch import Labels
from xmtc.data.sources.lines import lines
from xmtc.data.sources.part_files import split_labels
from xmtc.errors import InputError
from xmtc.labels import LabelTable
from xmtc.predicting.inputs import Columns, Row, rows


@dataclass(frozen=True)
class Labelled:
    """A file of documents, and where their labels are: in `labels`, line by line, or in a column. Read in a stream, as
    often as asked."""

    input: str
    kind: str
    labels: str | None
    columns: Columns
    separator: str
    delimiter: str | None
    quote: str | None = None

    def documents(self) -> Iterator[tuple[str, list[str]]]:
        """(text, labels) of each. InputError: one that cannot be read, files that are not in step."""
        source = rows(self.input, self.kind, self.columns, self.delimiter, self.quote)
        try:
            for row, line in self._paired(source):
                if row.error is not None:
                    raise InputError(row.error)
                yield row.text, split_labels(line) if line is not None else self._cell(row)
        finally:
            source.close()

    def _paired(self, source: Iterator[Row]) -> Iterator[tuple[Row, str | None]]:
        if self.labels is None:
            yield from ((row, None) for row in source)
            return
        for number, (row, line) in enumerate(zip_longest(source, lines(Path(self.labels)))):
            if row is None or line is None:
                short, long = (self.input, self.labels) if row is None else (self.labels, self.input)
                raise InputError(f"{short} ended after line {number}, {long} goes on: line k of both is one document")
            yield row, line

    def _cell(self, row: Row) -> list[str]:
        cell: Any = row.labels
        if isinstance(cell, str):
            cell = cell.split(self.separator)
        elif cell is None or isinstance(cell, int) and not isinstance(cell, bool):
            cell = [cell]
        if not isinstance(cell, list) or not all(_is_label(label) for label in cell):
            found = f"expected labels in a text or a list, found {str(row.labels)[:60]!r}"
            raise InputError(f"{row.where}: column {self.columns.labels!r}: {found}")
        stripped = (str(label).strip() for label in cell if label is not None)  # as in training
        return [label for label in stripped if label]


def _is_label(label: Any) -> bool:
    return label is None or isinstance(label, str | int) and not isinstance(label, bool)


def places(table: LabelTable, match: str) -> dict[str, int | None]:
    """A label as it is looked up -> its place in the table; None where several would be meant."""
    if match == "exact":
        return {label: place for place, label in enumerate(table.ids)}
    found: dict[str, int | None] = {}
    for place, label in enumerate(table.ids):
        folded = label.casefold()
        found[folded] = None if folded in found else place
    return found


def read_gold(labelled: Labelled, table: LabelTable, match: str) -> tuple[Labels, list[str]]:
    """True labels of every document, and the labels among them that the model does not have: ids from L on stand for
    those. InputError: no documents; caseless, and a label is several of the model's."""
    known, unseen = places(table, match), dict[str, tuple[int, str]]()
    ids: list[int] = []
    offsets = [0]
    for _, labels in labelled.documents():
        own = set()
        for label in labels:
            sought = label.casefold() if match == "caseless" else label
            place = known.get(sought, -1)
            if place is None:
                raise InputError(f"match=caseless: {label!r} is several labels of the model")
            own.add(place if place >= 0 else len(table) + unseen.setdefault(sought, (len(unseen), label))[0])
        ids += sorted(own)
        offsets.append(len(ids))
    if len(offsets) == 1:
        raise InputError(f"{labelled.input}: holds no documents, expected at least one")
    return Labels(torch.tensor(ids, dtype=torch.int64), torch.tensor(offsets)), [label for _, label in unseen.values()]


def restricted(gold: Labels, kept: Sequence[int] | np.ndarray, num_labels: int, unseen: int) -> Labels:
    """The same documents with the labels `kept` alone, numbered in that order. kept: ascending."""
    new = np.full(num_labels + unseen, -1, np.int64)
    new[np.asarray(kept, np.int64)] = np.arange(len(kept))
    ids = new[gold.ids.numpy()]
    counts = np.bincount(gold.rows().numpy()[ids >= 0], minlength=len(gold))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return Labels(torch.from_numpy(ids[ids >= 0]), torch.from_numpy(offsets))
