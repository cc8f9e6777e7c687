"""SGM's files: `train.src` with one text a line, `train.tgt` with its labels, by descending frequency."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from xmtc.data.sources.part_files import Document, PartFiles, pair_lines


class SgmSource(PartFiles):
    """Labels are separated by blanks. `topic_sorted.json`, a list of them, is not needed."""

    FILES = {
        "train": (("train.src", "train.tgt"),),
        "validation": (("valid.src", "valid.tgt"), ("dev.src", "dev.tgt"), ("val.src", "val.tgt")),
        "test": (("test.src", "test.tgt"),),
    }

    def read(self, texts: Path, labels: Path) -> Iterator[Document]:
        return pair_lines(texts, labels)
