"""The Extreme Classification Repository's two formats: bags of words, and raw texts as JSON lines.

Bag of words: a line "N D L", then `label,label feature:value feature:value` (labels may be missing: the line then
starts with a blank). Raw: objects with `title`, `content` and `target_ind`, the label numbers. Names of features and
labels stand line by line in `Xf.txt`, `Yf.txt` or `Y.txt`, or as `title` in `lbl.json`.
http://manikvarma.org/downloads/XC/XMLRepository.html
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from xmtc.data.sources.json_lines import json_lines, list_of, text_of
from xmtc.data.sources.lines import lines
from xmtc.data.sources.part_files import Document, PartFiles
from xmtc.data.sources.pecos import names_by_line
from xmtc.data.text import SEPARATOR
from xmtc.errors import InputError

MOST = 1_000_000  # times one word in one document


class BagOfWordsSource(PartFiles):
    """A document's text is the names of its features (`f17` without Xf.txt), in the line's order. A value that is a
    whole number above 1 repeats the word; any other weight is not kept, as text has none."""

    FILES = {"train": (("train.txt",),), "test": (("test.txt",),)}
    WORDS = ("Xf.txt",)
    NAMES = ("Yf.txt", "Y.txt")

    def read(self, path: Path) -> Iterator[Document]:
        features = names_by_line(self.beside("Xf.txt"))
        stream = enumerate(lines(path), start=1)
        documents, width, labels = self._header(path, next(stream, (1, ""))[1])
        number = 1
        for number, line in stream:
            if number > documents + 1:
                raise InputError(f"{path}, line {number}: line 1 announces {documents} documents, found more")
            where = f"{path}, line {number}"
            given, _, rest = line.partition(" ")
            yield self._text(where, rest, width, features), self._labels(where, given, labels)
        if number < documents + 1:
            raise InputError(f"{path}: line 1 announces {documents} documents, found {number - 1}")

    def label_names(self) -> dict[str, str]:
        return names_by_line(self.beside("Yf.txt") or self.beside("Y.txt"))

    @staticmethod
    def _header(path: Path, line: str) -> tuple[int, int, int]:
        numbers = line.split()
        if len(numbers) != 3 or not all(n.isascii() and n.isdigit() for n in numbers):
            raise InputError(f"{path}, line 1: expected 'documents features labels', found {line[:40]!r}")
        return int(numbers[0]), int(numbers[1]), int(numbers[2])

    @staticmethod
    def _labels(where: str, given: str, size: int) -> list[str]:
        labels = given.split(",") if given else []
        for label in labels:
            if not (label.isascii() and label.isdigit()) or int(label) >= size:
                raise InputError(f"{where}: expected label numbers below {size}, found {label[:40]!r}")
        return [str(int(label)) for label in labels]

    @staticmethod
    def _text(where: str, rest: str, width: int, names: dict[str, str]) -> str:
        words = []
        for pair in rest.split():
            feature, _, value = pair.partition(":")
            try:
                number, weight = int(feature), float(value)
            except ValueError:
                raise InputError(f"{where}: expected feature:value, found {pair[:40]!r}") from None
            if not 0 <= number < width:
                raise InputError(f"{where}: expected feature numbers below {width}, found {number}")
            if weight > MOST and weight.is_integer():
                raise InputError(f"{where}: expected counts of at most {MOST:,}, found {value[:40]}")
            word = "-".join(names.get(str(number), f"f{number}").split())
            words += [word] * (int(weight) if weight > 1 and weight.is_integer() else 1)
        return " ".join(words)


class RawXmlRepositorySource(PartFiles):
    """A document's text is its title and its content with /SEP/ between them, as AttentionXML joins them."""

    FILES = {"train": (("trn.json",),), "test": (("tst.json",),)}
    NAMES = ("lbl.json", "Yf.txt", "Y.txt")

    def read(self, path: Path) -> Iterator[Document]:
        for where, row in json_lines(path):
            title, content = text_of(where, row, "title", ""), text_of(where, row, "content", "")
            text = f"{title} {SEPARATOR} {content}" if title and content else title or content
            yield text, [str(label) for label in list_of(where, row, "target_ind", int)]

    def label_names(self) -> dict[str, str]:
        if path := self.beside("lbl.json"):
            titles = (text_of(where, row, "title", "") for where, row in json_lines(path))
            return {str(number): title for number, title in enumerate(titles) if title}
        return names_by_line(self.beside("Yf.txt") or self.beside("Y.txt"))
