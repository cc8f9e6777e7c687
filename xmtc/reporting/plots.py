"""Validation curves, and what heads add, as PNG. matplotlib is optional: `pip install 'xmtc[plots]'`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from xmtc.data.files import replaced
from xmtc.reporting.configurations import curve
from xmtc.reporting.gain_tables import panels
from xmtc.reporting.gains import Gain
from xmtc.reporting.styles import every, style
from xmtc.reporting.summary import Data
from xmtc.reporting.tables import of_data

METRIC = "nDCG@5"
MOST_NAMED = 20  # a longer legend would hide the curves


def plot_curves(data: Data, output: Path) -> list[Path]:
    """One picture per dataset and hash: validation nDCG@5 against seconds and against steps. Returns what was written;
    runs without a validation point are left out. ImportError if matplotlib is not installed."""
    from matplotlib.figure import Figure  # not pyplot: needs no display, keeps no global state

    written = []
    for (dataset, sha), configurations in data.items():
        runs = [(made.name_of(run), run) for made in configurations for run in made.runs]
        curves = [(name, run) for name, run in runs if curve(run, "step")]
        if not curves:
            continue
        named = len(curves) if len(curves) <= MOST_NAMED else 0
        figure = Figure(figsize=(11, 4.2 + 0.19 * -(-named // 2)), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        for axis, column in zip(axes, ("seconds", "step")):
            for index, (name, run) in enumerate(curves):
                points = curve(run, column)
                x, y = [at for at, _ in points], [100 * value for _, value in points]
                look = style(index)
                axis.plot(
                    x, y, color=look.colour, marker=look.mark, markersize=4, markevery=every(len(x)),
                    linewidth=1.2, label=name,
                )  # fmt: skip
            axis.set_xlabel("training seconds" if column == "seconds" else "steps")
            axis.grid(alpha=0.3)
        axes[0].set_ylabel(f"validation {METRIC} x 100")
        if named:
            figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize="small")
        figure.suptitle(f"{dataset}{of_data(sha)}")
        path = output / _name("curves", dataset, sha)
        _save(figure, path)
        written.append(path)
    return written


def plot_gains(found: dict[tuple[str, str | None], Sequence[Gain]], output: Path) -> list[Path]:
    """One picture per dataset and hash: the gain of each head in test nDCG@5 against the setting of a cell with the
    most different numbers (the share of documents), a panel for each combination of the others. Bars: 95 %."""
    from matplotlib.figure import Figure

    written = []
    for (dataset, sha), gains in found.items():
        shown = panels(gains)
        if not shown:
            continue
        columns = min(len(shown), 4)
        rows = -(-len(shown) // columns)
        figure = Figure(figsize=(max(3.6 * columns, 5.4) + 0.6, 3.2 * rows + 0.9), layout="constrained")
        axes = iter(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
        for panel in shown:
            axis = next(axes)
            axis.axhline(0, color="black", linewidth=0.8)
            for place, (head, points) in enumerate(panel.heads.items()):
                shift = 0.09 * (place - (len(panel.heads) - 1) / 2)
                there = [(x + shift, each) for x, each in enumerate(points) if each]
                x, y = [at for at, _ in there], [100 * each.gain for _, each in there]
                bars = [[100 * (each.gain - each.low) for _, each in there],
                        [100 * (each.high - each.gain) for _, each in there]]  # fmt: skip
                axis.errorbar(x, y, yerr=bars, marker="o", markersize=4, linewidth=1.2, capsize=2, label=head)
            axis.set_xticks(range(len(panel.values)), panel.values)
            axis.set_xlabel(panel.across)
            axis.set_title(panel.title, fontsize="small")
            axis.grid(alpha=0.3)
        for axis in axes:  # panels that are left over
            axis.set_visible(False)
        for row in range(rows):
            figure.axes[row * columns].set_ylabel(f"gain in test {METRIC}, points")
        named = figure.axes[0].get_legend_handles_labels()
        figure.legend(*named, loc="outside lower center", ncols=min(len(shown[0].heads), 3 * columns))
        figure.suptitle(f"{dataset}{of_data(sha)}: with a head minus without, 95 % intervals", fontsize="medium")
        path = output / _name("gains", dataset, sha)
        _save(figure, path)
        written.append(path)
    return written


def _save(figure, path: Path) -> None:
    with replaced(path) as temporary:
        figure.savefig(temporary, dpi=120, metadata={"Software": None}, format="png")


def _name(what: str, dataset: str, sha: str | None) -> str:
    return f"{what}_{re.sub(r'[^A-Za-z0-9_.-]+', '_', dataset)}{'_' + sha[:8] if sha else ''}.png"
