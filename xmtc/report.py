"""python -m xmtc.report RUN_OR_MULTIRUN_DIR...: the runs as a table, results.csv and curves."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from xmtc.errors import InputError
from xmtc.reporting.plots import plot_curves
from xmtc.reporting.runs import find_runs
from xmtc.reporting.tables import markdown, results_csv, write_text


def report(folders: Sequence[str | Path], output: str | Path | None = None) -> str:
    """Write report.md, results.csv and curves_*.png and return the Markdown. Output goes to stderr but for the table.

    output: default is the folder itself if one is given, else the current folder. Existing files there are replaced.
    """
    runs = find_runs(folders)
    target = Path(output) if output else Path(folders[0]) if len(folders) == 1 else Path()
    try:
        target.mkdir(parents=True, exist_ok=True)
        pictures = _pictures(runs, target)
        table = markdown(runs)
        links = "".join(f"\n![validation curves]({path.name})\n" for path in pictures)
        write_text(target / "report.md", f"# Results\n\nTest metrics x 100.\n\n{table}{links}")
        write_text(target / "results.csv", results_csv(runs))
    except OSError as error:
        raise InputError(f"--output {target}: cannot write there: {error.strerror or error}") from error
    names = ["report.md", "results.csv", *(path.name for path in pictures)]
    print(f"wrote {', '.join(names)} in {target}", file=sys.stderr)
    return table


def _pictures(runs, target: Path) -> list[Path]:
    try:
        return plot_curves(runs, target)
    except ImportError:
        print("no curves: matplotlib is not installed (pip install 'xmtc[plots]')", file=sys.stderr)
        return []


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 with one line if a folder or file cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m xmtc.report",
        description="Print the runs in the given folders as Markdown tables, one per dataset and version of its data, "
        "and write report.md, results.csv (a line a finished run) and PNG curves.",
    )
    parser.add_argument("folders", nargs="+", metavar="RUN_OR_MULTIRUN_DIR", help="run directories, or folders of some")
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="where the files go (default: the folder if one is given, else the current folder)",
    )
    parser.add_argument(
        "--into",
        metavar="DIR",
        help="also add the finished runs to DIR/results.csv and their top-5 lists to DIR/predictions",
    )
    arguments = parser.parse_args(argv)
    try:
        if arguments.into:
            from xmtc.reporting.keep import keep

            count = keep(find_runs(arguments.folders), Path(arguments.into))
            print(f"added {count} rows to {arguments.into}/results.csv", file=sys.stderr)
        print(report(arguments.folders, arguments.output), end="")
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
