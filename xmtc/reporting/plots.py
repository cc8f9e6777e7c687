"""Validation curves, and what heads add, as PNG. matplotlib is optional: `pip install 'xmtc[plots]'`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from xmtc.reporting.gains import Gain, numeric_key
from xmtc.reporting.runs import Run
from xmtc.reporting.tables import by_data

METRIC = "nDCG@5"
MOST_NAMED = 20  # a longer legend would hide the curves


def plot_curves(runs: Sequence[Run], output: Path) -> list[Path]:
    """One picture per dataset and hash: validation nDCG@5 against seconds and against steps. Returns what was written;
    runs without a validation point are left out. ImportError if matplotlib is not installed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # not pyplot: needs no display, keeps no global state
    from matplotlib.figure import Figure

    written = []
    for (dataset, sha), group in by_data(runs).items():
        curves = [(run, points) for run in group if (points := _points(run))]
        if not curves:
            continue
        figure = Figure(figsize=(11, 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, 2, sharey=True)
        for axis, column in zip(axes, ("seconds", "step")):
            for run, points in curves:
                x, y = [p[column] for p in points if column in p], [p[METRIC] for p in points if column in p]
                axis.plot(x, y, marker=".", linewidth=1.2, label=run.name)
            axis.set_xlabel("training seconds" if column == "seconds" else "steps")
            axis.grid(alpha=0.3)
        axes[0].set_ylabel(f"validation {METRIC} x 100")
        if len(curves) <= MOST_NAMED:
            axes[1].legend(fontsize="small")
        figure.suptitle(dataset)
        path = output / _name("curves", dataset, sha)
        figure.savefig(path, dpi=120, metadata={"Software": None})
        written.append(path)
    return written


def _points(run: Run) -> list[dict[str, float]]:
    """Validation points; the column may carry a prefix (`validation/nDCG@5`)."""
    points = []
    for row in run.curve():
        column = next((k for k in row if re.split(r"[/ ]", k)[-1] == METRIC), None)
        if column is not None:
            points.append({**{k: row[k] for k in ("seconds", "step") if k in row}, METRIC: 100 * row[column]})
    return points


def plot_gains(found: dict[tuple[str, str | None], Sequence[Gain]], output: Path) -> list[Path]:
    """One picture per dataset and hash: the gain of each head in test nDCG@5 against the setting of a cell with the
    most different numbers (the share of documents), a panel for each combination of the others. Bars: 95 %."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    written = []
    for (dataset, sha), gains in found.items():
        gains = [each for each in gains if each.metric == METRIC]
        if not gains:
            continue
        key = numeric_key(gains)
        panels: dict[tuple, list[Gain]] = {}
        for each in gains:
            panels.setdefault(tuple(part for part in each.cell if part[0] != key), []).append(each)
        same = set.intersection(*(set(panel) for panel in panels)) - {
            p for p in next(iter(panels)) if p[0] == "encoder"
        }
        columns = min(len(panels), 4)
        rows = -(-len(panels) // columns)
        figure = Figure(figsize=(3.6 * columns + 0.6, 3.2 * rows + 0.4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = iter(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
        heads = list(dict.fromkeys(each.head for each in gains))
        ticks = sorted({float(dict(each.cell)[key]) for each in gains}) if key else [0.0]
        for panel, inside in panels.items():
            axis = next(axes)
            axis.axhline(0, color="black", linewidth=0.8)
            for place, head in enumerate(heads):
                points = sorted(((_at(g, key, ticks), g) for g in inside if g.head == head), key=lambda point: point[0])
                shift = 0.09 * (place - (len(heads) - 1) / 2)
                x, y = [at + shift for at, _ in points], [100 * each.gain for _, each in points]
                bars = [[100 * (each.gain - each.low) for _, each in points],
                        [100 * (each.high - each.gain) for _, each in points]]  # fmt: skip
                axis.errorbar(x, y, yerr=bars, marker="o", markersize=4, linewidth=1.2, capsize=2, label=head)
            axis.set_xticks(range(len(ticks)), [f"{tick:g}" for tick in ticks])
            axis.set_xlabel(key or "")
            axis.set_title(", ".join(_told(part) for part in panel if part not in same), fontsize="small")
            axis.grid(alpha=0.3)
        for axis in axes:  # panels that are left over
            axis.set_visible(False)
        figure.axes[0].set_ylabel(f"gain in test {METRIC}, points")
        figure.axes[0].legend(fontsize="small")
        figure.suptitle(f"{dataset}: with a head minus without")
        path = output / _name("gains", dataset, sha)
        figure.savefig(path, dpi=120, metadata={"Software": None})
        written.append(path)
    return written


def _at(gain: Gain, key: str | None, ticks: Sequence[float]) -> int:
    return ticks.index(float(dict(gain.cell)[key])) if key else 0


def _told(part: tuple[str, str]) -> str:
    return part[1] if part[0] in ("encoder", "recipe") else f"{part[0].split('.')[-1]}={part[1]}"


def _name(what: str, dataset: str, sha: str | None) -> str:
    return f"{what}_{re.sub(r'[^A-Za-z0-9_.-]+', '_', dataset)}{'_' + sha[:8] if sha else ''}.png"
