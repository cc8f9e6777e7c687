"""The jobs of a sweep: where each lives, how far it has come, and the command that takes it on from there."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xmtc.config.paths import quoted
from xmtc.data.files import replace_text
from xmtc.errors import InputError
from xmtc.parsing import read_json, read_yaml
from xmtc.sweeping.settings import pairs, replaces, that_matter, words_that_matter

LOG, NOTE, LOCK = "job.log", "job.json", ".job.lock"
EXPERIMENT = "experiment="
STOPPED = (75, 130)  # what xmtc.run ends with after SIGTERM and after Ctrl-C


@dataclass
class Job:
    """One job. overrides: what it is run with, all of it. switches: --config-dir and such. config: resolved, plain.
    known_as: the overrides that matter of the run that is, or will be, in its folder; None where nobody asks."""

    number: int
    overrides: list[str]
    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    switches: list[str] = field(default_factory=list)
    known_as: list[str] | None = None

    @property
    def finished(self) -> bool:
        """metrics.json is written last, whole."""
        return (self.folder / "metrics.json").is_file()

    @property
    def cut(self) -> bool:
        """It was stopped and can go on."""
        checkpoints = self.folder / "checkpoints"
        return not self.finished and any((checkpoints / name).is_file() for name in ("last.ckpt", "previous.ckpt"))

    @property
    def displaced(self) -> bool:
        """A sweep that works beside this one has begun another job in this one's folder."""
        held = None if self.known_as is None else saved_overrides(self.folder)
        return held is not None and words_that_matter(held) != self.known_as

    def join(self, taken: Collection[Path]) -> None:
        """Takes the folder, none of `taken`, in which a sweep that works beside this one has begun the same job since
        we looked."""
        if self.known_as is not None and saved_overrides(self.folder) is None:
            held = existing(self.folder.parent)
            same = (folder for folder, words in held.items() if words_that_matter(words) == self.known_as)
            self.folder = next((each for each in same if each not in taken and not _change(each, self)), self.folder)

    def outcome(self, code: int) -> str:
        """finished, stopped (by somebody's signal: it can go on) or failed, of a run that ended with this exit code."""
        if code == 0 and self.finished:
            return "finished"
        return "stopped" if code in STOPPED else "failed"

    def command(self) -> list[str]:
        """A single run: without -m no process that it starts can be the sweep again."""
        if self.cut:
            held = saved_overrides(self.folder) or []
            words = [word for word in self.overrides if word not in held and not word.startswith(EXPERIMENT)]
            words = [f"resume={quoted(self.folder)}", *words]
        else:
            words = [*self.overrides, f"hydra.run.dir={quoted(self.folder)}"]
        return [sys.executable, "-m", "xmtc.run", *self.switches, *words]

    def result(self) -> dict[str, Any]:
        """What metrics.json says; empty before it is there."""
        return _known(self.folder / "metrics.json")

    def note(self, **facts) -> None:
        """What the sweep knows of the job, for the report: job.json."""
        try:
            replace_text(self.folder / NOTE, json.dumps(facts, indent=1))
        except OSError:  # of a full disk the job itself tells; the others go on
            pass

    def noted(self) -> dict[str, Any]:
        """What the last sweep noted; empty if there is nothing."""
        return _known(self.folder / NOTE)

    @property
    def name(self) -> str:
        return self.folder.name


def _known(path: Path) -> dict[str, Any]:
    try:
        return read_json(path, dict)
    except InputError:
        return {}


def saved_overrides(folder: Path) -> list[str] | None:
    """What the run in `folder` was started with; None if it does not say."""
    for path in (folder / "overrides.yaml", folder / ".hydra" / "overrides.yaml"):
        try:
            held = read_yaml(path)
        except InputError:
            continue
        if isinstance(held, list):
            return [str(word) for word in held if not str(word).startswith("resume=")]
    return None


def existing(sweep: Path) -> dict[Path, list[str]]:
    """{folder: its overrides} of the runs that lie directly in a sweep's folder."""
    folders = sorted(path for path in sweep.glob("*") if path.is_dir())
    return {folder: held for folder in folders if (held := saved_overrides(folder)) is not None}


def place(jobs: Sequence[Job], sweep: Path) -> None:
    """Gives each job a folder that no other one has: of the same job in an earlier start of the sweep, else of an equal
    one, which differs in what makes no difference or in the experiment's name (a figure of the runs of a table), else
    one that is free. InputError: that job was made with other settings, because a file of the configuration has changed
    in between."""
    held = existing(sweep)
    taken: set[Path] = set()
    for alike in (sorted, words_that_matter, without_experiment):
        known: dict[tuple[str, ...], list[Path]] = {}
        for folder, words in held.items():
            known.setdefault(tuple(alike(words)), []).append(folder)
        for job in (job for job in jobs if job.known_as is None):
            folders = [folder for folder in known.get(tuple(alike(job.overrides)), ()) if folder not in taken]
            if alike is without_experiment:
                folders = [folder for folder in folders if _is_same(folder, job)]
            if folders:
                job.folder, job.known_as = folders[0], words_that_matter(held[folders[0]])
                taken.add(job.folder)
                _refuse_changes(job)
    taken |= held.keys()
    for job in (job for job in jobs if job.known_as is None):
        job.known_as = words_that_matter(job.overrides)
        job.folder = free(job.folder, taken)
        taken.add(job.folder)


def without_experiment(words: Sequence[str]) -> list[str]:
    return [word for word in words_that_matter(words) if not word.startswith(EXPERIMENT)]


def free(wanted: Path, taken: Collection[Path]) -> Path:
    """`wanted`, or with a number behind its name: a sweep that grew numbers its jobs anew."""
    others = (wanted.with_name(f"{wanted.name}_{count}") for count in itertools.count(2))
    return next(folder for folder in itertools.chain([wanted], others) if folder not in taken)


def _is_same(folder: Path, job: Job) -> bool:
    """What an experiment sets is in the configuration, which must be the same."""
    return bool(job.config) and (folder / "config.yaml").is_file() and _change(folder, job) is None


def _refuse_changes(job: Job) -> None:
    if (change := _change(job.folder, job)) is not None:
        raise InputError(f"{job.folder}: was made with {change}; use another hydra.sweep.dir, or delete that folder")


def _change(folder: Path, job: Job) -> str | None:
    """What differs between the configuration of the run in `folder` and the job's."""
    path = folder / "config.yaml"
    if not path.is_file() or not job.config:
        return None
    old, new = that_matter(read_yaml(path, dict)), that_matter(job.config)
    keys = (key for key in dict.fromkeys([*new, *old]) if _changed(key, old, new))
    return next((f"{key}={old.get(key)}, which is {new.get(key)} now" for key in keys), None)


def _changed(key: str, old: dict[str, Any], new: dict[str, Any]) -> bool:
    """A setting that only one of them has is no change: other versions of this framework have other settings. Unless
    something took the place of nothing: `clipping: null` and `clipping.factor: 5`."""
    if key in old and key in new:
        return old[key] != new[key]
    return replaces(key, old if key in new else new)


def swept(jobs: list[Job]) -> list[str]:
    """What tells the jobs apart, as `head=none seed=1`, in their order."""
    settings = [pairs(job.overrides) for job in jobs]
    keys = list(dict.fromkeys(key for each in settings for key in each))
    keys = [key for key in keys if len({each.get(key) for each in settings}) > 1]
    return [
        " ".join(f"{key}={each[key]}" for key in keys if key in each) or job.name for job, each in zip(jobs, settings)
    ]
