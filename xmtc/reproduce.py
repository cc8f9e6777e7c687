"""`python -m xmtc.reproduce RUN_DIR`: makes a finished run again from what it wrote down, and says what differs.

The same command, seed, data and number of threads on the same kind of machine give the same bits on a CPU. Where code,
versions, device or data have changed since, that is named beside the difference of the scores. Exit code 0: same
predictions to the bit; 1: something differs; 2: input that cannot be used.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from xmtc.arguments import Arguments
from xmtc.config.paths import quoted
from xmtc.entry import ended
from xmtc.errors import InputError
from xmtc.parsing import read_json, read_yaml

FILES = ("metrics.json", "overrides.yaml", "curves.csv")  # of a finished run, which are read here
CIRCUMSTANCES = (
    "commit", "dirty", "python", "torch", "device", "dataset_sha256", "world_size", "execution", "precision",
    "resumed_from_step",
)  # fmt: skip


def reproduce(run: str | Path, output: str | Path | None = None, config_dir: str | Path | None = None) -> dict:
    """Runs it again in `output` (RUN_DIR-again by default) and returns `compare`'s answer. config_dir: as the run had,
    for components of one's own. InputError: no finished run, an output that exists, or a second run that failed."""
    run = Path(run)
    output = Path(output) if output else run.with_name(f"{run.name}-again")
    if missing := [name for name in FILES if not (run / name).exists()]:  # an evaluation and an ensemble have no curves
        raise InputError(f"{run}: no finished run that was trained (no {missing[0]})")
    if output.exists():
        raise InputError(f"--output: {output} exists already")
    overrides = [str(word) for word in read_yaml(run / "overrides.yaml", list)]
    kept = [word for word in overrides if not word.startswith(("hydra.run.dir=", "logger"))]
    own = ["--config-dir", str(config_dir)] if config_dir else []
    command = [
        sys.executable,
        "-m",
        "xmtc.run",
        *own,
        *kept,
        "logger=csv",
        f"hydra.run.dir={quoted(output.absolute())}",
    ]
    if subprocess.run(command).returncode:
        raise InputError(f"the second run failed{f'; {output} holds what it left' if output.exists() else ''}")
    return compare(run, output)


def compare(run: Path, again: Path) -> dict:
    """{same: bool, circumstances: {name: [then, now]}, scores: {name: [then, now]}, documents: share whose five best
    labels are the same, first_row: step of the first differing row of curves.csv or None}."""
    import numpy as np

    from xmtc.data.lists import read_lists  # torch: not for --help

    first, second = (read_json(folder / "metrics.json", dict) for folder in (run, again))
    part = "test" if first["test"] else "validation"
    scores = {
        name: [value, second[part].get(name)] for name, value in first[part].items() if value != second[part].get(name)
    }
    born = {
        name: [first["provenance"].get(name), second["provenance"].get(name)]
        for name in CIRCUMSTANCES
        if name in first["provenance"] and first["provenance"][name] != second["provenance"].get(name)
    }
    file = "predictions.npz" if first["test"] else "predictions_validation.npz"
    ours, theirs = (read_lists(folder / file) for folder in (run, again))
    shape = ours.labels.shape == theirs.labels.shape
    same = shape and np.array_equal(ours.labels, theirs.labels) and np.array_equal(ours.scores, theirs.scores)
    alike = float((ours.labels[:, :5] == theirs.labels[:, :5]).all(1).mean()) if shape and len(ours.labels) else 0.0
    return {
        "same": same and not scores,
        "circumstances": born,
        "scores": scores,
        "documents": 1.0 if same else alike,
        "first_row": _first_row(run / "curves.csv", again / "curves.csv"),
    }


def _first_row(ours: Path, theirs: Path) -> int | None:
    """Step of the first row that differs in more than its seconds."""
    import csv

    rows = [list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) for path in (ours, theirs)]
    for mine, other in zip(*rows, strict=False):
        if {**mine, "seconds": ""} != {**other, "seconds": ""}:
            return int(mine["step"])
    shorter = min(map(len, rows))
    longer = max(rows, key=len)
    return int(longer[shorter]["step"]) if len(longer) > shorter else None


def describe(found: dict) -> str:
    lines = [f"{name}: {then} then, {now} now" for name, (then, now) in found["circumstances"].items()]
    if found["same"]:
        return "\n".join([*lines, "the same predictions and scores, to the bit"])
    for name in ("P@1", "P@5", "nDCG@5"):
        if name in found["scores"]:
            then, now = found["scores"][name]
            lines.append(f"{name}: {100 * then:.4f} then, {100 * now:.4f} now")
    if found["first_row"] is not None:
        lines.append(f"curves.csv differs first at step {found['first_row']}")
    lines.append(f"{100 * found['documents']:.2f} % of the documents have the same five best labels")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = Arguments(
        prog="python -m xmtc.reproduce",
        description="Makes a finished run again from what it wrote down, and says what differs.\n\n"
        + __doc__.split("\n\n")[1],
        examples=("RUN", "RUN --output /scratch/again --config-dir mine"),
    )
    parser.add_argument("run", metavar="RUN", help="a finished run's directory")
    parser.add_argument("--output", metavar="DIR", help="where the second run goes (default: RUN-again)")
    parser.add_argument("--config-dir", metavar="DIR", help="of components of your own, as the run had it")
    options = parser.parse_args(argv)
    return ended("xmtc.reproduce", lambda: _reproduce(options))


def _reproduce(options) -> int:
    found = reproduce(options.run, options.output, options.config_dir)
    print(describe(found))
    return 0 if found["same"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
