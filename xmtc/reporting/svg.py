"""Curves and bars as inline SVG: one file, no script needed to see them, sharp on a phone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from xmtc.reporting.styles import Style, bar, every, mark

WIDTH, HEIGHT = 640, 340
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 40


@dataclass
class Line:
    """points: (x, y). dashed: for models without a head, as the papers draw them."""

    name: str
    points: list[tuple[float, float]]
    style: Style
    dashed: bool = False


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers within [low, high]."""
    span = high - low
    if span <= 0:
        return [low]
    step = 10 ** math.floor(math.log10(span / count))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= count)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 10) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def curves(lines: Sequence[Line], x_label: str, y_label: str, title: str) -> str:
    """Line chart; empty without points. Each line is a group with its name, for the page's legend."""
    points = [point for line in lines for point in line.points]
    if not points:
        return ""
    (x0, x1), (y0, y1) = ((min(values), max(values)) for values in zip(*points))
    x0 = min(0.0, x0)
    y1 += (y1 - y0 or 1) * 0.04
    across = lambda x: LEFT + (x - x0) / ((x1 - x0) or 1) * (WIDTH - LEFT - RIGHT)  # noqa: E731
    down = lambda y: HEIGHT - BOTTOM - (y - y0) / ((y1 - y0) or 1) * (HEIGHT - TOP - BOTTOM)  # noqa: E731
    parts = _frame(title)
    for y in ticks(y0, y1):
        parts.append(f'<path class="grid" d="M{LEFT} {down(y):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{down(y) + 4:.1f}" text-anchor="end">{y:g}</text>')
    for x in ticks(x0, x1):
        parts.append(f'<text x="{across(x):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{x:,g}</text>')
    for line in lines:
        path = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in line.points)
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        marked = line.points[:: every(len(line.points))]
        marks = "".join(mark(line.style, across(x), down(y)) for x, y in marked)
        curve = f'<polyline fill="none" stroke-width="1.8"{dash} points="{path}"/>{marks}'
        parts.append(_named("line", line.name, line.style, line.name, curve))
    return "".join([*parts, *_labels(x_label, y_label), "</svg>"])


def bars(
    groups: Sequence[str], rows: Sequence[tuple[str, Style, Sequence[float | None]]], y_label: str, title: str
) -> str:
    """Grouped bars from 0; rows: (name, style, a value for each group or None). Each bar is a group with its row's
    name, for the page's legend."""
    values = [value for _, _, each in rows for value in each if value is not None]
    if not values:
        return ""
    top = max(values) * 1.05 or 1.0
    down = lambda y: HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM)  # noqa: E731
    parts = _frame(title)
    for y in ticks(0, top):
        parts.append(f'<path class="grid" d="M{LEFT} {down(y):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{down(y) + 4:.1f}" text-anchor="end">{y:g}</text>')
    wide = (WIDTH - LEFT - RIGHT) / len(groups)
    each_wide = wide * 0.84 / len(rows)
    for index, group in enumerate(groups):
        start = LEFT + index * wide + wide * 0.08
        middle = LEFT + (index + 0.5) * wide
        parts.append(f'<text x="{middle:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{escape(group)}</text>')
        for number, (name, style, each) in enumerate(rows):
            if (value := each[index]) is None:
                continue
            height = HEIGHT - BOTTOM - down(value)
            drawn = bar(style, start + number * each_wide, down(value), each_wide * 0.9, height)
            parts.append(_named("bar", name, style, f"{name}, {group}: {value:.2f}", drawn))
    return "".join([*parts, *_labels("labels by training frequency", y_label), "</svg>"])


def intervals(
    groups: Sequence[str],
    rows: Sequence[tuple[str, Style, Sequence[tuple[float, float, float] | None]]],
    y_range: tuple[float, float],
    x_label: str,
    y_label: str,
    title: str,
) -> str:
    """Points with their intervals, joined from group to group; rows: (name, style, (low, middle, high) for each group
    or None). y_range: low and high of the axis, for pictures that stand beside each other; 0 is drawn within it. Each
    row is a group with its name, for the page's legend."""
    low, high = min(y_range[0], 0.0), max(y_range[1], 0.0)
    low, high = low - 0.04 * (high - low or 1), high + 0.04 * (high - low or 1)
    down = lambda y: HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM)  # noqa: E731
    wide = (WIDTH - LEFT - RIGHT) / max(len(groups), 1)
    parts = _frame(title)
    for y in ticks(low, high):
        parts.append(f'<path class="{"axis" if y == 0 else "grid"}" d="M{LEFT} {down(y):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{down(y) + 4:.1f}" text-anchor="end">{y:g}</text>')
    for index, group in enumerate(groups):
        middle = LEFT + (index + 0.5) * wide
        parts.append(f'<text x="{middle:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{escape(group)}</text>')
    for number, (name, style, each) in enumerate(rows):
        shift = (number - (len(rows) - 1) / 2) * min(14.0, wide * 0.7 / max(len(rows), 1))
        places = [(LEFT + (index + 0.5) * wide + shift, point) for index, point in enumerate(each) if point]
        line = " ".join(f"{x:.1f},{down(point[1]):.1f}" for x, point in places)
        inside = [f'<polyline fill="none" stroke-width="1.2" stroke-opacity=".5" points="{line}"/>']
        for x, (bottom, middle, top) in places:
            ends = "".join(f"M{x - 4:.1f} {down(y):.1f}h8" for y in (bottom, top))
            bar = f"M{x:.1f} {down(bottom):.1f}V{down(top):.1f}{ends}"
            inside.append(f'<path fill="none" stroke-width="1.6" d="{bar}"/>')
            inside.append(mark(style, x, down(middle), 3.5))
        parts.append(_named("line", name, style, name, "".join(inside)))
    return "".join([*parts, *_labels(x_label, y_label), "</svg>"])


def _named(kind: str, name: str, style: Style, title: str, inside: str) -> str:
    """A part of a picture that the legend shows and hides by its name. title: seen where one points at it."""
    looks = f'stroke="{style.colour}" fill="{style.colour}"'
    name = escape(name, quote=True)
    return f'<g class="{kind}" data-name="{name}" {looks}><title>{escape(title)}</title>{inside}</g>'


def _frame(title: str) -> list[str]:
    return [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title, quote=True)}">']


def _labels(x_label: str, y_label: str) -> list[str]:
    middle = (HEIGHT - BOTTOM + TOP) / 2
    return [
        f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>',
        f'<text x="{(WIDTH + LEFT) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text transform="translate(13 {middle:.0f}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>',
    ]
