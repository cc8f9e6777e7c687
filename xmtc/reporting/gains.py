"""What a head adds to the same model without one, cell by cell of a sweep: where it helps and where it hurts.

A cell is everything but the head and its own settings: corpus, encoder, recipe, share of the training documents, output
bias, and whatever was set for some runs alone. Within a cell a run with the head and one without are paired when they
have the same seed, and their scores on the same test documents are subtracted. The interval resamples seeds and
documents at once (Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 2007; somewhat wide by design): what
other seeds and other documents would have said. With one seed it is of the documents alone.

By frequency of the labels (metrics/frequency_bins.py): nDCG@5/BIN, of the documents that have a true label in the bin.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

import numpy as np

from xmtc.reporting.configurations import SHARE, Configuration, _of_seed, curve, reached
from xmtc.reporting.documents import Truth, scores_of
from xmtc.reporting.runs import DATA, USUAL, Run
from xmtc.reporting.significance import _chunks

SHOWN = ("P@1", "P@5", "nDCG@5")
MAIN = "nDCG@5"
OF_THE_HEAD = ("head", "recipe.lcenet", "recipe.head_lr_factor")
SAID = (*DATA, "recipe.prior_bias")  # of every cell, though it be the same everywhere: most of a gain hangs on it
PLAIN = "none"


@dataclass(frozen=True)
class Gain:
    """plain, score: mean test scores over the paired seeds, fractions. gain: with the head minus plain. low, high: its
    95 % interval. documents: that the metric is a mean of. steps: of plain and head to 95 % of plain's last validation
    nDCG@5, null where one never got there, NaN where a curve was not kept. besides: other settings that the runs with
    the head have another value of, as its recipe chose it, {key: (plain, with the head)}: what they gain may be
    that."""

    cell: tuple[tuple[str, str], ...]
    head: str
    metric: str
    plain: float
    score: float
    gain: float
    seeds: int
    documents: int
    steps: tuple[float | None, float | None]
    besides: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    low: float = float("nan")
    high: float = float("nan")


def gains(configurations: Sequence[Configuration], resamples: int = 2000, seed: int = 0) -> list[Gain]:
    """Of every head in every cell that has a run without a head and one with it of the same seed; standard error names
    the others. Costs the reading of all predictions once, and O(resamples N) random numbers for each size of the test
    set and of the seeds."""
    told = dict.fromkeys(key for each in configurations for key in each.apart)  # tell those of one head apart, of any
    cells: dict[tuple, dict[str, list[Run]]] = {}
    for each in configurations:
        settings = each.runs[0].settings
        said = [key for key in SAID if str(settings.get(key)) not in USUAL]
        keys = list(dict.fromkeys([*told, *_apart(each, configurations), *said]))
        if "members" in each.runs[0].facts:  # an ensemble, whose `head` is how its members are fused
            continue
        cell = (("encoder", each.encoder), ("recipe", each.recipe or ""))
        cell += tuple((key, str(settings.get(key, ""))) for key in keys if not _of_the_head(key))
        own = [f"{key.split('.')[-1]}={settings[key]}" for key in keys if _of_the_head(key) and key in settings]
        name = PLAIN if each.head == PLAIN else " ".join([each.head, *own])
        cells.setdefault(cell, {}).setdefault(name, []).extend(each.complete)
    held: dict = {}
    found, differences = [], []
    for cell, heads in cells.items():
        for name, runs in heads.items():
            if name == PLAIN or not runs:
                continue
            pairs = _paired(heads.get(PLAIN, []), runs, held)
            if not pairs:
                words = " ".join([cell[0][1], name, *(f"{key}={value}" for key, value in cell[2:])])
                print(f"no gain of {words}: no run without a head of these settings and seed has its test documents",
                      file=sys.stderr)  # fmt: skip
                continue
            steps = _steps([(one, other) for one, other, *_ in pairs])
            besides = _besides(*pairs[0][:2])
            for metric in _metrics(pairs):
                plain, head = (np.stack([pair[i][metric] for _, _, *pair in pairs]) for i in (0, 1))  # (S, N)
                has = ~np.isnan(plain + head).any(0)  # a true label in the bin
                if not has.any():
                    continue
                plain, head = plain[:, has], head[:, has]
                means = float(plain.mean()), float(head.mean()), float((head - plain).mean())
                found.append(Gain(cell, name, metric, *means, *plain.shape, steps, besides))
                differences.append(head - plain)
    return _with_intervals(found, differences, resamples, seed)


def _apart(one: Configuration, configurations: Sequence[Configuration]) -> list[str]:
    """The settings in which runs of its encoder and recipe differ whatever their head, of those that somebody chose:
    what a recipe chooses for a head is the head's own."""
    runs = [each.runs[0] for each in configurations if (each.encoder, each.recipe) == (one.encoder, one.recipe)]
    chosen = {key: None for run in runs for key in (*DATA, *sorted(run.typed))
              if key in run.settings and not _of_seed(key, run)}  # fmt: skip
    return [key for key in chosen if len({str(run.settings[key]) for run in runs if key in run.settings}) > 1]


def _of_the_head(key: str) -> bool:
    return any(key == name or key.startswith(name + ".") for name in OF_THE_HEAD)


def _paired(plain: Sequence[Run], with_head: Sequence[Run], held: dict) -> list[tuple]:
    """(plain run, run, scores, scores) of the seeds that both have, tested on the same documents."""
    by_seed = {run.seed: run for run in plain}
    pairs = []
    for run in with_head:
        other = by_seed.get(run.seed)
        scores = [_scores(each, held) for each in (other, run)] if other else [None]
        if all(scores) and scores[0][1] == scores[1][1]:
            pairs.append((other, run, scores[0][0], scores[1][0]))
    return pairs


def _besides(plain: Run, with_head: Run) -> dict[str, tuple[str, str]]:
    both = [key for key in plain.settings if key in with_head.settings and not _of_the_head(key)]
    values = {key: (str(plain.settings[key]), str(with_head.settings[key])) for key in both if not _of_seed(key, plain)}
    return {key: each for key, each in values.items() if each[0] != each[1] and "${" not in "".join(each)}


def _metrics(pairs: Sequence[tuple]) -> list[str]:
    """Those shown, and those by label frequency that every run has."""
    every = set.intersection(*(set(scores) for _, _, *both in pairs for scores in both))
    return [*SHOWN, *(name for name in pairs[0][2] if name in every and name.startswith(f"{MAIN}/"))]


def _scores(run: Run, held: dict) -> tuple[Mapping[str, np.ndarray], Truth] | None:
    file = run.lists or run.folder
    if file not in held:
        held[file] = scores_of(run, by_bin=True)
    return held[file]


def _steps(pairs: Sequence[tuple[Run, Run]]) -> tuple[float | None, float | None]:
    """Mean steps of the plain runs and of those with the head until 95 % of the plain run's last validation score."""
    if not all(curve(run, "step") for pair in pairs for run in pair):
        return float("nan"), float("nan")
    both: tuple[list, list] = ([], [])
    for plain, head in pairs:
        goal = SHARE * curve(plain, "step")[-1][1]
        for found, run in zip(both, (plain, head)):
            found.append(reached(run, "step", goal))
    return tuple(None if None in found else fmean(found) for found in both)  # type: ignore[return-value]


def _with_intervals(found: list[Gain], differences: list[np.ndarray], resamples: int, seed: int) -> list[Gain]:
    shapes = list(dict.fromkeys(each.shape for each in differences))
    for shape in shapes:
        places = [i for i, each in enumerate(differences) if each.shape == shape]
        low, high = crossed_interval(np.stack([differences[i] for i in places]), resamples, np.random.default_rng(seed))
        for i, a, b in zip(places, low, high):
            found[i] = replace(found[i], low=float(a), high=float(b))
    return found


def crossed_interval(
    differences: np.ndarray, resamples: int, random: np.random.Generator, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of the mean of each (S, N) of (C, S, N), over resamples of its S seeds and of its N
    documents, both drawn with replacement and independently."""
    cases, seeds, count = differences.shape
    if count == 0:
        return np.full(cases, np.nan), np.full(cases, np.nan)
    flat = differences.reshape(cases * seeds, count).T
    means = np.empty((resamples, cases))
    for rows in _chunks(resamples, count):
        size = rows.stop - rows.start
        of_documents = random.multinomial(count, np.full(count, 1 / count), size=size) @ flat / count
        of_seeds = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=size) / seeds  # (size, S)
        means[rows] = np.einsum("rcs,rs->rc", of_documents.reshape(size, cases, seeds), of_seeds)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return low, high
