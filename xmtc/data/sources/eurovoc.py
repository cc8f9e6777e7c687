"""EuroVoc as EURLEX57K ships it: one JSON object, concept id -> label, alt_labels, parents."""

from __future__ import annotations

from pathlib import Path

from xmtc.data.sources.lines import find, lines
from xmtc.errors import InputError
from xmtc.parsing import parse_json

NAMES = ("eurovoc_en.json", "EURLEX57K.json")


def concepts_file(folder: Path) -> Path | None:
    """EuroVoc beside a corpus, if it is there."""
    return next((path for name in NAMES if (path := find(folder, name))), None)


def concepts(path: Path) -> dict[str, dict]:
    found = parse_json("\n".join(lines(path)), path)
    if not isinstance(found, dict) or not all(isinstance(concept, dict) for concept in found.values()):
        raise InputError(f"{path}: expected one object of concepts by their id")
    return found


def concept_names(path: Path) -> dict[str, str]:
    return {label: str(concept["label"]) for label, concept in concepts(path).items() if concept.get("label")}


def concept_parents(path: Path) -> dict[str, list[str]]:
    return {label: [str(p) for p in concept["parents"]] for label, concept in concepts(path).items()
            if concept.get("parents")}  # fmt: skip
