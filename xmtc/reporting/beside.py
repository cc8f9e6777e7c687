"""Printed numbers and ours side by side, in the paper's names and units."""

from __future__ import annotations

from collections.abc import Sequence

from xmtc.reporting.configurations import Configuration
from xmtc.reporting.printed import Printed

MOST_TOLD = 4  # settings in which ours differs from a printed row
LEFT_OUT = ("nDCG@1", "n_gpus")  # nDCG@1 is P@1
# a paper's column: ours in metrics.json, what makes it the paper's unit, decimals
OURS = {
    "HL": ("hamming-loss", 1.0, 4),
    "Mi-P": ("micro-P", 100.0, 1), "Mi-R": ("micro-R", 100.0, 1), "Mi-F1": ("micro-F1", 100.0, 1),
    "Ma-P": ("macro-P", 100.0, 1), "Ma-R": ("macro-R", 100.0, 1), "Ma-F1": ("macro-F1", 100.0, 1),
    "subset_accuracy": ("subset-accuracy", 1.0, 3),
    "train_hours": ("train_seconds", 1 / 3600, 2),
    "model_size_GB": ("parameters", 4 / 1e9, 2),  # float32
    "KL_train": ("", 1.0, 2), "KL_test": ("", 1.0, 2), "C_test": ("", 1.0, 0),  # of xmtc.analyse
}  # fmt: skip
FACTS = ("train_seconds", "parameters")


def printed_rows(printed: Sequence[Printed]) -> list[list[str]]:
    """Header and a row a printed row: printed / ours (difference); `not run` where ours is to come."""
    columns = [each for each in dict.fromkeys(key for row in printed for key in row.values) if each not in LEFT_OUT]
    rows = [["dataset", "system", "ours", *columns]]
    for row in printed:
        for ours, other in row.matched or [(None, {})]:
            cells = [_beside(column, row.values.get(column), ours) for column in columns]
            documents = " ".join([row.dataset, *(word for word in row.settings if word.startswith("dataset."))])
            rows.append([documents, row.system, _ours(ours, other) if row.encoder else "", *cells])
    return rows


def _beside(column: str, value: float | None, ours: Configuration | None) -> str:
    """`78.60 / 79.11 ± 0.20 (+0.51)`; what is printed in tenths, or as a fraction, stays so."""
    name, scale, digits = OURS.get(column, (column, 100.0, 2))
    kind = ours.fact if ours and name in FACTS else ours.mean if ours else None
    mean, std = kind(name) if kind else None, ours.std(name) if ours and name not in FACTS else None
    text = "" if value is None else f"{value:.{digits}f}"
    if value is None or mean is None:
        return text
    spread = "" if std is None else f" ± {scale * std:.{digits}f}"
    return f"{text} / {scale * mean:.{digits}f}{spread} ({scale * mean - value:+.{digits}f})"


def _ours(ours: Configuration | None, other: dict) -> str:
    if ours is None:
        return "not run"
    count = len(ours.complete)
    # the worst of them comes first by name, too
    told = f"{count} seed{'s' if count > 1 else ''}" if count else min(run.state for run in ours.runs)
    if not other:
        return told
    words = [f"{key}={value}" for key, value in other.items()]
    return f"{told}, but {', '.join(words[:MOST_TOLD])}{', …' if len(words) > MOST_TOLD else ''}"
