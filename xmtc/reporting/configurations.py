"""Runs that differ in nothing but their seed are one configuration: means, spread, and how fast it learns."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev

from xmtc.reporting.runs import Run
from xmtc.reporting.tables import by_data
from xmtc.sweeping.settings import replaces

QUALITY = "nDCG@5"
SHARE = 0.95  # of the last validation score: the quality to which steps and seconds are counted


@dataclass
class Configuration:
    """runs: one of each seed, seed by seed, the incomplete ones too. settings: what tells it from others of the same
    encoder, head and recipe, as {key: value}. copies: further runs of a seed, which count nowhere."""

    runs: list[Run]
    settings: dict[str, str] = field(default_factory=dict)
    several_recipes: bool = False
    copies: list[Run] = field(default_factory=list)
    apart: list[str] = field(default_factory=list)
    """keys of settings in which it and others of its encoder, head and recipe differ; the typed ones if they will do"""
    in_full: set[str] = field(default_factory=set)
    """keys of settings whose short form is another's as well, as that of encoder.dropout is head.dropout's"""

    def __getattr__(self, name: str):
        if name in ("dataset", "encoder", "head", "recipe", "dataset_sha256"):
            return getattr(self.runs[0], name)
        raise AttributeError(name)

    @property
    def complete(self) -> list[Run]:
        return [run for run in self.runs if run.complete]

    @property
    def name(self) -> str:
        recipe = [self.recipe] if self.several_recipes and self.recipe else []
        told = (f"{k}={v}" if k in self.in_full else _called(k, v) for k, v in self.settings.items())
        return " ".join([self.encoder, self.head, *recipe, *told])

    def name_of(self, run: Run) -> str:
        """Of one of its runs: no other configuration's run on this data is called so."""
        return self.name + (f" seed {run.seed}" if run.seed is not None else "")

    def values(self, metric: str) -> list[float]:
        values = (run.test.get(metric) for run in self.complete)
        return [value for value in values if isinstance(value, int | float) and math.isfinite(value)]

    def mean(self, metric: str) -> float | None:
        values = self.values(metric)
        return fmean(values) if values else None

    def std(self, metric: str) -> float | None:
        """Over seeds, with n - 1; None for fewer than two."""
        values = self.values(metric)
        return stdev(values) if len(values) > 1 else None

    def fact(self, key: str) -> float | None:
        """Mean of a number of metrics.json, such as train_seconds."""
        values = [run.facts.get(key) for run in self.complete]
        values = [value for value in values if isinstance(value, int | float)]
        return fmean(values) if values else None

    def until(self, column: str, quality: float | None = None) -> float | None:
        """Mean `step` or `seconds` of the first evaluation at 95 % of the run's own last validation nDCG@5, or at
        `quality`. None if a run never got there: an average over the lucky ones would flatter."""
        found = [reached(run, column, quality) for run in self.complete]
        return fmean(found) if found and None not in found else None


def reached(run: Run, column: str, quality: float | None = None) -> float | None:
    points = curve(run, column)
    if not points:
        return None
    goal = points[-1][1] * SHARE if quality is None else quality
    return next((at for at, value in points if value >= goal), None)


def curve(run: Run, column: str) -> list[tuple[float, float]]:
    """(`step` or `seconds`, validation nDCG@5) of each evaluation; the score's column may have a prefix."""
    found = []
    for row in run.curve():
        key = next((key for key in row if key.replace(" ", "/").split("/")[-1] == QUALITY), None)
        if key and column in row:
            found.append((row[column], row[key]))
    return found


def configurations(runs: Iterable[Run]) -> dict[tuple[str, str | None], list[Configuration]]:
    """{(dataset, sha256): configurations}, in the order of the runs. Of several runs of one seed the first complete one
    counts, in the order of their folders, kept rows last; standard error says which."""
    found = {}
    for data, group in by_data(runs).items():
        same: list[list[Run]] = []
        for run in group:
            peers = next((peers for peers in same if alike(run, peers[0])), None)
            peers.append(run) if peers else same.append([run])
        made = [Configuration(sorted(each, key=lambda run: str(run.seed))) for each in same]
        for configuration in made:
            configuration.apart, configuration.settings = _telling(configuration, made)
            configuration.several_recipes = len({each.recipe for each in made}) > 1
        shown = {key for configuration in made for key in configuration.settings}
        times = Counter(_called(key, "") for key in shown)
        for configuration in made:
            configuration.in_full = {key for key in shown if times[_called(key, "")] > 1}
            _each_seed_once(configuration)
        found[data] = made
    return found


def _each_seed_once(configuration: Configuration) -> None:
    of_seed: dict[object, list[Run]] = {}
    for run in sorted(configuration.runs, key=lambda run: (not run.complete, run.lists is not None, str(run.folder))):
        seed = id(run) if run.seed is None else run.seed  # without one, nobody knows that it is the same
        of_seed.setdefault(seed, []).append(run)
    for seed, (first, *others) in of_seed.items():
        if others:
            left = ", ".join(str(run.folder) for run in others)
            print(f"{configuration.name} seed {seed} counts once: {first.folder}, not {left}", file=sys.stderr)
            configuration.copies += others
    configuration.runs = sorted((first for first, *_ in of_seed.values()), key=lambda run: str(run.seed))


def alike(one: Run, other: Run) -> bool:
    """They differ in their seed at most. A setting that only one of them has counts if it was typed, or stands where
    the other has nothing (`averaging: null`): other versions of this framework have other settings."""
    if (one.encoder, one.head, one.recipe) != (other.encoder, other.head, other.recipe):
        return False
    for mine, theirs in ((one, other), (other, one)):
        for key, value in mine.settings.items():
            if _of_seed(key, mine) or "${" in str(value):  # of a run that ended before its configuration was resolved
                continue
            if key not in theirs.settings:
                if key in mine.typed or replaces(key, theirs.settings):
                    return False
            elif (found := theirs.settings[key]) != value and "${" not in str(found):
                return False
    return True


def _of_seed(key: str, run: Run) -> bool:
    """The run's seed, or a part's that follows it (encoder.seed of label trees)."""
    return key == "seed" or (key.endswith(".seed") and str(run.settings[key]) == str(run.seed))


def _telling(one: Configuration, all_of_them: Sequence[Configuration]) -> tuple[list[str], dict[str, str]]:
    """Of others of the same encoder, head and recipe: the keys in which they differ (the typed ones if these will do),
    and the settings that tell it from them: the typed ones, and as many more as are needed, without those that all of
    them have and in which it is as more than half of them are."""
    what = (one.encoder, one.head, one.recipe)
    peers = [each.runs[0] for each in all_of_them if (each.encoder, each.head, each.recipe) == what]
    settings = [_parting(run) for run in peers]
    keys = dict.fromkeys(key for each in settings for key in each)
    keys = [key for key in keys if len({_said(each, key) for each in settings}) > 1]
    typed = [key for key in keys if any(key in run.typed for run in peers)]
    # a key that some have not is of another version of this framework
    rest = sorted((key for key in keys if key not in typed), key=lambda key: any(key not in each for each in settings))

    def told(keys: Sequence[str]) -> int:
        return len({tuple(_said(each, key) for key in keys) for each in settings})

    apart = typed if told(typed) == len(peers) else keys
    keys = typed
    for key in rest:
        if told(keys) == len(peers):
            break
        if told([*keys, key]) > told(keys):
            keys = [*keys, key]
    mine = _parting(one.runs[0])
    usual = {key: Counter(_said(each, key) for each in settings).most_common(1)[0] for key in keys}
    everywhere = {key for key in keys if all(key in each for each in settings)}  # who has it not can show nothing
    shown = {
        key: str(mine[key])
        for key in keys
        if key in mine
        and not (key in everywhere and usual[key][0] == str(mine[key]) and usual[key][1] > len(peers) / 2)
    }
    return [key for key in apart if key in mine], shown


def _parting(run: Run) -> dict:
    """Its settings without those that follow the seed."""
    return {key: value for key, value in run.settings.items() if not _of_seed(key, run)}


def _called(key: str, value: str) -> str:
    """`rank=64` of `head.rank`; a component by its class, `embedding=Word2Vec` of `encoder.embedding._target_`."""
    *above, last = key.split(".")
    return f"{above[-1]}={value.split('.')[-1]}" if above and last == "_target_" else f"{last}={value}"


def _said(settings: dict, key: str) -> str | None:
    return str(settings[key]) if key in settings else None
