"""EURLEX57K as its authors distribute it: a folder a part, a JSON file a law (Chalkidis et al. 2019)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from xmtc.data.sources.base import Source, require_documents
from xmtc.data.sources.eurovoc import concept_names, concept_parents, concepts_file
from xmtc.data.sources.json_lines import list_of, short, text_of
from xmtc.data.sources.part_files import require_folder
from xmtc.errors import InputError
from xmtc.parsing import parse_json

FOLDERS = {"train": "train", "validation": "dev", "test": "test"}


class Eurlex57kSource(Source):
    """Text: header, recitals, main body, attachments, as the authors' loader joins them (no title), every run of white
    space one space; laws sorted by CELEX id, which names the file. Labels: EuroVoc concepts, in the file's order."""

    def __init__(self, path: str):
        self.path = Path(path).expanduser()

    @classmethod
    def present(cls, folder: Path) -> bool:
        return (folder / "train").is_dir() and any((folder / "train").glob("*.json"))

    def parts(self) -> list[str]:
        require_folder(self.path)
        found = [part for part, name in FOLDERS.items() if (self.path / name).is_dir()]
        for part in ("train", "test"):
            if part not in found:
                raise InputError(f"{self.path}: expected a folder {FOLDERS[part]} of JSON files, found none")
        return found

    def documents(self, part: str) -> Iterator[tuple[str, list[str]]]:
        folder = self.path / FOLDERS[part]
        return require_documents((_law(path) for path in sorted(folder.glob("*.json"))), part, folder)

    def files(self) -> list[Path]:
        return [path for part in self.parts() for path in sorted((self.path / FOLDERS[part]).glob("*.json"))]

    def name_files(self) -> list[Path]:
        path = concepts_file(self.path)
        return [] if path is None else [path]

    def fingerprint(self) -> dict:
        names = "\n".join(f"{path.parent.name}/{path.name}" for path in self.files())  # a law may move to another part
        laws = hashlib.sha256(names.encode()).hexdigest()
        return {"layout": "eurlex57k", "parts": self.parts(), "laws": laws}

    def label_names(self) -> dict[str, str]:
        path = concepts_file(self.path)
        return {} if path is None else concept_names(path)

    def label_parents(self) -> dict[str, list[str]]:
        path = concepts_file(self.path)
        return {} if path is None else concept_parents(path)


def _law(path: Path) -> tuple[str, list[str]]:
    row = parse_json(path.read_bytes(), path)
    if not isinstance(row, dict):
        raise InputError(f"{path}: expected a JSON object, found {short(row)}")
    where = str(path)
    pieces = [text_of(where, row, "header", ""), text_of(where, row, "recitals", "")]
    pieces += list_of(where, row, "main_body", str, [])
    pieces.append(text_of(where, row, "attachments", ""))
    return " ".join(" ".join(pieces).split()), [str(label) for label in list_of(where, row, "concepts", str)]
