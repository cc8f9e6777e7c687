"""What a row of a kept results.csv is, and what the file of the lists that it was scored from is called."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from xmtc.reporting.commands import own, settings_of

PREDICTIONS = "predictions"
DEPTH = 5
LONGEST = 200  # characters of a file's name
# what a file's name says anyway, or has no influence on what was predicted
NAMED = ("dataset=", "encoder=", "head=", "recipe=", "seed=", "experiment=", "logger=", "trainer=", "hydra/")
Row = Mapping[str, str]


def configuration_of(row: Row) -> tuple:
    """What was measured on what: rows that are alike in it are the same measurement."""
    names = ("dataset", "dataset_sha256", "encoder", "head", "recipe", "seed")
    return *(row.get(name, "") for name in names), tuple(sorted(settings_of(row.get("command") or "").items()))


def list_names(rows: Sequence[Row]) -> list[str]:
    """Of the file for each of a table's rows."""
    plain = [list_name(row) for row in rows]
    times = Counter(plain)
    return [list_name(row, apart=times[name] > 1) for row, name in zip(rows, plain)]


def list_name(row: Row, apart: bool = False) -> str:
    """apart: from those of another row that would have the same name, by what it leaves out."""
    name = f"{row['encoder']}-{row['head']}-{row.get('recipe') or None}{_settings(row.get('command') or '')}"
    if len(name) > LONGEST:
        name = f"{name[:LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    told = f"-{hashlib.sha256(repr(configuration_of(row)).encode()).hexdigest()[:8]}" if apart else ""
    return f"{name}-seed{row.get('seed') or None}{told}.npz"


def _settings(command: str) -> str:
    """Those of a command that tell its run from others of the same encoder, head, recipe and seed: part of a name. What
    comes behind a run (`&& python -m xmtc.evaluate ...`) is said by the folder."""
    told = (word for word in own(command).split()[1:] if "=" in word and not word.startswith(NAMED))
    return "".join(f"-{re.sub(r'[^A-Za-z0-9.=]+', '_', word)}" for word in sorted(told))
