"""The optional files beside a corpus: `labels.tsv`, names for people, and `label_parents.tsv`, a hierarchy."""

from __future__ import annotations

from pathlib import Path

from xmtc.data.sources.lines import find, lines
from xmtc.errors import InputError


def label_names_file(folder: Path) -> Path | None:
    return find(folder, "labels.tsv")


def read_label_names(path: Path | None) -> dict[str, str]:
    """id -> name from lines of `id<TAB>name`; further columns are ignored, of repeated ids the first line counts."""
    names: dict[str, str] = {}
    if path is None:
        return names
    for number, line in enumerate(lines(path), start=1):
        if not line:
            continue
        label, tab, name = line.partition("\t")
        if not tab or not label:
            raise InputError(f"{path}, line {number}: expected 'id<TAB>name', found {line[:60]!r}")
        names.setdefault(label, name.split("\t")[0])
    return names


def read_label_parents(path: Path) -> dict[str, list[str]]:
    """id -> ids of the labels above it, from lines of `id<TAB>id of one label above`; a label may have more."""
    parents: dict[str, list[str]] = {}
    for number, line in enumerate(lines(path), start=1):
        if not line:
            continue
        label, _, above = line.partition("\t")
        if not label or not above or "\t" in above:
            raise InputError(f"{path}, line {number}: expected 'id<TAB>id of the label above', found {line[:60]!r}")
        parents.setdefault(label, []).append(above)
    return parents
