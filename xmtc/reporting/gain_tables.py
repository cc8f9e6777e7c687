"""What heads add (gains.py) as tables: at a glance, cell by cell, by label frequency, and as rows of gains.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from statistics import fmean

from xmtc.reporting.gains import DATA, MAIN, Gain
from xmtc.reporting.tables import _table, of_data

Found = Mapping[tuple[str, str | None], Sequence[Gain]]
PAIRED = (
    "Intervals (95 %) resample seeds and documents at once (with one seed: documents alone) and are not corrected for"
    " their number."
)
STEPS = (
    "Steps: until 95 % of the plain run's last validation nDCG@5, at the evaluations there were; empty where a curve"
    " was not kept."
)
BINNED = (
    "nDCG@5 of the labels of a bin alone, over the documents that have one; head: the 10 % most frequent labels, torso:"
    " the next 40 %, tail: the rest."
)


def verdict(gain: Gain) -> str:
    return "helps" if gain.low > 0 else "hurts" if gain.high < 0 else ""


def told(gain: Gain) -> str:
    """`+0.41 (+0.12 … +0.70) helps`, in points."""
    interval = f"({100 * gain.low:+.2f} … {100 * gain.high:+.2f})"
    return " ".join(filter(None, [f"{100 * gain.gain:+.2f}", interval, verdict(gain)]))


def telling(found: Sequence[Gain]) -> list[str]:
    """The parts of a cell that are not the same everywhere, the encoder in any case."""
    keys = list(dict.fromkeys(key for each in found for key, _ in each.cell))
    return [key for key in keys if key == "encoder" or len({dict(each.cell).get(key) for each in found}) > 1]


def axes(found: Sequence[Gain]) -> tuple[str | None, list[str], list[str]]:
    """The part of a cell that has the most different values, all of them numbers (null if none varies); the others
    that are not the same everywhere; the values of the first, [""] of null."""
    values = {key: {dict(each.cell).get(key, "") for each in found} for key in telling(found)}
    numbers = {key: len(each) for key, each in values.items() if len(each) > 1 and all(map(_is_number, each))}
    across = max(numbers, key=lambda key: numbers[key]) if numbers else None
    return across, [key for key in values if key != across], sorted(values[across], key=float) if across else [""]


def _is_number(text: str) -> bool:
    try:
        return float(text) == float(text)
    except ValueError:
        return False


@dataclass(frozen=True)
class Panel:
    """One picture of gains: what its cells have in common and those of other panels have not, the setting along its x,
    the values there, and {head: the gain at each value, or none}."""

    title: str
    across: str
    values: list[str]
    heads: dict[str, list[Gain | None]]


def panels(found: Sequence[Gain]) -> list[Panel]:
    """A panel for each combination of the settings but the one with the most different numbers, which goes along x."""
    shown = of_main(found)
    across, down, values = axes(shown)
    cells: dict[str, list[Gain]] = {}
    for each in shown:
        cells.setdefault(cell_title(each.cell, down), []).append(each)
    heads = list(dict.fromkeys(each.head for each in shown))
    made = []
    for title, inside in cells.items():
        at = {(each.head, dict(each.cell)[across] if across else ""): each for each in inside}
        made.append(Panel(title, across or "", values, {h: [at.get((h, value)) for value in values] for h in heads}))
    return made


def cell_title(cell: Sequence[tuple[str, str]], keys: Sequence[str]) -> str:
    """`bow, prior_bias=True`: those of its settings."""
    shown = {key: value for key, value in cell if key in keys}
    return ", ".join(
        value if key in ("encoder", "recipe") else f"{_short(key)}={value}" for key, value in shown.items()
    )


def of_main(found: Sequence[Gain]) -> list[Gain]:
    return [each for each in found if each.metric == MAIN]


def bins_of(found: Sequence[Gain]) -> list[str]:
    """The metrics by label frequency, most frequent labels first."""
    return list(dict.fromkeys(each.metric for each in found if each.metric.startswith(f"{MAIN}/")))


def glance_rows(found: Sequence[Gain]) -> list[list[str]]:
    """Header and a row an encoder, head and whatever else differs; a column for each value of the numbers that differ
    most, such as the share of the training documents. Gains in points, their intervals and what these say."""
    shown = of_main(found)
    across, down, values = axes(shown)
    rows: dict[tuple, dict[str, str]] = {}
    for each in shown:
        cell = dict(each.cell)
        name = (*(cell.get(key, "") for key in down), each.head)
        rows.setdefault(name, {})[cell[across] if across else ""] = told(each)
    head = [f"{_short(across)} {value}" if across else f"gain in {MAIN}" for value in values]
    body = [[*name, *(row.get(value, "") for value in values)] for name, row in sorted(rows.items())]
    return [[*map(_short, down), "head", *head], *body]


def gain_rows(found: Sequence[Gain]) -> list[list[str]]:
    """Header and a row a cell and head, in points."""
    shown = of_main(found)
    keys = telling(shown)
    rows = [[*map(_short, keys), "head", "seeds", f"{MAIN} without", "with", "gain",
             "95 % interval", "verdict", "steps without", "with"]]  # fmt: skip
    for each in shown:
        cell = dict(each.cell)
        numbers = [f"{100 * each.plain:.2f}", f"{100 * each.score:.2f}", f"{100 * each.gain:+.2f}"]
        steps = ["never" if step is None else "" if isnan(step) else f"{step:,.0f}" for step in each.steps]
        interval = f"{100 * each.low:+.2f} … {100 * each.high:+.2f}"
        rows.append([*(cell.get(key, "") for key in keys), each.head, str(each.seeds), *numbers, interval,
                     verdict(each), *steps])  # fmt: skip
    return rows


def frequency_rows(found: Sequence[Gain]) -> list[list[str]]:
    """Header and a row a cell and head: the gain in each bin of label frequency. Empty if no run says its labels."""
    bins = bins_of(found)
    if not bins:
        return []
    keys = telling(found)
    rows: dict[tuple, dict[str, str]] = {}
    for each in found:
        if each.metric in bins:
            name = (*(dict(each.cell).get(key, "") for key in keys), each.head)
            rows.setdefault(name, {})[each.metric] = told(each)
    return [
        [*map(_short, keys), "head", *bins],
        *([*name, *(row.get(b, "") for b in bins)] for name, row in rows.items()),
    ]


def _short(key: str) -> str:
    return key.split(".")[-1]


def counted(found: Sequence[Gain]) -> list[str]:
    """Sentences: in how many cells heads help and hurt, all of them and each."""
    shown = of_main(found)
    counts = {word: sum(verdict(each) == word for each in shown) for word in ("helps", "hurts")}
    said = [
        f"Test nDCG@5 × 100, paired by seed and document; {len(shown)} cells: the interval is above 0 in"
        f" {counts['helps']} and below 0 in {counts['hurts']}."
    ]
    for head in dict.fromkeys(each.head for each in shown):
        own = [each for each in shown if each.head == head]
        helps, hurts = (sum(verdict(each) == word for each in own) for word in ("helps", "hurts"))
        mean = 100 * fmean(each.gain for each in own)
        said.append(f"{head}: {mean:+.2f} on average, helps in {helps} and hurts in {hurts} of {len(own)}.")
    for head, other in dict.fromkeys((each.head, besides(each)) for each in shown if each.besides):
        said.append(f"{head} was trained with {other}, as its recipe has it: what it adds may be that.")
    return said


def besides(gain: Gain) -> str:
    """`lr 0.001 for 0.003`: settings that the runs with the head had, and those without."""
    return ", ".join(f"{_short(key)} {ours} for {plain}" for key, (plain, ours) in gain.besides.items())


def markdown_glance(dataset: str, sha: str | None, found: Sequence[Gain], level: int = 2) -> str:
    """The answer in one table, and how to read it. sha: of the data."""
    rows = glance_rows(found)
    same = [key for key in DATA if key not in telling(found) and key in dict(found[0].cell)]
    title = ", ".join([dataset, *(f"{_short(key)} {dict(found[0].cell)[key]}" for key in same)])
    text = f"{'#' * level} {title}: what a head adds{of_data(sha)}\n\n{_table(rows, right=())}"
    return f"{text}\n\n{counted(found)[0]} {PAIRED}\n\n" + "\n".join(f"* {sentence}" for sentence in counted(found)[1:])


def markdown_gains(found: Found) -> str:
    parts = []
    for (dataset, sha), each in found.items():
        if not each:
            continue
        parts.append(markdown_glance(dataset, sha, each))
        rows = gain_rows(each)
        wide = len(rows[0])
        parts.append(f"### Cell by cell\n\n{_table(rows, right=range(wide - 8, wide))}\n\n{STEPS}")
        if rows := frequency_rows(each):
            parts.append(f"### By label frequency\n\n{_table(rows, right=())}\n\n{BINNED}")
    return "\n\n".join(parts) + "\n" if parts else ""


def gains_csv_rows(found: Found) -> list[list]:
    """A line a cell, head and metric, as fractions, in full precision."""
    rows: list[list] = [["dataset", "dataset_sha256", "cell", "head", "metric", "plain", "with_head", "gain", "low",
                         "high", "seeds", "documents", "steps_plain", "steps_with_head", "besides"]]  # fmt: skip
    for (dataset, sha), each in found.items():
        for g in each:
            cell = " ".join(f"{key}={value}" for key, value in g.cell)
            numbers = [g.plain, g.score, g.gain, g.low, g.high, g.seeds, g.documents]
            steps = ["" if step is None or isnan(step) else step for step in g.steps]
            rows.append([dataset, sha or "", cell, g.head, g.metric, *numbers, *steps, besides(g)])
    return rows
