"""The part of report.html on what heads add: the tables of gain_tables.py, sortable, and their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from xmtc.reporting import gain_tables as tables
from xmtc.reporting.gains import MAIN, Gain
from xmtc.reporting.page_parts import legend, table
from xmtc.reporting.styles import Style, styles
from xmtc.reporting.svg import intervals


def gain_section(dataset: str, sha: str | None, found: Sequence[Gain]) -> str:
    heads = list(dict.fromkeys(each.head for each in found))
    styled = styles(heads)
    shown = legend((head, styled[head], False) for head in heads)
    glance, cells, binned = tables.glance_rows(found), tables.gain_rows(found), tables.frequency_rows(found)
    version = f'<span class="soft">{escape((sha or "")[:12])}</span>'
    parts = [f"<section><h2>{escape(dataset)}: what a head adds {version}</h2>"]
    parts.append(table(glance, glance[0].index("head") + 1))
    parts.append(f'<p class="soft">{escape(f"{tables.counted(found)[0]} {tables.PAIRED}")}</p>')
    parts.append("<ul>" + "".join(f"<li>{escape(sentence)}</li>" for sentence in tables.counted(found)[1:]) + "</ul>")
    parts.append(f'{shown}<div class="pictures">{"".join(_over_settings(found, styled))}</div>')
    if binned:
        parts.append(f"<h3>By label frequency</h3>{table(binned, binned[0].index('head') + 1)}")
        parts.append(f'<p class="soft">{escape(tables.BINNED)}</p>')
        parts.append(f'<div class="pictures">{"".join(_over_bins(found, styled))}</div>')
    parts.append(f"<h3>Cell by cell</h3>{table(cells, cells[0].index('head') + 1)}")
    parts.append(f'<p class="soft">{escape(tables.STEPS)}</p></section>')
    return "\n".join(parts)


def _over_settings(found: Sequence[Gain], styled: dict[str, Style]) -> list[str]:
    """A picture a panel, the same axis in all."""
    shown = tables.panels(found)
    y_range = _range([each for panel in shown for points in panel.heads.values() for each in points if each])
    made = []
    for panel in shown:
        rows = [(head, styled[head], [_points(each) for each in points]) for head, points in panel.heads.items()]
        words = f"{panel.title}: gain in {MAIN}, points"
        made.append(intervals(panel.values, rows, y_range, panel.across, words, words))
    return made


def _over_bins(found: Sequence[Gain], styled: dict[str, Style]) -> list[str]:
    """A picture a cell, from frequent labels to rare ones, the same axis in all."""
    bins, keys = tables.bins_of(found), tables.telling(found)
    shown = [each for each in found if each.metric in bins]
    cells: dict[tuple, dict[tuple[str, str], Gain]] = {}
    for each in shown:
        cells.setdefault(each.cell, {})[each.head, each.metric] = each
    y_range = _range(shown)
    made = []
    for cell, at in cells.items():
        heads = dict.fromkeys(head for head, _ in at)
        rows = [(head, styled[head], [_points(at.get((head, each))) for each in bins]) for head in heads]
        words = f"{tables.cell_title(cell, keys)}: gain in points"
        made.append(intervals(bins, rows, y_range, "labels by training frequency", words, words))
    return made


def _points(gain: Gain | None) -> tuple[float, float, float] | None:
    return None if gain is None else (100 * gain.low, 100 * gain.gain, 100 * gain.high)


def _range(found: Sequence[Gain]) -> tuple[float, float]:
    return 100 * min(each.low for each in found), 100 * max(each.high for each in found)
