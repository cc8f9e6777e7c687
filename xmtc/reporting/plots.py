"""Validation curves as PNG. matplotlib is optional: `pip install 'xmtc[plots]'`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

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
        path = output / f"curves_{re.sub(r'[^A-Za-z0-9_.-]+', '_', dataset)}{'_' + sha[:8] if sha else ''}.png"
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
