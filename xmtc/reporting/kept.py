"""Kept rows beside runs (`--kept`): compared on the same documents, though the runs that they are of are gone.

Kept of a run are its scores, its command and its five best labels of each document (keep.py). The true labels are the
corpus': a given run says them that was tested on the same documents and knows the same labels by the same numbers.
"""

from __future__ import annotations

import glob
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from xmtc.config.compose import Composer, composing
from xmtc.data.files import read_npz
from xmtc.errors import InputError
from xmtc.labels import LabelTable
from xmtc.reporting.commands import TRAINS, words_of
from xmtc.reporting.documents import METRICS, scores_of
from xmtc.reporting.joining import composed
from xmtc.reporting.printed import measured_rows
from xmtc.reporting.rows import PREDICTIONS, list_name
from xmtc.reporting.runs import DATA, USUAL, Run
from xmtc.sweeping.settings import AND, pairs

COLUMNS = ("dataset", "encoder", "head", "recipe", "seed")
APART = re.compile(r"-[0-9a-f]{8}\.npz")  # what may follow in a file's name
CLOSE = 1e-6  # of a row's scores and those of its lists


def kept_rows(folders: Iterable[str | Path], runs: Sequence[Run], where: Iterable[str] = ()) -> list[Run]:
    """The rows of each folder's results.csv that are of the data of one of `runs`, as runs.

    where: `KEY=VALUE[,VALUE]`, all of which a row must have, in its columns or its command. A row whose lists were not
    kept, are of labels that no run knows so, or do not give its scores stands in tables alone; standard error says so.
    Costs 0.2 s a row. InputError: a folder without such rows, a condition that none fulfils.
    """
    conditions = [_condition(word) for word in where]
    data = {run.dataset_sha256 for run in runs if run.complete and run.dataset_sha256}
    rows: list[Run] = []
    for folder in map(Path, folders):
        if not (folder / "results.csv").is_file():
            raise InputError(f"--kept {folder}: no results.csv in it")
        found = [row for row in measured_rows(folder) if row.dataset_sha256 in data]
        if not found:
            raise InputError(f"--kept {folder}: none of its rows is of the data of a given run")
        rows += found
    for key, values in conditions:
        had = {said for row in rows if (said := _said(row, key)) is not None}
        rows = [row for row in rows if _said(row, key) in values]
        if not rows:
            told = f"they have {', '.join(sorted(had))}" if had else "none of them says it"
            raise InputError(f"--where {key}={','.join(values)}: no kept row left; {told}")
    with composing("run") as composer:
        rows = [_whole(row, composer) for row in rows]
    _lend(rows, runs)
    return rows


def _condition(word: str) -> tuple[str, list[str]]:
    key, given, values = word.partition("=")
    if not key or not given:
        raise InputError(f"--where {word}: expected KEY=VALUE[,VALUE...], as encoder=bow,xmlcnn or embedding=word2vec")
    return key, values.split(",")


def _said(row: Run, key: str) -> str | None:
    value = getattr(row, key) if key in COLUMNS else row.settings.get(key)
    return None if value is None else str(value)


def _whole(row: Run, composer: Composer) -> Run:
    """With all of its settings, as a run has them, so that the two can be told to be alike; as it is where its command
    is no single training, or of another version of this framework."""
    command = row.facts.get("command") or ""
    if command.startswith(TRAINS) and AND not in command:
        words = words_of(command)
        settings = composed(composer, words)
        if settings is not None:
            row.settings, row.typed, row.resolved = settings, frozenset(pairs(words)), True
    return row


def _lend(rows: Sequence[Run], runs: Iterable[Run]) -> None:
    """Fills `lists` and `truth` of the rows that can be compared, and says which cannot."""
    known = [
        (
            run,
            np.array(LabelTable(run.folder / "labels.tsv").ids),
            len(read_npz(run.folder / "predictions.npz")["labels"]),
        )
        for run in runs
        if run.complete and all((run.folder / name).is_file() for name in ("labels.tsv", "predictions.npz"))
    ]
    for row in rows:
        lenders = [
            each for each in known if (each[0].dataset_sha256, _share(each[0])) == (row.dataset_sha256, _share(row))
        ]
        told = "its lists were not kept"
        for row.lists in _files(row):
            row.truth = _lender(row.lists, lenders)
            told = _wrong(row)
            if not told:
                break
        if told:
            row.lists = row.truth = None
            print(f"{row.name} of {row.folder} is not compared: {told}", file=sys.stderr)


def _files(row: Run) -> list[Path]:
    """Those that may be a row's: it may have been kept before another of that name came, or by another version."""
    own = {
        "encoder": row.encoder,
        "head": row.head,
        "recipe": row.recipe or "",
        "command": row.facts.get("command") or "",
    }
    name = list_name(own | {"seed": "" if row.seed is None else str(row.seed)})
    folder, stem = row.folder / PREDICTIONS, name.removesuffix(".npz")
    apart = sorted(
        file for file in folder.glob(f"{glob.escape(stem)}-*.npz") if APART.fullmatch(file.name[len(stem) :])
    )
    return [file for file in (folder / name, *apart) if file.is_file()]


def _lender(lists: Path, known: Iterable[tuple[Run, np.ndarray, int]]) -> Path | None:
    """The directory of a run that was tested on as many documents and has the same labels."""
    try:
        held = read_npz(lists)
        ids, documents = held["label_ids"], len(held["labels"])
    except (ValueError, LookupError) as error:
        raise InputError(f"{lists}: not a readable file of kept lists ({error})") from error
    return next((run.folder for run, own, count in known if count == documents and np.array_equal(ids, own)), None)


def _share(run: Run) -> list[str]:
    """Of the documents: label frequencies are those of a share."""
    return ["" if (value := str(run.settings.get(key))) in USUAL else value for key in DATA]


def _wrong(row: Run) -> str:
    """Why a row cannot be compared by its lists, in words; empty if it can."""
    if row.truth is None:
        return "no given run knows its documents and labels"
    scores, _ = scores_of(row) or ({}, None)
    other = [name for name in METRICS if name in row.test and not _is(row.test[name], scores[name].mean())]
    return f"its lists do not give its {other[0]}" if other else ""


def _is(told: float | None, counted: float) -> bool:
    return told is not None and abs(told - counted) < CLOSE
