"""What heads add, of all studies below a folder at a glance: a table and a picture from every gains.csv."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xmtc.data.files import replaced
from xmtc.reporting.gain_tables import PAIRED, _short
from xmtc.reporting.gains import DATA, MAIN, SAID
from xmtc.reporting.styles import style
from xmtc.reporting.tables import _table, of_data

PICTURE = "gains.png"
ALL = ("None", "")  # of a limit: there is none
READ = (
    f"Test {MAIN} × 100 without a head and what each head adds to it; bold: the whole 95 % interval lies on one side of"
    f" 0. {PAIRED} Cell by cell, with label frequencies and steps: `gains.csv` of each folder; what changes with the"
    " share of the documents: its `gains_*.png`."
)
Row = Mapping[str, str]


@dataclass(frozen=True)
class Cell:
    """One model in one setting, and the rows of its heads: {kind of head: rows of gains.csv}."""

    folder: str
    dataset: str
    encoder: str
    settings: tuple[str, ...]
    heads: Mapping[str, Sequence[Row]]

    @property
    def rows(self) -> list[Row]:
        return [row for each in self.heads.values() for row in each]


def studies(root: Path) -> list[str]:
    """Parts of a Markdown page; none where nothing below `root` was kept by `xmtc.report --gains --into`."""
    cells = _cells(root)
    if not cells:
        return []
    heads = _kinds(cells)
    table = [["dataset", "encoder", "settings", "seeds", "none", *heads, "folder"]]
    for cell in cells:
        seeds = "–".join(map(str, sorted({int(row["seeds"]) for row in cell.rows})))
        plain = " / ".join(dict.fromkeys(f"{100 * float(row['plain']):.2f}" for row in cell.rows))
        gains = ["; ".join(map(_told, cell.heads.get(head, []))) for head in heads]
        table.append([cell.dataset, cell.encoder, " ".join(cell.settings), seeds, plain, *gains, cell.folder])
    picture = [f"![what heads add]({PICTURE})"] if (root / PICTURE).is_file() else []
    return ["## What heads add", *picture, READ, _table(table, right=(3, 4))]


def plot_studies(root: Path) -> None:
    """ROOT/gains.png: a line a cell, its heads' gains and 95 % intervals. ImportError if matplotlib is missing."""
    from matplotlib.figure import Figure

    cells = _cells(root)
    if not cells:
        return
    figure = Figure(figsize=(10, 1.4 + 0.32 * len(cells)), layout="constrained")
    axis = figure.subplots()
    axis.axvline(0, color="black", linewidth=0.8)
    for place, head in enumerate(heads := _kinds(cells)):
        points = [(y, row) for y, cell in enumerate(cells) for row in cell.heads.get(head, [])]
        gains, low, high = ([100 * float(row[name]) for _, row in points] for name in ("gain", "low", "high"))
        bars = [[g - a for g, a in zip(gains, low)], [b - g for g, b in zip(gains, high)]]
        shift = 0.15 * (place - (len(heads) - 1) / 2)
        look = style(place)
        axis.errorbar(
            gains, [y + shift for y, _ in points], xerr=bars, color=look.colour, marker=look.mark, markersize=4,
            linestyle="none", linewidth=1.2, capsize=2, label=head,
        )  # fmt: skip
    axis.set_yticks(range(len(cells)), [" ".join([c.dataset, c.encoder, *c.settings]) for c in cells], fontsize="small")
    axis.invert_yaxis()
    axis.set_xscale("symlog", linthresh=1)
    axis.margins(x=0.1, y=0.02)
    axis.set_xticks(ticks := [-1, -0.5, 0, 0.5, 1, 2, 5, 10, 20, 40], [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.set_xlabel(f"gain of a head in test {MAIN}, points, 95 % intervals")
    figure.legend(loc="outside upper center", ncols=len(heads))
    with replaced(root / PICTURE) as temporary:
        figure.savefig(temporary, dpi=120, metadata={"Software": None}, format="png")


def _cells(root: Path) -> list[Cell]:
    """Those of like settings together, the smaller share of the documents first."""
    found: dict[tuple[str, str, str], dict[str, list[Row]]] = {}
    for path in sorted(root.rglob("gains.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["metric"] == MAIN]
        versions = Counter(name for name, _ in {(row["dataset"], row["dataset_sha256"]) for row in rows})
        for row in rows:
            dataset = row["dataset"] + (of_data(row["dataset_sha256"]) if versions[row["dataset"]] > 1 else "")
            key = (path.parent.relative_to(root).as_posix(), dataset, row["cell"])
            found.setdefault(key, {}).setdefault(row["head"].split(" ")[0], []).append(row)
    cells = []
    for (folder, dataset, cell), heads in found.items():
        settings = dict(re.findall(r"([^\s=]+)=(alike\(.*\)|\[.*?\]|\S*)", cell))
        share = [math.inf if settings[key] in ALL else float(settings[key]) for key in DATA if key in settings]
        rest = [(key, settings[key]) for key in settings if key not in ("encoder", "recipe")]
        rest.sort(key=lambda one: SAID.index(one[0]) if one[0] in SAID else len(SAID))
        told = tuple(f"{_short(key)}={value}" for key, value in rest)
        order = (told[len(share) :], dataset, settings["encoder"], share)
        cells.append((order, Cell(folder, dataset, settings["encoder"], told, heads)))
    return [cell for _, cell in sorted(cells, key=lambda one: one[0])]


def _kinds(cells: Sequence[Cell]) -> list[str]:
    """Those of most cells first."""
    heads = list(dict.fromkeys(head for cell in cells for head in cell.heads))
    return sorted(heads, key=lambda head: -sum(head in cell.heads for cell in cells))


def _told(row: Row) -> str:
    gain, low, high = (100 * float(row[name]) for name in ("gain", "low", "high"))
    mark = "**" if low > 0 or high < 0 else ""
    own = [row["head"].partition(" ")[2], row.get("besides", "")]
    return " ".join(filter(None, [f"{mark}{gain:+.2f}{mark} ({low:+.2f} … {high:+.2f})", *own]))
