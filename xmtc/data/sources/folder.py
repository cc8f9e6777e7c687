"""The plain-text layout: a folder of `{train,dev,test}_texts.txt` and `{train,dev,test}_labels.txt`.

Line k of both files is one document; labels are separated by one space. Each file may be .gz or .xz; `val_` and
`valid_` stand for `dev_` too; validation may be missing. `labels.tsv` (`id<TAB>name`) and `label_parents.tsv`
(`id<TAB>id of the label above`) are optional, as is EuroVoc's `eurovoc_en.json` in their place.

The folders of AttentionXML and CorNet are the same layout without validation, where the texts to be tokenised are
called `*_raw_texts.txt`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from xmtc.data.sources import eurovoc
from xmtc.data.sources.base import PARTS, Source, require_documents
from xmtc.data.sources.label_names import label_names_file, read_label_names, read_label_parents
from xmtc.data.sources.lines import find
from xmtc.data.sources.part_files import missing, pair_lines, require_folder
from xmtc.errors import InputError

PREFIXES = {"train": ("train",), "validation": ("dev", "val", "valid"), "test": ("test",)}


class FolderSource(Source):
    """A folder in the plain-text layout. path: the folder."""

    TEXT_FILES = ("texts", "raw_texts")  # behind the prefix; the first that `train_` has is used for all parts

    def __init__(self, path: str):
        self.path = Path(path).expanduser()
        self._found: dict[str, tuple[Path, Path]] | None = None

    @classmethod
    def present(cls, folder: Path) -> bool:
        """Whether the folder's training files are in this layout."""
        return any(find(folder, f"train_{stem}.txt") for stem in cls.TEXT_FILES)

    def parts(self) -> list[str]:
        return list(self._pairs())

    def documents(self, part: str) -> Iterator[tuple[str, list[str]]]:
        text_path, label_path = self._pairs()[part]
        return require_documents(pair_lines(text_path, label_path), part, text_path)

    def files(self) -> list[Path]:
        names = label_names_file(self.path)
        return [path for pair in self._pairs().values() for path in pair] + ([names] if names else [])

    def fingerprint(self) -> dict:
        return {"layout": "folder", "parts": self.parts()}

    def label_names(self) -> dict[str, str]:
        self._pairs()
        if (path := label_names_file(self.path)) or not (concepts := eurovoc.concepts_file(self.path)):
            return read_label_names(path)
        return eurovoc.concept_names(concepts)

    def label_parents(self) -> dict[str, list[str]]:
        if path := find(self.path, "label_parents.tsv"):
            return read_label_parents(path)
        return eurovoc.concept_parents(concepts) if (concepts := eurovoc.concepts_file(self.path)) else {}

    def name_files(self) -> list[Path]:
        found = (find(self.path, "label_parents.tsv"), eurovoc.concepts_file(self.path))
        return [path for path in found if path]

    def _pairs(self) -> dict[str, tuple[Path, Path]]:
        """part -> (texts, labels), looked up once so that a run reads the same files throughout."""
        if self._found is None:
            self._found = self._find_pairs()
        return self._found

    def _find_pairs(self) -> dict[str, tuple[Path, Path]]:
        require_folder(self.path)
        stem = next((stem for stem in self.TEXT_FILES if find(self.path, f"train_{stem}.txt")), self.TEXT_FILES[0])
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
                raise InputError(missing(self.path, f"{part}_{stem}.txt"))
        return pairs

    def _pair(self, prefix: str, stem: str) -> tuple[Path | None, Path | None]:
        return find(self.path, f"{prefix}_{stem}.txt"), find(self.path, f"{prefix}_labels.txt")

    def _whole(self, prefix: str, stem: str, pair: tuple[Path | None, Path | None]) -> tuple[Path, Path]:
        for path, name in zip(pair, (f"{prefix}_{stem}.txt", f"{prefix}_labels.txt"), strict=True):
            if path is None:
                raise InputError(missing(self.path, name))
        return pair
