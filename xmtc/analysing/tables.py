"""Analyses as Markdown and as pictures. matplotlib is optional: `pip install 'xmtc[plots]'`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xmtc.analysing.cases import as_markdown

COUNTED = (
    "\nCounted: documents of the corpus' train part with the label, most to fewest, whatever share of them a run was "
    "trained on.\n"
)


def markdown(results: Sequence[dict]) -> str:
    """Tables of all runs, one row a run. Fractions are shown x 100, distances as they are."""
    first = results[0]
    parts = ["# Analysis\n", "\nTest documents; metrics x 100 but for hamming-loss, which is x 1000.\n"]
    names = list(first["sets"])
    rows = [
        [r["dataset"], r["name"], f"{r['threshold']:.4f}"]
        + [f"{(1000 if name == 'hamming-loss' else 100) * r['sets'][name]:.2f}" for name in names]
        for r in results
    ]
    parts.append(table("Label sets", ["dataset", "run", "threshold", *names], rows))
    rows = [
        [r["name"], *(f"{r['dependencies'][key]:.4f}" for key in ("sum", "by_label", "by_pair"))]
        + [str(r["diversity"]["predicted"][key]) for key in ("distinct", "empty")]
        + [str(r["diversity"]["gold"]["distinct"])]
        for r in results
    ]  # fmt: skip
    columns = ["run", "KL, sum", "KL, by label", "KL, by pair", "distinct sets", "empty sets", "distinct true sets"]
    parts.append(table("Conditional dependencies and label sets met", columns, rows))
    for (dataset, *heads), own in _by_groups(results).items():
        rows = [[r["name"], *(f"{100 * g['macro-F1']:.2f}" for g in r["groups"])] for r in own]
        parts.append(table(f"{dataset}: macro-F1 by frequency of a label, most frequent first", ["run", *heads], rows))
        parts.append(COUNTED)
    names = list(first["ranking"][""])
    rows = [
        [r["name"], subset or "all", str(r["documents"][subset]), *(_percent(values[name]) for name in names)]
        for r in results
        for subset, values in r["ranking"].items()
    ]
    parts.append(table("Documents by the frequency of their labels", ["run", "documents", "N", *names], rows))
    parts.append(
        f"\nHead labels: the {100 * first['head_share']:g} % most frequent. `head`: test documents with head labels "
        f"only; `tail`: with at most {first['max_head_labels']} of them. The same models, scored on some documents: "
        "`subset_of_test`.\n"
    )
    parts += [as_markdown(f"Case studies, {r['name']}", r["cases"], r["cases_note"]) for r in results]
    return "".join(parts)


def _by_groups(results: Sequence[dict]) -> dict[tuple[str, ...], list[dict]]:
    """(dataset, heading of each group) -> results: one dataset may have been prepared or cut in several ways."""
    found: dict[tuple[str, ...], list[dict]] = {}
    for r in results:
        heads = (f"{g['labels']} labels, {g['most']}-{g['fewest']}" for g in r["groups"])
        found.setdefault((r["dataset"], *heads), []).append(r)
    return found


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table under a heading."""
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return f"\n## {title}\n\n" + "\n".join(lines) + "\n"


def pictures(results: Sequence[dict], output: Path) -> list[Path]:
    """macro-F1 by frequency group, one picture for all runs; nothing where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure  # not pyplot: needs no display
    except ImportError:
        return []
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axis = figure.subplots()
    for result in results:
        scores = [100 * group["macro-F1"] for group in result["groups"]]
        axis.plot(range(1, len(scores) + 1), scores, marker="o", label=f"{result['dataset']} {result['name']}")
    axis.set_xticks(range(1, 1 + max(len(result["groups"]) for result in results)))
    axis.set_xlabel("group of labels, most frequent first")
    axis.set_ylabel("macro-F1 x 100")
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small")
    path = output / "groups.png"
    figure.savefig(path, dpi=120, metadata={"Software": None})
    return [path]
