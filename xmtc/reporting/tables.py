"""Runs as Markdown tables and as rows of results.csv."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence

from xmtc.reporting.runs import Run

SHOWN = ("P@1", "P@3", "P@5", "nDCG@3", "nDCG@5")
BEFORE = ("dataset", "encoder", "head", "recipe", "seed")
AFTER = (
    "steps", "train_seconds", "peak_memory_bytes", "parameters", "device", "precision", "commit", "dataset_sha256",
    "command",
)  # fmt: skip


def by_data(runs: Iterable[Run]) -> dict[tuple[str, str | None], list[Run]]:
    """{(dataset, sha256): runs}. Numbers from different data never share a table. An incomplete run does not know its
    data's hash; it stands with the others of its dataset if they all agree on one."""
    runs = list(runs)
    hashes: dict[str, set[str]] = {}
    for run in runs:
        if run.dataset_sha256:
            hashes.setdefault(run.dataset, set()).add(run.dataset_sha256)
    groups: dict[tuple[str, str | None], list[Run]] = {}
    for run in runs:
        sha, known = run.dataset_sha256, hashes.get(run.dataset, set())
        if sha is None and not run.complete and len(known) == 1:
            sha = next(iter(known))
        groups.setdefault((run.dataset, sha), []).append(run)
    return dict(sorted(groups.items(), key=lambda item: (item[0][0], item[0][1] or "~")))


def of_data(sha: str | None) -> str:
    """What a heading says of the version of its data, behind the data set's name."""
    return f" (data {sha[:12]})" if sha else ""


def markdown(runs: Iterable[Run]) -> str:
    """One table per dataset and hash: metrics x 100 with two decimals, the most-frequent-labels floor last, that of
    all documents where one of the runs has it."""
    parts = []
    for (dataset, sha), group in by_data(runs).items():
        rows = run_rows(group)
        floors = [run.floor for run in sorted(group, key=lambda run: not run.of_all_documents) if run.floor]
        if floors:
            rows.append([dataset, "most frequent labels", "", *(_percent(floors[0].get(m)) for m in SHOWN), "", ""])
        title = f"## {dataset}{of_data(sha) or ' (data unknown)'}"
        parts.append(f"{title}\n\n{_table(rows, right=range(3, 4 + len(SHOWN)))}")
    return "\n\n".join(parts) + "\n"


def run_rows(runs: Iterable[Run]) -> list[list[str]]:
    """Header and a row a run."""
    return [["dataset", "encoder", "head", *SHOWN, "train seconds", "run"], *map(_row, runs)]


def _row(run: Run) -> list[str]:
    if not run.complete:
        scores = [run.state] + [""] * (len(SHOWN) - 1)
    else:
        scores = [_percent(run.test.get(metric)) for metric in SHOWN]
    seconds = run.facts.get("train_seconds")
    return [
        run.dataset,
        run.encoder,
        run.head,
        *scores,
        f"{seconds:,.0f}" if _is_number(seconds) else "",
        str(run.folder),
    ]


def _percent(value: float | None) -> str:
    return f"{100 * value:.2f}" if _is_number(value) else ""


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _table(rows: Sequence[Sequence[str]], right: Iterable[int]) -> str:
    """Columns padded, so that the Markdown reads as a table in a terminal too."""
    right = set(right)
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(3, *(len(row[c]) for row in cells)) for c in range(len(cells[0]))]
    rule = ["-" * (w - 1) + ":" if c in right else "-" * w for c, w in enumerate(widths)]
    lines = [cells[0], rule, *cells[1:]]
    return "\n".join(
        "| " + " | ".join(x.rjust(w) if c in right else x.ljust(w) for c, (x, w) in enumerate(zip(line, widths))) + " |"
        for line in lines
    )


def results_csv(runs: Iterable[Run]) -> str:
    """results.csv: a line a complete run, the metrics under their names as fractions, in full precision."""
    runs = [run for run in runs if run.complete]
    metrics = list(dict.fromkeys(metric for run in runs for metric in run.test))
    rows: list[list] = [[*BEFORE, *metrics, *AFTER]]
    for run in runs:
        facts = {**run.facts, "dataset_sha256": run.dataset_sha256}
        rows.append([*(getattr(run, key) for key in BEFORE), *map(run.test.get, metrics), *map(facts.get, AFTER)])
    return csv_text(rows)


def csv_text(rows: Iterable[Sequence]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
