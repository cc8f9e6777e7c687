"""python -m xmtc.report RUN_OR_MULTIRUN_DIR...: the runs as tables, comparisons, files to print and one page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from xmtc.arguments import Arguments, bounded
from xmtc.bounds import Count
from xmtc.data.files import output_to, replace_text
from xmtc.entry import ended
from xmtc.errors import InputError
from xmtc.reporting import dashboard
from xmtc.reporting.configurations import Configuration, configurations
from xmtc.reporting.documents import mean_over_runs
from xmtc.reporting.gain_tables import gains_csv_rows, markdown_gains
from xmtc.reporting.gains import gains
from xmtc.reporting.joining import join
from xmtc.reporting.keep import keep, keep_gains
from xmtc.reporting.kept import kept_rows
from xmtc.reporting.leaderboard import refresh, write_leaderboard
from xmtc.reporting.page import page
from xmtc.reporting.plots import plot_curves, plot_gains
from xmtc.reporting.printed import read_printed
from xmtc.reporting.runs import find_runs, order
from xmtc.reporting.significance import RESAMPLES, Comparison, compare
from xmtc.reporting.summary import comparisons_csv, latex, markdown_summary, summary_csv
from xmtc.reporting.tables import csv_text, markdown, results_csv

COMPARED = ("P@1", "P@5", "nDCG@5")
GAIN_RESAMPLES = 2000


def report(
    folders: Sequence[str | Path],
    output: str | Path | None = None,
    printed: Sequence[str | Path] = (),
    resamples: int = RESAMPLES,
    quality: float | None = None,
    head_gains: bool = False,
    into: str | Path | None = None,
    kept: Sequence[str | Path] = (),
    where: Sequence[str] = (),
) -> str:
    """Write the report's files and return the Markdown of its tables. Output goes to stderr but for the table.

    output: default is the folder itself if one is given, else the current folder. Existing files there are replaced.
    printed: files of printed numbers, or folders that hold a printed.csv. resamples: of bootstrap and permutation test.
    quality: a validation nDCG@5, as a fraction, whose steps and seconds are shown. head_gains: compare runs with a head
    with those without alone, cell by cell (gains.py), in place of every pair of configurations. into: a folder of
    experiments/ that gets what --gains found as well. kept, where: folders whose kept rows count as runs (kept.py).
    """
    runs = find_runs(folders)
    if kept:
        runs = sorted([*runs, *kept_rows(kept, runs, where)], key=order)
    target = Path(output) if output else Path(folders[0]) if len(folders) == 1 else Path()
    data = configurations(runs)
    rows = [row for path in printed for row in _printed(Path(path))]
    rows = join(rows, [each for made in data.values() for each in made])
    added = {key: gains(made, min(resamples, GAIN_RESAMPLES)) for key, made in data.items()} if head_gains else {}
    if head_gains and not any(added.values()):
        raise InputError("--gains: no finished run without a head beside one with it, of the same seed and settings")
    found = {} if head_gains else {key: _compare(made, resamples) for key, made in data.items()}
    with output_to(f"--output {target}"):
        target.mkdir(parents=True, exist_ok=True)
        pictures = _pictures(data, added, target)
        sections = [markdown_gains(added), markdown_summary(data, found, rows, quality)]
        table = markdown(runs) + "".join(f"\n{part}" for part in sections if part)
        links = "".join(f"\n![{path.stem.replace('_', ' ')}]({path.name})\n" for path in pictures)
        files = {
            "report.md": f"# Results\n\nTest metrics x 100.\n\n{table}{links}",
            "report.html": page(data, found, rows, quality, added),
            "results.csv": results_csv(runs),
            "summary.csv": summary_csv(data),
            "comparisons.csv": comparisons_csv(found),
            "results.tex": latex(data),
        }
        if added:
            files["gains.csv"] = csv_text(gains_csv_rows(added))
        for name, text in files.items():
            replace_text(target / name, text)
    if added and into:
        with output_to(f"--into {into}"):
            keep_gains(added, [path for path in pictures if path.name.startswith("gains_")], Path(into))
            refresh(Path(into))
    names = [*files, *(path.name for path in pictures)]
    print(f"wrote {', '.join(names)} in {target}", file=sys.stderr)
    return table


def _printed(path: Path):
    file = path / "printed.csv" if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"--printed {path}: there is no such file")
    return read_printed(file)


def _compare(made: Sequence[Configuration], resamples: int) -> list[Comparison]:
    """Of configurations that were tested on the same documents, whichever labels each knows: of those that most of them
    were tested on. Nothing where predictions were not kept."""
    held = {each.name: found for each in made if (found := mean_over_runs(each.runs))}
    alike = [[name for name, (_, other) in held.items() if other == truth] for _, truth in held.values()]
    most = max(alike, key=len, default=[])
    if others := [name for name in held if name not in most]:  # the same data, but cut short for some (data.limit)
        told = ", ".join(others)
        print(
            f"not compared on {made[0].dataset}, whose true labels of the test documents differ: {told}",
            file=sys.stderr,
        )
    return compare({name: held[name][0] for name in most}, COMPARED, resamples)


def _pictures(data, added, target: Path) -> list[Path]:
    try:
        return [*plot_gains(added, target), *plot_curves(data, target)]
    except ImportError:
        print("no curves: matplotlib is not installed (pip install 'xmtc[plots]')", file=sys.stderr)
        return []


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 with one line if a folder or file cannot be used."""
    parser = Arguments(
        prog="python -m xmtc.report",
        description="Print the runs in the given folders as Markdown tables, one per dataset and version of its data, "
        "with means over seeds, comparisons on the same documents and printed numbers, and write them as report.md, "
        "report.html (one file, with curves), results.csv (a line a finished run), summary.csv, comparisons.csv, "
        "results.tex and PNG curves.",
        examples=(
            "runs/eurlex57k", "runs/a runs/b --output report --printed experiments/lcenet", "runs/heads --gains",
            "--leaderboard experiments",
        ),
    )  # fmt: skip
    parser.add_argument(
        "folders",
        nargs="*",
        metavar="RUN_OR_MULTIRUN_DIR",
        help="run directories, or folders of some; wandb=[ENTITY/]PROJECT arranges that project's dashboard instead",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="where the files go (default: the folder if one is given, else the current one)",
    )
    parser.add_argument(
        "--printed",
        metavar="FILE_OR_DIR",
        action="append",
        default=[],
        help="numbers of a paper to stand beside ours (a printed.csv); may be given several times",
    )
    parser.add_argument(
        "--quality", type=float, metavar="X", help="also show steps and seconds until validation nDCG@5 x 100 is X"
    )
    parser.add_argument(
        "--gains",
        action="store_true",
        help="what a head adds to the same model without one, by the other settings and by label frequency (gains.csv "
        "and a picture), in place of all comparisons",
    )
    parser.add_argument(
        "--leaderboard",
        metavar="DIR",
        help="write DIR/README.md from every results.csv and printed.csv below DIR (experiments)",
    )
    parser.add_argument(
        "--resamples",
        type=bounded(Count),
        default=RESAMPLES,
        metavar="N",
        help=f"of the bootstrap and the permutation test; at most {GAIN_RESAMPLES} of them with --gains",
    )
    parser.add_argument(
        "--into",
        metavar="DIR",
        help="also add the finished runs to DIR/results.csv and their top-5 lists to DIR/predictions, and what --gains "
        "found as DIR/gains.md, gains.csv and a picture",
    )
    parser.add_argument(
        "--kept",
        metavar="DIR",
        action="append",
        default=[],
        help="also compare with the rows that --into kept in DIR, of the same data as the runs given",
    )
    parser.add_argument(
        "--where",
        metavar="KEY=VALUE[,VALUE]",
        action="append",
        default=[],
        help="of these kept rows alone, as encoder=bow,xmlcnn or text.length=126; may be given several times",
    )
    arguments = parser.parse_intermixed_args(argv)
    projects = [word.removeprefix("wandb=") for word in arguments.folders if word.startswith("wandb=")]
    arguments.folders = [word for word in arguments.folders if not word.startswith("wandb=")]
    if not arguments.folders and not arguments.leaderboard and not projects:
        parser.error("the following arguments are required: RUN_OR_MULTIRUN_DIR")
    if arguments.into and not arguments.folders:
        parser.error("--into: name the run directories whose rows are to be added")
    if arguments.kept and not arguments.folders:
        parser.error("--kept: name run directories of the same data, which say the true labels")
    if arguments.where and not arguments.kept:
        parser.error("--where: chooses among the rows of --kept DIR")
    return ended("xmtc.report", lambda: _report(arguments, projects))


def _report(arguments, projects: Sequence[str]) -> None:
    for project in projects:
        print(dashboard.send(project))
    if arguments.into:
        runs = find_runs(arguments.folders)
        with output_to(f"--into {arguments.into}"):
            count = keep(runs, Path(arguments.into))
            refresh(Path(arguments.into))
        print(f"added {count} rows to {arguments.into}/results.csv", file=sys.stderr)
    if arguments.folders:
        quality = None if arguments.quality is None else arguments.quality / 100
        words = (arguments.output, arguments.printed, arguments.resamples, quality, arguments.gains, arguments.into)
        print(report(arguments.folders, *words, arguments.kept, arguments.where), end="")
    if arguments.leaderboard:
        with output_to(f"--leaderboard {arguments.leaderboard}"):
            print(f"wrote {write_leaderboard(Path(arguments.leaderboard))}", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
