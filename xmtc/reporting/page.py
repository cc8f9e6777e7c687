"""report.html: everything of a report in one file that asks nothing of the network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from xmtc.reporting.beside import printed_rows
from xmtc.reporting.configurations import Configuration, curve
from xmtc.reporting.gain_page import gain_section
from xmtc.reporting.gain_tables import Found
from xmtc.reporting.page_parts import legend, table
from xmtc.reporting.printed import Printed
from xmtc.reporting.significance import Comparison
from xmtc.reporting.styles import Style, styles
from xmtc.reporting.summary import Data, comparison_rows, summary_rows
from xmtc.reporting.svg import Line, bars, curves
from xmtc.reporting.tables import run_rows

BINS = ("head", "torso", "tail")
BINNED = ("P@5", "nDCG@5", "R@5")
MEANS = (
    "Test metrics × 100 ± standard deviation over seeds. Steps to 95 %: of the first evaluation at 95 % of the run's"
    " own last validation nDCG@5. A click on a column sorts by it."
)
DIFFERENCES = (
    "First minus second, points; paired bootstrap; sign-flip permutation test, corrected by Holm over {} comparisons;"
    " the last column names the better one where the corrected p is below 0.05."
)


def page(
    data: Data,
    comparisons: dict[tuple, list[Comparison]],
    printed: Sequence[Printed],
    quality: float | None = None,
    added: Found | None = None,
) -> str:
    """added: what heads add, for a page that opens with it."""
    body = [gain_section(*key, found) for key, found in (added or {}).items() if found]
    body += [_section(*key, made, comparisons.get(key) or [], quality) for key, made in data.items()]
    if printed:
        body.append(f"<section><h2>Beside the printed numbers</h2>{table(printed_rows(printed), 3)}")
        body.append('<p class="soft">Printed / ours (difference), points.</p><ul>')
        body += [f"<li>{escape(source)}</li>" for source in dict.fromkeys(row.source for row in printed if row.source)]
        body.append("</ul></section>")
    template = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    return template.replace("<!--BODY-->", "\n".join(body))


def _section(
    dataset: str,
    sha: str | None,
    configurations: list[Configuration],
    found: list[Comparison],
    quality: float | None,
) -> str:
    first = 4 if any(each.settings for each in configurations) else 3
    parts = [f'<section><h2>{escape(dataset)} <span class="soft">{escape((sha or "data unknown")[:12])}</span></h2>']
    parts.append(f"<h3>Means over seeds</h3>{table(summary_rows(configurations, quality), first)}")
    parts.append(f'<p class="soft">{MEANS}</p>')
    styled = styles(each.name for each in configurations)
    lines = [picture for column in ("step", "seconds") if (picture := _curves(configurations, styled, column))]
    binned = [picture for metric in BINNED if (picture := _bins(configurations, styled, metric))]
    if lines or binned:
        parts.append(legend((each.name, styled[each.name], each.head == "none") for each in configurations))
    if lines:
        parts.append(f'<h3>Learning curves</h3><div class="pictures">{"".join(lines)}</div>')
    if binned:
        parts.append(f'<h3>By label frequency</h3><div class="pictures">{"".join(binned)}</div>')
        parts.append('<p class="soft">Head: the 10 % most frequent labels, torso: the next 40 %, tail: the rest.</p>')
    if found:
        parts.append(f"<h3>Differences on the same documents</h3>{table(comparison_rows(found), 3)}")
        parts.append(f'<p class="soft">{DIFFERENCES.format(len(found))}</p>')
    runs = [run for each in configurations for run in (*each.runs, *each.copies)]
    bad = [index for index, run in enumerate(runs) if not run.complete]
    parts.append(f"<h3>Runs</h3>{table(run_rows(runs), 3, bad)}</section>")
    return "\n".join(parts)


def _curves(configurations: Sequence[Configuration], styled: dict[str, Style], column: str) -> str:
    lines = []
    for each in configurations:
        for run in each.runs:
            if points := [(at, 100 * value) for at, value in curve(run, column)]:
                lines.append(Line(each.name, points, styled[each.name], each.head == "none"))
    label = "steps" if column == "step" else "training seconds"
    return curves(lines, label, "validation nDCG@5", f"validation nDCG@5 by {label}")


def _bins(configurations: Sequence[Configuration], styled: dict[str, Style], metric: str) -> str:
    rows = []
    for each in configurations:
        means = [each.mean(f"{metric}/{name}") for name in BINS]
        if any(mean is not None for mean in means):
            rows.append((each.name, styled[each.name], [None if mean is None else 100 * mean for mean in means]))
    return bars(BINS, rows, metric, f"{metric} by label frequency")
