"""Corpora that are a folder with one file, or a few that go line by line together, for each part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import ClassVar

from xmtc.data.sources.base import PARTS, WHERE_CORPORA_LIVE, Source, require_documents
from xmtc.data.sources.lines import SUFFIXES, find, lines
from xmtc.errors import InputError

Document = tuple[str, list[str]]


class PartFiles(Source):
    """Base of the layouts that people hand corpora out in; each file may be plain, .gz or .xz.

    FILES: part -> the names its files may have; the first choice whose first file is there is taken.
    WORDS, NAMES: optional files about words and labels. path: the folder.
    """

    FILES: ClassVar[dict[str, tuple[tuple[str, ...], ...]]] = {}
    WORDS: ClassVar[tuple[str, ...]] = ()
    NAMES: ClassVar[tuple[str, ...]] = ()

    def __init__(self, path: str):
        self.path = Path(path).expanduser()
        self._found: dict[str, tuple[Path, ...]] | None = None

    @classmethod
    def present(cls, folder: Path) -> bool:
        """Whether the folder's training files are in this layout."""
        return any(all(find(folder, name) for name in choice) for choice in cls.FILES["train"])

    def read(self, *paths: Path) -> Iterator[Document]:
        """Documents of one part, in order."""
        raise NotImplementedError

    def parts(self) -> list[str]:
        return list(self._paths())

    def documents(self, part: str) -> Iterator[Document]:
        paths = self._paths()[part]
        return require_documents(self.read(*paths), part, paths[0])

    def files(self) -> list[Path]:
        named = [path for paths in self._paths().values() for path in paths]
        return named + [path for name in self.WORDS if (path := find(self.path, name))]

    def name_files(self) -> list[Path]:
        return [path for name in self.NAMES if (path := find(self.path, name))]

    def fingerprint(self) -> dict:
        return {"layout": type(self).__name__, "parts": self.parts()}

    def beside(self, name: str) -> Path | None:
        """An optional file of the folder."""
        return find(self.path, name)

    def _paths(self) -> dict[str, tuple[Path, ...]]:
        """part -> its files, looked up once so that a run reads the same ones throughout."""
        if self._found is None:
            require_folder(self.path)
            found = {part: self._choose(part) for part in PARTS if part in self.FILES}
            self._found = {part: paths for part, paths in found.items() if paths}
        return self._found

    def _choose(self, part: str) -> tuple[Path, ...]:
        for choice in self.FILES[part]:
            if find(self.path, choice[0]):
                paths = tuple(find(self.path, name) for name in choice)
                for path, name in zip(paths, choice, strict=True):
                    if path is None:
                        raise InputError(missing(self.path, name))
                return paths
        if part == "validation":
            return ()
        raise InputError(missing(self.path, self.FILES[part][0][0]))


def require_folder(path: Path, advice: str = "") -> None:
    if not path.is_dir():
        what = "is a file, expected a corpus folder" if path.exists() else "no such corpus folder"
        raise InputError(f"{path}: {what}; set {WHERE_CORPORA_LIVE}{advice}")


def missing(folder: Path, name: str, advice: str = "") -> str:
    """What to say of a folder without the file `name`."""
    here = sorted(path.name for path in folder.iterdir() if path.is_file())
    found = ", ".join(here[:8]) + (", ..." if len(here) > 8 else "") if here else "an empty folder"
    endings = " or ".join(suffix for suffix in SUFFIXES if suffix)
    return (
        f"{folder}: expected {name} (or {endings}), found {found}; a corpus needs a train and a test part, "
        f"each of texts and labels; set {WHERE_CORPORA_LIVE}{advice}"
    )


def pair_lines(text_path: Path, label_path: Path) -> Iterator[Document]:
    """Line k of both files is one document; labels of a line are separated by blanks."""
    both = zip_longest(lines(text_path), lines(label_path))
    for number, (text, labels) in enumerate(both, start=1):
        if text is None or labels is None:
            short, long = (text_path, label_path) if text is None else (label_path, text_path)
            raise InputError(
                f"{short} ended after line {number - 1}, {long.name} goes on with line {number}: "
                f"expected line k of both files to be one document"
            )
        yield text, split_labels(labels)


def split_labels(line: str) -> list[str]:
    """Labels between blanks; nothing else separates (str.split() would break labels at no-break spaces)."""
    return [label for label in line.replace("\t", " ").split(" ") if label]


def prefix_tokens(metadata: dict[str, str | Sequence[str] | None]) -> str:
    """Metadata as tokens before the text: {"venue": "UbiComp"} is `VENUE-UbiComp ` (MATCH: `VENUE_UbiComp`).

    A hyphen, for both word tokenisers keep a word with inner hyphens whole; other signs of a value become hyphens too.
    """
    tokens = []
    for kind, values in metadata.items():
        for value in [values] if isinstance(values, str) else values or ():
            word = "-".join("".join(c if c.isalnum() else " " for c in f"{kind.upper()} {value}").split())
            tokens.append(f"{word} ")
    return "".join(tokens)
