"""Find run directories and read what they say of themselves."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xmtc.errors import InputError
from xmtc.given import listed
from xmtc.parsing import read_json, read_yaml
from xmtc.reporting.commands import origin
from xmtc.sweeping.settings import that_matter

DATA = ("data.fraction", "data.limit")
USUAL = ("1", "1.0", "None")  # of these: all documents


@dataclass
class Run:
    """One run directory. An incomplete run has no test metrics, and what is not known of it is None."""

    folder: Path
    dataset: str
    encoder: str
    head: str
    recipe: str | None = None
    seed: int | None = None
    test: dict[str, float | None] = field(default_factory=dict)
    floor: dict[str, float | None] = field(default_factory=dict)
    dataset_sha256: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    """steps, train_seconds, peak_memory_bytes, device, commit, command, ..."""
    settings: dict[str, Any] = field(default_factory=dict)
    """what makes a difference, flat: {"recipe.optimizer.lr": 0.001}"""
    typed: frozenset[str] = frozenset()
    """which of them were said on its command line"""
    resolved: bool = True
    """settings are all of them, resolved; else, of a kept row, what its command says"""
    ended: str = ""
    """what the sweep that started it noted: finished, failed, stopped"""
    lists: Path | None = None
    """of a kept row: the file of its five best labels for each document"""
    truth: Path | None = None
    """of a kept row: the run directory that says the true labels of its documents, by the same numbers"""

    @property
    def complete(self) -> bool:
        return bool(self.test)

    @property
    def of_all_documents(self) -> bool:
        """Trained and tested on all of its data set."""
        return all(str(self.settings.get(key)) in USUAL for key in DATA)

    @property
    def state(self) -> str:
        """complete, not tested (finished with test=false), failed (it ended by itself, without a score) or incomplete
        (stopped, or still running)."""
        if self.complete or self.facts:  # of metrics.json, which is written at the end
            return "complete" if self.complete else "not tested"
        return "failed" if self.ended == "failed" else "incomplete"

    @property
    def name(self) -> str:
        return f"{self.encoder}-{self.head}" + (f" seed {self.seed}" if self.seed is not None else "")

    def curve(self) -> list[dict[str, float]]:
        """Rows of curves.csv, without the cells that hold no number. Empty if there is no such file."""
        path = self.folder / "curves.csv"
        if not path.is_file():
            return []
        try:
            with path.open(encoding="utf-8", newline="") as file:
                return [
                    {k: v for k, cell in row.items() if k and (v := number(cell)) is not None}
                    for row in csv.DictReader(file)
                ]
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{path}: not readable CSV: {error}") from None


def find_runs(folders: Iterable[str | Path]) -> list[Run]:
    """Every run directory in or below `folders`, once. InputError: no such folder, no runs in it, unreadable files."""
    found: dict[Path, Run] = {}
    for given in listed(folders, "folders", "folders"):
        folder = Path(given)
        if not folder.is_dir():
            raise InputError(f"{given}: there is no such folder; expected a run directory or one that holds some")
        paths = list(_run_directories(folder))
        if not paths:
            raise InputError(f"{given}: no run directory in it (a folder with config.yaml and overrides.yaml)")
        for path in paths:
            if path.resolve() not in found:
                found[path.resolve()] = read_run(path)
    return sorted(found.values(), key=order)


def order(run: Run) -> tuple:
    """In which runs stand in tables."""
    seed = run.seed if isinstance(run.seed, int) else -1
    return run.dataset, run.encoder, run.head != "none", run.head, seed, str(run.folder)


def _run_directories(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))  # Hydra's .hydra looks like a run directory
        if "config.yaml" in files and "overrides.yaml" in files:
            folders.clear()
            yield Path(root)
        elif ".hydra" in os.listdir(root) and "multirun.yaml" not in files:
            folders.clear()
            yield Path(root)  # died before it could write its own configuration


def read_run(folder: Path) -> Run:
    """The run in `folder`. InputError if its metrics.json or configuration cannot be read."""
    config = _object(_yaml(folder / "config.yaml") or _yaml(folder / ".hydra" / "config.yaml"))
    chosen = _choices(_yaml(folder / "overrides.yaml") or _yaml(folder / ".hydra" / "overrides.yaml") or [])
    metrics = _json(folder / "metrics.json")
    provenance = _object(metrics.get("provenance"))

    def name(group: str) -> str | None:
        node, names = _object(config.get(group)), _object(config.get("names"))
        named = provenance.get(group) or names.get(group) or node.get("name") or chosen.get(group)
        target = node.get("_target_")
        if named:
            return str(named)
        return str(target).rsplit(".", 2)[-2] if target and "." in str(target) else None

    settings = {key: _placeless(value) for key, value in that_matter(config).items()}
    told = origin(str(provenance.get("command") or ""))
    settings |= told
    typed = set(chosen) | told.keys()
    if trained_on := provenance.get("trained_on"):  # an evaluation, whose configuration has the new data in its place
        sha = _object(provenance.get("trained_by")).get("dataset_sha256")
        settings = {"trained_on": f"{trained_on}:{sha[:12]}" if sha else trained_on} | settings
        typed.add("trained_on")
    facts = {**{k: v for k, v in metrics.items() if not isinstance(v, dict)}, **provenance}
    return Run(
        folder=folder,
        dataset=name("dataset") or "?",
        encoder=name("encoder") or "?",
        head=name("head") or "?",
        recipe=name("recipe"),
        seed=provenance.get("seed", config.get("seed")),
        test=_object(metrics.get("test")),
        floor=_object(metrics.get("floor")),
        dataset_sha256=provenance.get("dataset_sha256"),
        facts=facts,
        settings=settings,
        typed=frozenset(typed),
        ended=_json(folder / "job.json").get("state", ""),
    )


def _placeless(value: Any) -> Any:
    """A folder by its name: where it lies makes no difference, and belongs into no table."""
    return (Path(value).name or value) if isinstance(value, str) and value.startswith("/") else value


def _choices(overrides: Any) -> dict[str, str]:
    pairs = (str(o).lstrip("+").partition("=") for o in overrides) if isinstance(overrides, list) else ()
    return {key: value for key, _, value in pairs}


def _yaml(path: Path) -> Any:
    return read_yaml(path) if path.is_file() else None


def _json(path: Path) -> dict:
    return read_json(path, dict) if path.is_file() else {}


def _object(value: Any) -> dict:
    """What stands where an object should, empty if it is none."""
    return value if isinstance(value, dict) else {}


def number(cell: str | None) -> float | None:
    """Of a cell of a table; None where there is none in it."""
    try:
        return float(cell) if cell else None
    except ValueError:
        return None
