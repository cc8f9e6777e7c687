"""Tables and legends of report.html."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from xmtc.reporting.styles import Style, key


def table(rows: Sequence[Sequence[str]], numbers_from: int, bad: Sequence[int] = ()) -> str:
    """rows: the header first. Columns from `numbers_from` on are sorted as numbers. bad: rows that did not finish."""
    words = {"", "run", "ours", "verdict"}  # headers of text wherever it stands
    kind = lambda c: ' class="number"' if c >= numbers_from and rows[0][c] not in words else ""  # noqa: E731
    head = "".join(f"<th{kind(c)}><button>{escape(cell) or 'better'}</button></th>" for c, cell in enumerate(rows[0]))
    body = []
    for index, row in enumerate(rows[1:]):
        cells = "".join(f"<td{kind(c)}>{escape(cell)}</td>" for c, cell in enumerate(row))
        marked = ' class="bad"' if index in bad else ""
        body.append(f"<tr{marked}>{cells}</tr>")
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def legend(names: Iterable[tuple[str, Style, bool]]) -> str:
    """names: (name, style, dashed). A box hides what has that name in the pictures of the section it stands in."""
    items = []
    for name, style, dashed in names:
        name = escape(name, quote=True)
        box = f'<input type="checkbox" checked value="{name}">'
        items.append(f"<li><label>{box}{key(style, dashed)}<span>{name}</span></label></li>")
    return f'<ul class="legend">{"".join(items)}</ul>'
