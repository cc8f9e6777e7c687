"""What a head adds to the same model without one, cell by cell of a sweep: where it helps and where it hurts.

A cell is everything but the head and its own settings: corpus, encoder, recipe, share of the training documents, output
bias. Within a cell a run with the head and one without are paired when they have the same seed, and their scores on the
same test documents are subtracted. The interval resamples seeds and documents at once (Owen, "The pigeonhole
bootstrap", Annals of Applied Statistics 2007; somewhat wide by design): what other seeds and other documents would have
said. With one seed it is of the documents alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from xmtc.reporting.configurations import Configuration, quality_column, reached
from xmtc.reporting.documents import document_scores
from xmtc.reporting.runs import Run
from xmtc.reporting.significance import _chunks
from xmtc.reporting.tables import _table

SHOWN = ("P@1", "P@5", "nDCG@5")
OF_THE_HEAD = ("head", "recipe.lcenet", "recipe.head_lr_factor")
PLAIN = "none"
SHARE = 0.95  # of the plain run's last validation score: the quality to which steps are counted


@dataclass(frozen=True)
class Gain:
    """plain, head: mean test scores over the paired seeds, fractions. gain: head minus plain. low, high: its 95 %
    interval. steps: of plain and head to 95 % of plain's last validation nDCG@5, null where one never got there."""

    cell: tuple[tuple[str, str], ...]
    head: str
    metric: str
    plain: float
    score: float
    gain: float
    seeds: int
    documents: int
    steps: tuple[float | None, float | None]
    low: float = float("nan")
    high: float = float("nan")


def gains(configurations: Sequence[Configuration], resamples: int = 2000, seed: int = 0) -> list[Gain]:
    """Of every head in every cell that has a run without a head and one with it of the same seed. Costs the reading of
    all predictions once, and O(resamples N) random numbers for each size of the test set and of the seeds."""
    keys = _keys(configurations)
    cells: dict[tuple, dict[str, list[Run]]] = {}
    for each in configurations:
        settings = each.runs[0].settings
        cell = (("encoder", each.encoder), ("recipe", each.recipe or ""))
        cell += tuple((key, str(settings.get(key, ""))) for key in keys if not _of_the_head(key))
        own = [f"{key.split('.')[-1]}={settings[key]}" for key in keys if _of_the_head(key) and key in settings]
        name = PLAIN if each.head == PLAIN else " ".join([each.head, *own])
        cells.setdefault(cell, {}).setdefault(name, []).extend(each.complete)
    held: dict = {}
    found, differences = [], []
    for cell, heads in cells.items():
        for name, runs in heads.items():
            if name == PLAIN or PLAIN not in heads:
                continue
            pairs = _paired(heads[PLAIN], runs, held)
            for metric in SHOWN if pairs else ():
                plain, head = (np.stack([pair[i][metric] for _, _, *pair in pairs]) for i in (0, 1))  # (S, N)
                steps = _steps([(one, other) for one, other, *_ in pairs])
                means = float(plain.mean()), float(head.mean()), float((head - plain).mean())
                found.append(Gain(cell, name, metric, *means, *plain.shape, steps))
                differences.append(head - plain)
    return _with_intervals(found, differences, resamples, seed)


def _keys(configurations: Sequence[Configuration]) -> list[str]:
    """The settings that tell configurations of one head apart, of any head."""
    return list(dict.fromkeys(key for each in configurations for key in each.settings))


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


def _scores(run: Run, held: dict) -> tuple[Mapping[str, np.ndarray], bytes] | None:
    path = run.folder / "predictions.npz"
    if path not in held:
        held[path] = document_scores(path) if path.is_file() else None
    return held[path]


def _steps(pairs: Sequence[tuple[Run, Run]]) -> tuple[float | None, float | None]:
    """Mean steps of the plain runs and of those with the head until 95 % of the plain run's last validation score."""
    both: tuple[list, list] = ([], [])
    for plain, head in pairs:
        last = next((row[key] for row in reversed(plain.curve()) if (key := quality_column(row))), None)
        for found, run in zip(both, (plain, head)):
            found.append(None if last is None else reached(run, "step", quality=SHARE * last))
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


def verdict(gain: Gain) -> str:
    return "helps" if gain.low > 0 else "hurts" if gain.high < 0 else ""


def gain_rows(found: Sequence[Gain], metric: str = "nDCG@5") -> list[list[str]]:
    """Header and a row a cell and head, in points."""
    shown = [each for each in found if each.metric == metric]
    keys = _telling(shown)
    rows = [[*(key.split(".")[-1] for key in keys), "head", "seeds", f"{metric} without", "with", "gain",
             "95 % interval", "", "steps without", "with"]]  # fmt: skip
    for each in shown:
        cell = dict(each.cell)
        numbers = [f"{100 * each.plain:.2f}", f"{100 * each.score:.2f}", f"{100 * each.gain:+.2f}"]
        steps = ["never" if step is None else f"{step:,.0f}" for step in each.steps]
        interval = f"{100 * each.low:+.2f} … {100 * each.high:+.2f}"
        rows.append([*(cell.get(key, "") for key in keys), each.head, str(each.seeds), *numbers, interval,
                     verdict(each), *steps])  # fmt: skip
    return rows


def _telling(found: Sequence[Gain]) -> list[str]:
    """The parts of a cell that are not the same everywhere, the encoder in any case."""
    keys = list(dict.fromkeys(key for each in found for key, _ in each.cell))
    return [key for key in keys if key == "encoder" or len({dict(each.cell).get(key) for each in found}) > 1]


def numeric_key(found: Sequence[Gain]) -> str | None:
    """The part of a cell that has the most different values, all of them numbers; null if none varies."""
    values = {key: {dict(each.cell).get(key, "") for each in found} for key in _telling(found)}
    numbers = {key: len(each) for key, each in values.items() if len(each) > 1 and all(map(_is_number, each))}
    return max(numbers, key=lambda key: numbers[key]) if numbers else None


def _is_number(text: str) -> bool:
    try:
        return float(text) == float(text)
    except ValueError:
        return False


def markdown_gains(found: Mapping[tuple[str, str | None], Sequence[Gain]]) -> str:
    parts = []
    for (dataset, _), each in found.items():
        if not each:
            continue
        rows = gain_rows(each)
        wide = len(rows[0])
        parts.append(f"## {dataset}: what a head adds\n\n{_table(rows, right=range(wide - 8, wide))}")
        counts = {word: sum(verdict(g) == word for g in each if g.metric == "nDCG@5") for word in ("helps", "hurts")}
        total = sum(g.metric == "nDCG@5" for g in each)
        parts.append(
            f"Test nDCG@5 × 100, paired by seed and document; {total} cells: the interval is above 0 in"
            f" {counts['helps']} and below 0 in {counts['hurts']}. Intervals resample seeds and documents at once"
            " (with one seed: documents alone) and are not corrected for their number. Steps: until 95 % of the plain"
            " run's last validation nDCG@5, at the evaluations there were."
        )
    return "\n\n".join(parts) + "\n" if parts else ""


def gains_csv_rows(found: Mapping[tuple[str, str | None], Sequence[Gain]]) -> list[list]:
    """A line a cell, head and metric, as fractions, in full precision."""
    rows: list[list] = [["dataset", "dataset_sha256", "cell", "head", "metric", "plain", "with_head", "gain", "low",
                         "high", "seeds", "documents", "steps_plain", "steps_with_head"]]  # fmt: skip
    for (dataset, sha), each in found.items():
        for g in each:
            told = " ".join(f"{key}={value}" for key, value in g.cell)
            numbers = [g.plain, g.score, g.gain, g.low, g.high, g.seeds, g.documents]
            steps = ["" if step is None else step for step in g.steps]
            rows.append([dataset, sha or "", told, g.head, g.metric, *numbers, *steps])
    return rows
