"""How 24 configurations are told apart in one picture: by eight colours, and by a mark that changes with each.

Colours that share a mark differ by 33 or more in CIELAB (1976) among the first eight, seen with normal, deuteranopic,
protanopic or tritanopic eyes (Machado, Oliveira and Fernandes, IEEE TVCG 2009), any two by 17; all have a contrast of 3
or more on the page's light and dark ground.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

COLOURS = ("#1ea587", "#782dff", "#f0004b", "#b45a0f", "#69693c", "#0069b4", "#9678ff", "#a54b87")
MARKS = ("o", "s", "^")  # as matplotlib calls them; bars are full, striped, hollow
MOST_MARKED = 16  # points of a line: more marks would hide each other


@dataclass(frozen=True)
class Style:
    colour: str
    mark: str = MARKS[0]


def style(index: int) -> Style:
    """The first 24 differ: 3 and 8 have no common divisor."""
    return Style(COLOURS[index % len(COLOURS)], MARKS[index % len(MARKS)])


def styles(names: Iterable[str]) -> dict[str, Style]:
    return {name: style(index) for index, name in enumerate(names)}


def every(points: int) -> int:
    """Of how many points of a line one is marked."""
    return -(-points // MOST_MARKED) or 1


def mark(style: Style, x: float, y: float, radius: float = 3.0) -> str:
    """A point as SVG, in the colours of what it stands in."""
    if style.mark == "o":
        return f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"/>'
    if style.mark == "s":
        side = 1.8 * radius
        place = f'x="{x - side / 2:.1f}" y="{y - side / 2:.1f}"'
        return f'<rect class="mark" {place} width="{side:.1f}" height="{side:.1f}"/>'
    wide = 1.2 * radius
    return f'<path class="mark" d="M{x:.1f} {y - wide:.1f}L{x + wide:.1f} {y + 0.8 * wide:.1f}H{x - wide:.1f}Z"/>'


def bar(style: Style, left: float, top: float, width: float, height: float) -> str:
    """A bar as SVG, in the colours of what it stands in. No patterns: they would need names of their own in a page."""
    if style.mark == "s":
        middle, bottom = left + width / 2, top + height
        stripes = f'stroke-width="{width:.1f}" stroke-dasharray="4 2.5"'
        return f'<path fill="none" {stripes} d="M{middle:.1f} {bottom:.1f}V{top:.1f}"/>'
    looks = 'fill-opacity=".25" stroke-width="1.2"' if style.mark == "^" else 'stroke="none"'
    return f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" {looks}/>'


def key(style: Style, dashed: bool = False) -> str:
    """For a legend: its line and its bar."""
    dash = ' stroke-dasharray="5 3"' if dashed else ""
    line = f'<path fill="none" stroke-width="2"{dash} d="M0 7H26"/>'
    parts = f"{line}{mark(style, 13, 7, 4)}{bar(style, 32, 1, 7, 12)}"
    group = f'<g stroke="{style.colour}" fill="{style.colour}">{parts}</g>'
    return f'<svg class="key" viewBox="0 0 40 14" aria-hidden="true">{group}</svg>'
