"""Tables and legends of report.html."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


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


def legend(names: Iterable[tuple[str, str, bool]]) -> str:
    """names: (name, colour, dashed). A box hides the lines of that name in the section it stands in."""
    items = []
    for name, colour, dashed in names:
        name = escape(name, quote=True)
        key = f'<span class="key{" dashed" if dashed else ""}" style="border-color:{colour}"></span>'
        items.append(f'<li><label><input type="checkbox" checked value="{name}">{key}{name}</label></li>')
    return f'<ul class="legend">{"".join(items)}</ul>'
