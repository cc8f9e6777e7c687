"""LabelCoRank's files: CSV without a header, a text and its label ids, separated by blanks."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from xmtc.data.sources.lines import lines
from xmtc.data.sources.part_files import Document, PartFiles, split_labels
from xmtc.data.sources.pecos import names_by_line
from xmtc.errors import InputError


class LabelCoRankSource(PartFiles):
    """Label ids are line numbers (from 0) of the list of tags, which is sorted by descending training frequency and
    lies beside as tags.txt. The authors ship no files: the file names are ours."""

    FILES = {
        "train": (("train.csv",),),
        "validation": (("valid.csv",), ("val.csv",), ("dev.csv",)),
        "test": (("test.csv",),),
    }
    NAMES = ("tags.txt",)

    def read(self, path: Path) -> Iterator[Document]:
        csv.field_size_limit(2**31 - 1)
        reader = csv.reader(lines(path, keep_ends=True), strict=True)
        try:
            for cells in reader:
                where = f"{path}, line {reader.line_num}"
                if not cells:
                    continue
                if len(cells) != 2:
                    raise InputError(f"{where}: expected a text and its labels, found {len(cells)} columns")
                labels = split_labels(cells[1])
                for label in labels:
                    if not (label.isascii() and label.isdigit()):
                        hint = "; a table with a header line is dataset=csv" if reader.line_num == 1 else ""
                        raise InputError(f"{where}: expected label numbers, found {label[:40]!r}{hint}")
                yield cells[0], labels
        except csv.Error as error:
            raise InputError(f"{path}, line {reader.line_num}: malformed CSV ({error})") from None

    def label_names(self) -> dict[str, str]:
        return names_by_line(self.beside("tags.txt"))
