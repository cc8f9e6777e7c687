"""Hours that a paper prints for a row of its table, which are told where nothing was measured here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xmtc.config.paths import config_dir
from xmtc.parsing import read_yaml
from xmtc.reporting.printed import read_printed
from xmtc.sweeping.settings import matters, pairs

ROW = ("experiment", "dataset", "encoder", "head", "seed")  # what may be said of a job that is still that row


def printed_hours(words: Sequence[str], config: dict[str, Any]) -> float | None:
    """`train_hours` of the row of `experiments/EXPERIMENT/printed.csv` that a job is, by data set, encoder and head;
    None where there is none, or where the job was given other settings. words: its overrides; config: resolved, plain.
    """
    said = pairs(words)
    if "experiment" not in said or any(matters(key) and key not in ROW for key in said):
        return None
    path = config_dir().parent / "experiments" / _table_of(said["experiment"]) / "printed.csv"
    if not path.is_file():  # not a source checkout, or no table of a paper
        return None
    wanted = config["dataset"]["name"], said.get("encoder"), said.get("head")
    hours = [
        row.values.get("train_hours") for row in read_printed(path) if (row.dataset, row.encoder, row.head) == wanted
    ]
    return hours[0] if len(hours) == 1 else None


def _table_of(experiment: str) -> str:
    """The experiment that it is another name of: a figure of a table's runs has nothing of its own."""
    path = config_dir() / "experiment" / f"{experiment}.yaml"
    match read_yaml(path) if path.is_file() else None:
        case {"defaults": [str(table)], **others} if not others:
            return table
    return experiment
