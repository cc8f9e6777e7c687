"""Numbers of papers beside our own: `printed.csv` and `results.csv` of a folder of experiments/."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xmtc.reporting.commands import settings_of
from xmtc.reporting.configurations import Configuration
from xmtc.reporting.runs import Run
from xmtc.sweeping.settings import pairs

KNOWN = ("dataset", "encoder", "head", "recipe", "seed", "steps", "train_seconds", "peak_memory_bytes", "device",
         "precision", "commit", "dataset_sha256", "command")  # fmt: skip


@dataclass
class Printed:
    """One row of a paper's table. values: as printed, in percent. encoder, head: what it is called here, or nothing."""

    system: str
    dataset: str
    encoder: str
    head: str
    settings: dict[str, str]
    values: dict[str, float]
    source: str
    matched: list[Configuration] = field(default_factory=list)


def read_printed(path: Path) -> list[Printed]:
    """A printed.csv that names its rows in this framework's words (dataset, encoder, head, settings); other files,
    which only list systems, give their rows without a match."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        Printed(
            row.get("system") or "?",
            row.get("dataset") or "",
            row.get("encoder") or "",
            row.get("head") or "",
            pairs((row.get("settings") or "").split()),
            {key: value for key, cell in row.items() if key and "@" in key and (value := _number(cell)) is not None},
            row.get("source") or "",
        )
        for row in rows
    ]


def join(printed: Iterable[Printed], configurations: Sequence[Configuration]) -> list[Printed]:
    """Fills `matched`: same dataset, encoder, head and stated settings. A paper's row is never joined with
    `recipe=modern`, which is not what the paper did."""
    printed = list(printed)
    for row in printed:
        row.matched = [
            each
            for each in configurations
            if row.encoder
            and (each.dataset, each.encoder, each.head) == (row.dataset, row.encoder, row.head)
            and each.recipe == "paper"
            and all(str(each.runs[0].settings.get(key)) == value for key, value in row.settings.items())
        ]
    return printed


def measured_rows(folder: Path) -> list[Run]:
    """The rows of a results.csv as runs; what they differ in is read from their commands."""
    path = folder / "results.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    runs = []
    for row in rows:
        settings = settings_of(row.get("command") or "")
        metrics = {key: value for key, cell in row.items() if key not in KNOWN and (value := _number(cell)) is not None}
        facts = {key: _number(row.get(key)) for key in ("steps", "train_seconds", "peak_memory_bytes")}
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
            )
        )
    return runs


def _number(cell: str | None) -> float | None:
    try:
        return float(cell) if cell else None
    except ValueError:
        return None
