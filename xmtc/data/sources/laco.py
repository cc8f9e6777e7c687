"""LACO's files: JSON lines with `text` and `spo_list`, whose entries name a label each as `predicate`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from xmtc.data.sources.json_lines import json_lines, list_of, text_of
from xmtc.data.sources.part_files import Document, PartFiles


class LacoSource(PartFiles):
    """The text's line end, which the files hold, is dropped. LACO's own code never reads dev_data.json."""

    FILES = {"train": (("train_data.json",),), "validation": (("dev_data.json",),), "test": (("test_data.json",),)}

    def read(self, path: Path) -> Iterator[Document]:
        for where, row in json_lines(path):
            entries = list_of(where, row, "spo_list", dict)
            labels = [text_of(f"{where}, spo_list {n}", entry, "predicate") for n, entry in enumerate(entries, 1)]
            yield text_of(where, row, "text").rstrip("\n"), labels
