"""Numbers of papers and our own kept ones: `printed.csv` and `results.csv` of a folder of experiments/."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

from xmtc.errors import InputError
from xmtc.reporting.commands import settings_of
from xmtc.reporting.configurations import Configuration
from xmtc.reporting.runs import Run, number

FACTS = ("steps", "train_seconds", "peak_memory_bytes", "parameters")
KNOWN = ("dataset", "encoder", "head", "recipe", "seed", *FACTS, "device", "precision", "commit", "dataset_sha256",
         "command")  # fmt: skip
TOLD = ("dataset", "encoder", "head", "recipe", "settings", "system", "kind", "source")


@dataclass
class Printed:
    """One row of a paper's table. values: as printed, by the paper's names. encoder, head, recipe: what it is called
    here, nothing where no model here is it; settings: the other words of the command that makes it."""

    system: str
    dataset: str
    encoder: str
    head: str
    recipe: str
    settings: list[str]
    values: dict[str, float]
    source: str
    matched: list[tuple[Configuration, dict]] = field(default_factory=list)
    """filled by joining.join"""


def read_printed(path: Path) -> list[Printed]:
    """InputError: not a table, or without `source`. Files that only list systems give rows that no run of
    ours is."""
    rows = _table(path, ["source"])
    return [
        Printed(
            system=row.get("system") or "?",
            dataset=row.get("dataset") or "",
            encoder=row.get("encoder") or "",
            head=row.get("head") or "",
            recipe=row.get("recipe") or "paper",
            settings=(row.get("settings") or "").split(),
            values={
                key: value
                for key, cell in row.items()
                if key and key not in TOLD and (value := number(cell)) is not None
            },
            source=row.get("source") or "",
        )
        for row in rows
    ]


def _table(path: Path, needed: list[str]) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not readable as a table: {getattr(error, 'strerror', None) or error}") from None
    missing = [name for name in needed if name not in (reader.fieldnames or ())]
    if missing:
        raise InputError(f"{path}: no column {missing[0]}")
    return rows


def measured_rows(folder: Path) -> list[Run]:
    """The rows of a results.csv as runs; what they differ in is read from their commands. What they are compared by is
    kept.py's."""
    path = folder / "results.csv"
    if not path.is_file():
        return []
    runs = []
    for row in _table(path, ["dataset", "encoder", "head"]):
        settings = settings_of(row.get("command") or "")
        metrics = {key: value for key, cell in row.items() if key not in KNOWN and (value := number(cell)) is not None}
        facts = {key: number(row.get(key)) for key in FACTS}
        facts |= {key: row.get(key) for key in ("device", "precision", "commit", "command")}
        runs.append(
            Run(
                folder=folder,
                dataset=row["dataset"],
                encoder=row["encoder"],
                head=row["head"],
                recipe=row.get("recipe"),
                seed=int(row["seed"]) if (row.get("seed") or "").isdigit() else None,
                test=metrics,
                dataset_sha256=row.get("dataset_sha256") or None,
                facts=facts,
                settings=settings,
                typed=frozenset(settings),
                resolved=False,
            )
        )
    return runs
