"""Measured rows for `experiments/`: finished runs are added to a folder's results.csv, their top-5 lists beside it.

What heads add in a study stands beside them: a table to read, all of it as CSV, and a picture.
"""

from __future__ import annotations

import csv
import io
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from xmtc.data.files import locked, read_npz, replace_text, replaced
from xmtc.errors import InputError
from xmtc.reporting.commands import placeless
from xmtc.reporting.gain_tables import Found, gains_csv_rows, markdown_glance
from xmtc.reporting.rows import DEPTH, PREDICTIONS, configuration_of, list_names
from xmtc.reporting.runs import Run
from xmtc.reporting.tables import csv_text, of_data, results_csv

LARGEST = 400_000  # bytes of one predictions file: lists of 35,000 documents among 25,000 labels


def keep(runs: Iterable[Run], folder: Path) -> int:
    """Adds the finished runs that are not there yet; returns how many. Rows that stand are never changed: a run of the
    configuration, seed and data of one of them is left out, and said so, or that seed would count twice. One process at
    a time adds to a folder.

    InputError if a run was made from uncommitted code: such a number cannot be made again.
    """
    runs = [run for run in runs if run.complete]
    dirty = [str(run.folder) for run in runs if _dirty(run.facts)]
    if dirty:
        raise InputError(f"{dirty[0]}: made from uncommitted changes; a kept row needs a commit that has its code")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".results.csv.lock"):
        return _add(runs, folder)


def _add(runs: list[Run], folder: Path) -> int:
    path = folder / "results.csv"
    old = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))) if path.exists() else []
    new = list(csv.DictReader(io.StringIO(results_csv(runs))))
    for row in new:
        row["command"] = placeless(row["command"])
    stand = {configuration_of(row): row for row in old}
    added = []
    for run, row in zip(runs, new, strict=True):
        before = stand.setdefault(configuration_of(row), row)
        if before is row:
            added.append((run, row))
        elif _identity(before) != _identity(row):
            kind = f"{run.name} of commit {(before.get('commit') or '?')[:9]}"
            print(f"{run.folder}: left out, {path} has a row of {kind}; remove that to take this", file=sys.stderr)
    rows = old + [row for _, row in added]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    last = [name for name in columns if new and name in list(new[0])[list(new[0]).index("steps") :]]
    columns = [name for name in columns if name not in last] + last
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    names = list_names(rows)[len(old) :]
    for (run, _), name in zip(added, names, strict=True):  # before the table, which says that they are there
        _keep_predictions(run, folder / PREDICTIONS / name)
    replace_text(path, text.getvalue())
    return len(added)


def keep_gains(found: Found, pictures: Iterable[Path], folder: Path) -> None:
    """gains.md, gains.csv and the pictures of `found`, in place of those that are there. InputError if those say more:
    they were made from run directories, which may be gone."""
    rows = csv_text(gains_csv_rows(found))
    path = folder / "gains.csv"
    new = _seeds(rows)
    for what, cell, seeds in _seeds(path.read_text(encoding="utf-8")) if path.exists() else ():
        words = set(cell.split())  # more runs can make more settings differ, and so cells say more
        now = max((n for each, other, n in new if each == what and words <= set(other.split())), default=0)
        if now < seeds:
            dataset, sha, head, metric = what
            raise InputError(
                f"{path}: was made from more runs ({dataset}{of_data(sha)} {cell} {head} {metric}: {seeds} seeds, now"
                f" {now}); name the directories of all of them, or remove that file"
            )
    parts = [markdown_glance(*data, each, level=1) for data, each in found.items() if each]
    folder.mkdir(parents=True, exist_ok=True)
    replace_text(folder / "gains.md", "\n\n".join(parts) + "\n")
    replace_text(path, rows)
    for old in folder.glob("gains_*.png"):
        old.unlink()
    for path in pictures:
        with replaced(folder / path.name) as temporary:
            shutil.copyfile(path, temporary)


def _seeds(gains: str) -> list[tuple[tuple, str, int]]:
    """(what was compared, in which cell, seeds) of each row of a gains.csv."""
    names = ("dataset", "dataset_sha256", "head", "metric")
    rows = csv.DictReader(io.StringIO(gains))
    return [(tuple(row[name] for name in names), row["cell"], int(row["seeds"])) for row in rows]


def _dirty(facts: dict | None) -> bool:
    """Of a run: it, one that it started from, or a member of an ensemble."""
    if not facts:
        return False
    others = [facts.get("started_from"), *(facts.get("members") or [])]
    return bool(facts.get("dirty")) or any(map(_dirty, others))


def _identity(row: dict) -> tuple:
    return tuple(row.get(name, "") for name in ("dataset", "command", "commit", "train_seconds", "seed"))


def _keep_predictions(run: Run, path: Path) -> None:
    """labels (N, 5): best first, as positions in label_ids (L,), the ids, -1 where a document has fewer; gold sets are
    those of the corpus."""
    ids = [line.split("\t")[1] for line in (run.folder / "labels.tsv").read_text(encoding="utf-8").split("\n")[:-1]]
    labels = read_npz(run.folder / "predictions.npz")["labels"][:, :DEPTH]
    small = len(ids) <= 2**16 and labels.min(initial=0) >= 0
    path.parent.mkdir(exist_ok=True)
    with replaced(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, labels=labels.astype(np.uint16 if small else np.int32), label_ids=np.array(ids))
    if path.stat().st_size > LARGEST:
        path.unlink()
        print(f"{path.name}: left out, over {LARGEST:,} bytes", file=sys.stderr)
