"""`python -m xmtc.ensemble RUN RUN …`: fuse the stored predictions of runs into one, by mean, rank or weighted mean.

Weights and, unless it is given, the method are chosen on validation (nDCG@5); test is only scored. Writes a folder
like a run's: metrics.json, predictions.npz, predictions_validation.npz, labels.tsv, config.yaml and ensemble.json,
which reports read, `xmtc.calibrate` calibrates and `xmtc.load` loads. A member is any folder with labels.tsv and both
predictions files, also of another system; new texts can be answered when every member is a run of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xmtc.arguments import Arguments, bounded
from xmtc.bounds import Count
from xmtc.entry import ended
from xmtc.parsing import read_json


def ensemble(
    runs: Sequence[str | Path],
    output: str | Path,
    method: str = "auto",
    train_documents: int | None = None,
    copy: bool = False,
) -> dict:
    """Writes the ensemble's folder and returns what its metrics.json holds.

    train_documents: N of the propensities, where no member has recorded it. copy: keep the members inside the folder,
    so that it can be moved alone. InputError: other documents, no validation predictions, an output that is a run.
    """
    from xmtc.fusion.make import make_ensemble  # torch: not for --help

    return make_ensemble(runs, output, method, train_documents, copy)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 2 with one line for what cannot be used; 130 and 141 as in xmtc/entry.py."""
    parser = Arguments(
        prog="python -m xmtc.ensemble",
        description="Fuses the stored predictions of runs into one.\n\n" + __doc__.split("\n\n")[1],
        examples=("runs/a runs/b runs/c --output runs/abc", "runs/a runs/b --output runs/ab --method mean --copy"),
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directories whose predictions are fused")
    parser.add_argument("--output", required=True, metavar="DIR", help="the ensemble's folder")
    parser.add_argument("--method", default="auto", metavar="NAME", help="auto (by validation), mean, rank or weighted")
    parser.add_argument(
        "--train-documents", type=bounded(Count), metavar="N",
        help="of the propensities (PSP@k), where no member has recorded it",
    )  # fmt: skip
    parser.add_argument("--copy", action="store_true", help="keep the members inside the folder, to move it alone")
    given = parser.parse_intermixed_args(argv)
    return ended("xmtc.ensemble", lambda: _make(given))


def _make(given) -> None:
    result = ensemble(given.runs, given.output, given.method, given.train_documents, given.copy)
    facts = read_json(Path(given.output) / "ensemble.json", dict)
    print(f"{facts['method']}, weights {', '.join(f'{w:.3f}' for w in facts['weights'])}")
    for name, value in facts["validation nDCG@5"].items():
        print(f"validation nDCG@5 {100 * value:.2f}  {name}")
    scores = result["test"] or result["validation"]
    shown = " ".join(f"{name} {100 * scores[name]:.2f}" for name in ("P@1", "P@3", "P@5", "nDCG@5"))
    print(f"{'test' if result['test'] else 'validation'}: {shown}")


if __name__ == "__main__":
    raise SystemExit(main())
