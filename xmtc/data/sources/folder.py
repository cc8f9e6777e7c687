"""The plain-text layout: a folder of `{train,dev,test}_texts.txt` and `{train,dev,test}_labels.txt`.

Line k of both files is one document; labels are separated by one space. Each file may be .gz or .xz; `val_` and
`valid_` stand for `dev_` too; validation may be missing. `labels.tsv` (`id<TAB>name`) is optional.

The folders of AttentionXML and CorNet are the same layout without validation, where the texts to be tokenised are
called `*_raw_texts.txt`: `text_files=[texts, raw_texts]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from xmtc.data.sources.base import PARTS, WHERE_CORPORA_LIVE, Source, require_documents
from xmtc.data.sources.label_names import label_names_file, read_label_names
from xmtc.data.sources.lines import SUFFIXES, find, lines
from xmtc.errors import InputError

PREFIXES = {"train": ("train",), "validation": ("dev", "val", "valid"), "test": ("test",)}


class FolderSource(Source):
    """A folder in the plain-text layout.

    path: the folder. text_files: what follows the prefix in the names of the text files; the first that `train_` has
    is used for all parts. origin: where to get the corpus, told when the folder is missing.
    """

    def __init__(self, path: str, text_files: str | Sequence[str] = "texts", origin: str | None = None):
        self.path = Path(path).expanduser()
        self.text_files = [text_files] if isinstance(text_files, str) else list(text_files)
        self.origin = origin
        self._found: dict[str, tuple[Path, Path]] | None = None

    def parts(self) -> list[str]:
        return list(self._pairs())

    def documents(self, part: str) -> Iterator[tuple[str, list[str]]]:
        text_path, label_path = self._pairs()[part]
        return require_documents(_pair_lines(text_path, label_path), part, text_path)

    def files(self) -> list[Path]:
        names = label_names_file(self.path)
        return [path for pair in self._pairs().values() for path in pair] + ([names] if names else [])

    def fingerprint(self) -> dict:
        return {"layout": "folder", "parts": self.parts()}

    def label_names(self) -> dict[str, str]:
        self._pairs()
        return read_label_names(label_names_file(self.path))

    def _pairs(self) -> dict[str, tuple[Path, Path]]:
        """part -> (texts, labels), looked up once so that a run reads the same files throughout."""
        if self._found is None:
            self._found = self._find_pairs()
        return self._found

    def _find_pairs(self) -> dict[str, tuple[Path, Path]]:
        if not self.path.is_dir():
            what = "is a file, expected a corpus folder" if self.path.exists() else "no such corpus folder"
            raise InputError(f"{self.path}: {what}; set {WHERE_CORPORA_LIVE}{self._advice()}")
        stem = next((stem for stem in self.text_files if find(self.path, f"train_{stem}.txt")), self.text_files[0])
        pairs = {}
        for part in PARTS:
            candidates = {prefix: self._pair(prefix, stem) for prefix in PREFIXES[part]}
            present = [prefix for prefix, pair in candidates.items() if any(pair)]
            if len(present) > 1:
                found = " and ".join(f"{prefix}_*" for prefix in present)
                raise InputError(f"{self.path}: expected one validation part, found {found}; remove one of them")
            if present:
                pairs[part] = self._whole(present[0], stem, candidates[present[0]])
            elif part != "validation":
                raise InputError(self._missing(f"{part}_{stem}.txt"))
        return pairs

    def _pair(self, prefix: str, stem: str) -> tuple[Path | None, Path | None]:
        return find(self.path, f"{prefix}_{stem}.txt"), find(self.path, f"{prefix}_labels.txt")

    def _whole(self, prefix: str, stem: str, pair: tuple[Path | None, Path | None]) -> tuple[Path, Path]:
        for path, name in zip(pair, (f"{prefix}_{stem}.txt", f"{prefix}_labels.txt"), strict=True):
            if path is None:
                raise InputError(self._missing(name))
        return pair

    def _missing(self, name: str) -> str:
        here = sorted(path.name for path in self.path.iterdir() if path.is_file())
        found = ", ".join(here[:8]) + (", ..." if len(here) > 8 else "") if here else "an empty folder"
        endings = " or ".join(suffix for suffix in SUFFIXES if suffix)
        return (
            f"{self.path}: expected {name} (or {endings}), found {found}; a corpus needs a train and a test part, "
            f"each of texts and labels; set {WHERE_CORPORA_LIVE}{self._advice()}"
        )

    def _advice(self) -> str:
        return f"; get it from {self.origin} and put the files into that folder" if self.origin else ""


def _pair_lines(text_path: Path, label_path: Path) -> Iterator[tuple[str, list[str]]]:
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
