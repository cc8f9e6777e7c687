"""hedwig's TSV files: a string of bits, one a label, a tab, the text. The k-th bit (from 0) is label k."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from xmtc.data.sources.label_names import read_label_names
from xmtc.data.sources.lines import lines
from xmtc.data.sources.part_files import Document, PartFiles
from xmtc.errors import InputError


class HedwigSource(PartFiles):
    """Every line has as many bits as the first line of its file. An optional labels.tsv names the labels."""

    FILES = {"train": (("train.tsv",),), "validation": (("dev.tsv",),), "test": (("test.tsv",),)}
    NAMES = ("labels.tsv",)

    def read(self, path: Path) -> Iterator[Document]:
        width = None
        for number, line in enumerate(lines(path), start=1):
            bits, tab, text = line.partition("\t")
            width = width or len(bits)
            if not tab or not bits or len(bits) != width or bits.strip("01"):
                expected = f"{width} bits, a tab and a text" if width else "bits, a tab and a text"
                raise InputError(f"{path}, line {number}: expected {expected}, found {line[: (width or 0) + 20]!r}")
            yield text, [str(place) for place, bit in enumerate(bits) if bit == "1"]

    def label_names(self) -> dict[str, str]:
        return read_label_names(self.beside("labels.tsv"))
