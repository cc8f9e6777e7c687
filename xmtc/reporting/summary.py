"""What a sweep says as a whole: means over seeds, comparisons and the papers' numbers, as Markdown, CSV and LaTeX."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from xmtc.reporting.beside import printed_rows
from xmtc.reporting.configurations import Configuration
from xmtc.reporting.printed import Printed
from xmtc.reporting.significance import Comparison
from xmtc.reporting.tables import SHOWN, _table, csv_text, of_data

MOST_PAIRS = 15  # more are in comparisons.csv; the table then shows those of one encoder

Data = dict[tuple[str, str | None], list[Configuration]]


def percent(mean: float | None, std: float | None = None) -> str:
    """`81.62 ± 0.13`"""
    return "" if mean is None else f"{100 * mean:.2f}" + (f" ± {100 * std:.2f}" if std is not None else "")


def whole(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def summary_rows(configurations: Sequence[Configuration], quality: float | None = None) -> list[list[str]]:
    """Header and a row a configuration: mean ± standard deviation over its seeds. quality: a validation nDCG@5 (as a
    fraction); adds the mean steps and seconds until it."""
    settings = any(each.settings for each in configurations)
    head = ["encoder", "head", *(["settings"] if settings else []), "recipe", "seeds", *SHOWN]
    reach = [] if quality is None else [f"steps to {100 * quality:g}", f"seconds to {100 * quality:g}"]
    rows = [[*head, "steps to 95 %", *reach, "steps", "seconds", "GiB", "parameters"]]
    for each in configurations:
        told = [" ".join(f"{key}={value}" for key, value in each.settings.items())] if settings else []
        unfinished = Counter(run.state for run in each.runs if not run.complete)
        counted = [f"{unfinished[state]} {state}" for state in sorted(unfinished)]
        seeds = str(len(each.complete)) + (f" (+{', '.join(counted)})" if counted else "")
        memory = each.fact("peak_memory_bytes")
        rows.append(
            [each.encoder, each.head, *told, each.recipe or "", seeds]
            + [percent(each.mean(metric), each.std(metric)) for metric in SHOWN]
            + [whole(each.until("step"))]
            + [whole(each.until(column, quality)) for column in ("step", "seconds")[: len(reach)]]
            + [whole(each.fact("steps")), whole(each.fact("train_seconds"))]
            + ["" if memory is None else f"{memory / 2**30:.2f}", whole(each.fact("parameters"))]
        )
    return rows


def worth_a_summary(configurations: Sequence[Configuration]) -> bool:
    return len(configurations) > 1 or any(len(each.runs) > 1 for each in configurations)


def comparison_rows(comparisons: Sequence[Comparison]) -> list[list[str]]:
    rows = [["first", "second", "metric", "difference", "95 % interval", "p", "p (Holm)", ""]]
    for each in comparisons:
        mark = "" if each.adjusted >= 0.05 else "first" if each.difference > 0 else "second"
        interval = f"{100 * each.low:+.2f} … {100 * each.high:+.2f}"
        numbers = [f"{100 * each.difference:+.2f}", interval, f"{each.p:.4f}", f"{each.adjusted:.4f}"]
        rows.append([each.first, each.second, each.metric, *numbers, mark])
    return rows


def shown_pairs(comparisons: Sequence[Comparison], configurations: Sequence[Configuration]) -> list[Comparison]:
    """All of them if they are few, else those within an encoder."""
    if len({(each.first, each.second) for each in comparisons}) <= MOST_PAIRS:
        return list(comparisons)
    encoder = {each.name: each.encoder for each in configurations}
    return [each for each in comparisons if encoder[each.first] == encoder[each.second]]


def markdown_summary(data: Data, comparisons: dict, printed: Sequence[Printed], quality: float | None = None) -> str:
    """Sections below the table of runs; empty where there is nothing to add to it."""
    parts = []
    for (dataset, sha), configurations in data.items():
        if not worth_a_summary(configurations):
            continue
        title = f"## {dataset}: means over seeds{of_data(sha)}"
        rows = summary_rows(configurations, quality)
        parts.append(f"{title}\n\n{_table(rows, right=range(rows[0].index('seeds'), len(rows[0])))}")
        parts.append(
            "± is the standard deviation over seeds. Steps to 95 %: of the first evaluation at 95 % of the run's own"
            " last validation nDCG@5."
        )
        found = comparisons.get((dataset, sha)) or []
        if found:
            shown = shown_pairs(found, configurations)
            table = _table(comparison_rows(shown), right=range(3, 7))
            parts.append(f"### Differences on the same {dataset} documents\n\n{table}")
            parts.append(
                "First minus second, points; paired bootstrap interval; two-sided sign-flip permutation test on the"
                f" documents' scores (averaged over seeds), Holm-corrected over all {len(found)} comparisons. The last"
                " column names the better one where the corrected p is below 0.05. Seeds vary on top of this."
            )
    if printed:
        parts.append(f"## Beside the printed numbers\n\n{_table(printed_rows(printed), right=range(3, 14))}")
        parts.append("Printed / ours (difference), in the paper's units; model_size_GB: ours is 4 bytes a parameter.")
        parts.append("\n".join(f"* {source}" for source in dict.fromkeys(row.source for row in printed if row.source)))
    return "\n\n".join(parts) + "\n" if parts else ""


def summary_csv(data: Data) -> str:
    """A line a configuration and metric, as fractions, in full precision."""
    rows = [["dataset", "dataset_sha256", "encoder", "head", "recipe", "settings", "metric", "mean", "std", "seeds"]]
    for (dataset, sha), configurations in data.items():
        for each in configurations:
            metrics = dict.fromkeys(metric for run in each.complete for metric in run.test)
            for metric in metrics:
                told = " ".join(f"{key}={value}" for key, value in each.settings.items())
                numbers = [each.mean(metric), each.std(metric), len(each.values(metric))]
                rows.append([dataset, sha or "", each.encoder, each.head, each.recipe or "", told, metric]
                            + ["" if number is None else number for number in numbers])  # fmt: skip
    return csv_text(rows)


def comparisons_csv(comparisons: dict) -> str:
    rows = [["dataset", "dataset_sha256", "first", "second", "metric", "difference", "low", "high", "p", "p_holm"]]
    for (dataset, sha), found in comparisons.items():
        for each in found:
            numbers = [each.difference, each.low, each.high, each.p, each.adjusted]
            rows.append([dataset, sha or "", each.first, each.second, each.metric, *numbers])
    return csv_text(rows)


def latex(data: Data) -> str:
    """A booktabs table a dataset, the best mean of each column in bold."""
    parts = []
    for (dataset, sha), configurations in data.items():
        best = {m: max((v for c in configurations if (v := c.mean(m)) is not None), default=None) for m in SHOWN}
        lines = [f"% {dataset}{of_data(sha)}"]
        lines += [r"\begin{tabular}{l" + "r" * len(SHOWN) + "}", r"\toprule"]
        lines += [" & ".join(["", *SHOWN]) + r" \\", r"\midrule"]
        for each in configurations:
            cells = [_escape(each.name)]
            for metric in SHOWN:
                mean, std = each.mean(metric), each.std(metric)
                text = "--" if mean is None else f"{100 * mean:.2f}"
                text = rf"\textbf{{{text}}}" if mean is not None and mean == best[metric] else text
                cells.append(text + (rf" \(\pm\) {100 * std:.2f}" if std is not None else ""))
            lines.append(" & ".join(cells) + r" \\")
        parts.append("\n".join([*lines, r"\bottomrule", r"\end{tabular}"]))
    return "\n\n".join(parts) + "\n"


def _escape(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(letter, "\\" + letter if letter in "&%$#_{}" else letter) for letter in text)
