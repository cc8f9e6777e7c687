"""MATCH's files (MAG-CS and PubMed): JSON lines with text, label, venue, author and reference.

https://github.com/yuzhimanhua/MATCH. `text` may be word numbers that `vocabulary.txt` (`number<TAB>word`) maps back.
`id2label.txt`: a label and its name; `taxonomy.txt`: a label, then the labels below it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from xmtc.data.sources.json_lines import json_lines, list_of, short, text_of
from xmtc.data.sources.lines import lines
from xmtc.data.sources.part_files import Document, PartFiles, prefix_tokens
from xmtc.errors import InputError


class MatchSource(PartFiles):
    """metadata: fields that become tokens before the text, such as venue, author, reference. numbers: whether the texts
    are word numbers; null: if there is a vocabulary.txt. Memory: the vocabulary."""

    FILES = {"train": (("train.json",),), "validation": (("dev.json",),), "test": (("test.json",),)}
    WORDS = ("vocabulary.txt",)
    NAMES = ("id2label.txt", "taxonomy.txt")

    def __init__(self, path: str, metadata: Sequence[str] = (), numbers: bool | None = None):
        super().__init__(path)
        self.metadata, self.numbers = list(metadata), numbers

    def fingerprint(self) -> dict:
        return super().fingerprint() | {"metadata": self.metadata, "numbers": self.numbers}

    def read(self, path: Path) -> Iterator[Document]:
        words = self._vocabulary()
        for where, row in json_lines(path):
            text = text_of(where, row, "text")
            if words is not None:
                text = " ".join(self._word(where, words, number) for number in text.split())
            yield self._prefix(where, row) + text, list_of(where, row, "label", str)

    def label_names(self) -> dict[str, str]:
        path = self.beside("id2label.txt")
        rows = [] if path is None else (line.split(None, 1) for line in lines(path))
        return {row[0]: row[1].replace("_", " ") for row in rows if len(row) == 2}

    def label_parents(self) -> dict[str, list[str]]:
        path, parents = self.beside("taxonomy.txt"), {}
        for line in lines(path) if path else ():
            above, *below = line.split() or [""]
            for label in below:
                parents.setdefault(label, []).append(above)
        return parents

    def _prefix(self, where: str, row: dict) -> str:
        values = {}
        for field in self.metadata:
            value = row.get(field)
            if value is not None and not isinstance(value, str):
                value = list_of(where, row, field, str)
            values[field] = value
        return prefix_tokens(values)

    def _vocabulary(self) -> dict[str, str] | None:
        path = self.beside("vocabulary.txt")
        if self.numbers is False or path is None and self.numbers is None:
            return None
        if path is None:
            raise InputError(f"{self.path}: expected vocabulary.txt, which the texts' word numbers need")
        words = {}
        for number, line in enumerate(lines(path), start=1):
            key, _, word = line.partition("\t")
            if not key.isdigit() or not word:
                raise InputError(f"{path}, line {number}: expected 'number<TAB>word', found {line[:40]!r}")
            words[key] = word
        return words

    @staticmethod
    def _word(where: str, words: dict[str, str], number: str) -> str:
        if number not in words:
            raise InputError(f"{where}: expected word numbers of vocabulary.txt, found {short(number)}")
        return words[number]
