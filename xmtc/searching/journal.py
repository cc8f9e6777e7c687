"""What a search has on disk: Optuna's journal of its trials, and which search it is of."""

from __future__ import annotations

import os
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from xmtc.errors import InputError
from xmtc.sweeping.pool import locked

ASKED = "asked"


def open_study(folder: Path, seed: int) -> optuna.Study:
    """The search in `folder`, new or as far as it came. Every trial that ends is on disk at once."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    journal = folder / "study.journal"
    _cut_half_line(journal)
    storage = JournalStorage(JournalFileBackend(str(journal)))
    held = optuna.study.get_all_study_names(storage)
    return optuna.create_study(
        storage=storage,
        study_name="search",
        direction="maximize",
        load_if_exists=True,
        # draws on continue after those that were made, not with them again
        sampler=optuna.samplers.TPESampler(seed=seed if not held else seed + len(_trials(storage))),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
    )


def _cut_half_line(journal: Path) -> None:
    """Where a full disk or a machine that went down has left one, Optuna could read nothing of the journal any more."""
    lock = locked(journal.parent)
    if lock is None:  # who searches here may be writing
        return
    if journal.exists():
        whole = journal.read_bytes().rfind(b"\n") + 1
        os.truncate(journal, whole)
    os.close(lock)


def refuse_other(study: optuna.Study, folder: Path, fixed: list[str], space: dict[str, BaseDistribution]) -> None:
    """Trials of other settings or of another space are no part of this search: InputError."""
    asked = {"fixed": sorted(fixed), "space": {key: distribution_to_json(each) for key, each in sorted(space.items())}}
    held = study.user_attrs.get(ASKED)
    if held is None:
        study.set_user_attr(ASKED, asked)
    elif held != asked:
        other = set(held["fixed"]) ^ set(asked["fixed"])
        other |= {key for key, _ in set(held["space"].items()) ^ set(asked["space"].items())}
        named = ", ".join(sorted(other))
        raise InputError(f"--into {folder}: holds a search of other settings ({named}); choose a new folder")


def _trials(storage) -> list:
    return optuna.load_study(study_name="search", storage=storage).trials
