"""`python -m xmtc.calibrate RUN`: probabilities that mean something, and thresholds for a purpose.

Fits temperature and isotonic maps on the run's validation predictions, over all labels and by frequency bin, keeps the
one with the smallest cross-fitted calibration error of the five best labels (or the one that is asked for), and writes
calibration.json into the run directory, where `xmtc.load` and `xmtc.predict` find it. Needs no weights and no corpus.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING

from xmtc.arguments import Arguments
from xmtc.entry import ended
from xmtc.errors import InputError
from xmtc.given import listed, path_of

if TYPE_CHECKING:
    from xmtc.calibration.file import Calibration

PRECISIONS = (0.5, 0.7, 0.8, 0.9, 0.95)


def calibrate(
    run: str | Path,
    method: str = "auto",
    by: str = "auto",
    precisions: Sequence[float] = PRECISIONS,
    counts: Sequence[float] = (),
) -> Calibration:
    """Writes calibration.json and returns what it holds. `report` has ECE@1, @5 and @K before and after.

    "after" is cross-fitted on validation: each half by a map fitted on the other. On test, which nothing is fitted on,
    it is the final map's. counts: mean labels a document to choose thresholds for; always also that of the validation
    documents. InputError: no such run, too few documents.
    """
    # torch: not for --help
    from xmtc.calibration.file import bins_of_labels
    from xmtc.calibration.fit import METHODS, SCOPES, cross_fitted, errors, fit, logits_of
    from xmtc.calibration.thresholds import choose, describe
    from xmtc.data.lists import read_lists
    from xmtc.labels import LabelTable

    folder = path_of(run, "run")
    if not folder.is_dir():
        raise InputError(f"{run}: there is no such run directory")
    labels, lists = LabelTable(folder / "labels.tsv"), read_lists(folder / "predictions_validation.npz")
    names, bins = bins_of_labels(labels)
    methods, scopes = _choices(method, METHODS, "method"), _choices(by, SCOPES, "by")
    precisions, counts = listed(precisions, "precision", "numbers"), listed(counts, "labels", "numbers")
    for precision in precisions:
        if not isinstance(precision, Real) or not 0 < precision <= 1:
            raise InputError(f"precision: expected a share from 0 to 1, got {precision!r}")
    for count in counts:
        if not isinstance(count, Real) or not 0 < count < math.inf:
            raise InputError(f"labels: expected a mean number of labels above 0, got {count!r}")
    after = {}
    for one in methods:
        for scope in scopes:
            probabilities = cross_fitted(lists, lambda part: fit(part, one, scope, names, bins))
            after[one, scope] = errors(probabilities, lists)
    shown = "ECE@5" if "ECE@5" in next(iter(after.values())) else list(next(iter(after.values())))[-1]
    chosen = min(after, key=lambda candidate: after[candidate][shown])
    calibration = fit(lists, *chosen, names, bins)
    probabilities = calibration(logits_of(lists.scores), lists.labels)
    mean = len(lists.gold.ids) / max(len(lists), 1)
    calibration.thresholds = choose(probabilities, lists, len(labels), precisions, [*counts, round(mean, 1)])
    calibration.report = {
        "documents": len(lists),
        "candidates": {"-".join(candidate): value[shown] for candidate, value in after.items()},
        "validation": {"before": errors(lists.scores, lists), "after": after[chosen]},
        "thresholds": {
            name: describe(value, probabilities, lists, len(labels)) for name, value in calibration.thresholds.items()
        },
    }
    if (folder / "predictions.npz").exists():
        test = read_lists(folder / "predictions.npz")
        mapped = calibration(logits_of(test.scores), test.labels)
        calibration.report["test"] = {"before": errors(test.scores, test), "after": errors(mapped, test)}
    calibration.save(folder)
    return calibration


def _choices(given: str, known: Sequence[str], key: str) -> Sequence[str]:
    if given != "auto" and given not in known:
        raise InputError(f"{key}={given}: unknown choice; choose from auto, {', '.join(known)}")
    return known if given == "auto" else [given]


def table(calibration: Calibration) -> str:
    """Markdown: calibration errors before and after, and what each threshold gives on validation."""
    report = calibration.report
    cuts = list(report["validation"]["before"])
    lines = [f"{calibration.method}, {calibration.by}; fitted on {report['documents']} validation documents", ""]
    lines += ["| calibration error x 100 | " + " | ".join(cuts) + " |", "|---|" + "---:|" * len(cuts)]
    for part in ("validation", "test"):
        for when, values in report.get(part, {}).items():
            cells = " | ".join(f"{100 * values[cut]:.2f}" for cut in cuts)
            lines.append(f"| {part}, {when} | {cells} |")
    columns = ("micro-P", "micro-R", "micro-F1", "macro-F1")
    lines += ["", "| threshold | value | " + " | ".join(columns) + " | labels |", "|---|" + "---:|" * 6]
    for name, value in calibration.thresholds.items():
        facts = report["thresholds"][name]
        cells = " | ".join(f"{100 * facts[column]:.2f}" for column in columns)
        lines.append(f"| {name} | {value:.4f} | {cells} | {facts['labels']:.2f} |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 2 with one line for what cannot be used; 130 and 141 as in xmtc/entry.py."""
    parser = Arguments(
        prog="python -m xmtc.calibrate",
        description=__doc__.split("\n\n")[1],
        examples=("RUN", "RUN --method isotonic --by bins", "RUN --precision 0.8 0.9 --labels 3 5"),
    )
    parser.add_argument("run", metavar="RUN", help="a run directory; calibration.json is written into it")
    parser.add_argument("--method", default="auto", metavar="NAME", help="auto, temperature or isotonic")
    parser.add_argument(
        "--by", default="auto", metavar="NAME", help="auto, global or bins (head, torso and tail labels apart)"
    )
    parser.add_argument("--precision", type=float, nargs="*", default=list(PRECISIONS), metavar="P",
                        help="choose a threshold for each of these precisions")  # fmt: skip
    parser.add_argument("--labels", type=float, nargs="*", default=[], metavar="N",
                        help="and for each of these mean numbers of labels a document, besides that of the validation "
                        "documents, for which one is always chosen")  # fmt: skip
    given = parser.parse_args(argv)
    wanted = given.run, given.method, given.by, given.precision, given.labels
    return ended("xmtc.calibrate", lambda: print(table(calibrate(*wanted))))


if __name__ == "__main__":
    raise SystemExit(main())
