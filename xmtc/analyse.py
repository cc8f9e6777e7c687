"""python -m xmtc.analyse RUN...: label sets, dependencies between labels, frequency groups, head and tail documents.

Reads predictions.npz, labels.tsv and metrics.json of finished runs. Case studies also show the texts and what came
before the answer, where the corpus and the checkpoint are there; --rerank needs the corpus, --texts the checkpoint.
Writes analysis.md, analysis.json and PNG pictures.
"""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from collections import Counter
from collections.abc import Sequence
from os.path import commonpath
from pathlib import Path
from typing import Annotated

from xmtc.arguments import Arguments, bounded
from xmtc.bounds import Bounds, Natural, Positive, Probability
from xmtc.entry import ended
from xmtc.errors import InputError
from xmtc.reporting.configurations import configurations
from xmtc.reporting.runs import Run, find_runs


def analyse(
    folders: Sequence[str | Path], output: str | Path | None = None, texts: Sequence[str] = (), **options
) -> str:
    """Writes the files and returns the Markdown. output: default is the folder itself if one is given, else the current
    folder. texts: also shown with what each run's stages say of them, which loads the models. options: of
    `xmtc.analysing.run.analyse_run`, such as a re-ranker's function. InputError: no runs, none with test predictions,
    or files that cannot be read."""
    # torch: not for --help
    from xmtc.analysing.cases import as_markdown, stages
    from xmtc.analysing.run import analyse_run
    from xmtc.analysing.tables import markdown, pictures
    from xmtc.data.files import output_to, replace_text
    from xmtc.loading import load

    runs = [run for run in find_runs(folders) if (run.folder / "predictions.npz").is_file()]
    if not runs:
        raise InputError(f"{folders[0]}: no run in it has been tested (predictions.npz)")
    target = Path(output) if output else Path(folders[0]) if len(folders) == 1 else Path()
    names = _names(runs)
    results = [analyse_run(run, **options) | {"name": names[run.folder]} for run in runs]
    text = markdown(results)
    for run, result in zip(runs, results, strict=True):
        if texts:
            result["texts"] = list(stages(load(run.folder), texts))
            text += as_markdown(f"Texts, {names[run.folder]}", result["texts"])
    with output_to(f"--output {target}"):
        target.mkdir(parents=True, exist_ok=True)
        links = "".join(f"\n![{path.stem}]({path.name})\n" for path in pictures(results, target))
        replace_text(target / "analysis.md", text + links)
        replace_text(target / "analysis.json", json.dumps(results, indent=1))
    return text


def _names(runs: Sequence[Run]) -> dict[Path, str]:
    """What the tables call each run: as reports do, with the settings that tell it from others of its encoder and head;
    its folder as well, below the one that holds all, where even that is another's (of another data set, say)."""
    named = {
        run.folder: made.name_of(run)
        for group in configurations(runs).values()
        for made in group
        for run in (*made.runs, *made.copies)
    }
    times, above = Counter(named.values()), commonpath([folder.absolute() for folder in named])
    where = {folder: folder.absolute().relative_to(above).as_posix() for folder in named}
    return {folder: name if times[name] == 1 else f"{name} ({where[folder]})" for folder, name in named.items()}


def _shares(text: str) -> list[float]:
    shares = [bounded(Positive)(part) for part in text.split(",")]
    if sum(shares) > 1:
        raise ArgumentTypeError(f"expected shares of at most 1 in all, got {text}")
    return shares


def _numbers(text: str) -> list[int]:
    return [bounded(Natural)(part) for part in text.split(",")]


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 with one line if a folder or file cannot be used."""
    parser = Arguments(
        prog="python -m xmtc.analyse",
        description=f"Finished runs: {__doc__.partition(': ')[2]}",
        examples=(
            "runs/a",
            "runs/a runs/b --output analysis --threshold 0.5",
            "runs/a --texts texts.txt",
            "runs/a --cases 5 --most-changed",
            "runs/a --rerank my_module:my_function",
        ),
    )
    parser.add_argument("folders", nargs="+", metavar="RUN_OR_MULTIRUN_DIR", help="run directories, or folders of some")
    parser.add_argument(
        "--output", metavar="DIR", help="where the files go (default: the folder if one is given, else the current one)"
    )
    parser.add_argument(
        "--threshold", type=bounded(Probability), metavar="P",
        help="labels of at least this probability are predicted (default: each run's own, chosen on validation)",
    )  # fmt: skip
    parser.add_argument(
        "--epsilon", type=bounded(Positive), default=1e-6, metavar="P", help="least predicted conditional probability"
    )
    parser.add_argument(
        "--groups",
        type=_shares,
        default=[0.25] * 3,
        metavar="A,B,C",
        help="shares of the label list, most frequent first, after which a group ends (default: quartiles)",
    )
    parser.add_argument(
        "--head-share", type=bounded(Annotated[float, Bounds(above=0, most=1)]), default=0.1, metavar="S",
        help="share of the labels, most frequent first, that are head labels",
    )  # fmt: skip
    parser.add_argument(
        "--max-head-labels",
        type=bounded(Natural),
        default=2,
        metavar="N",
        help="head labels of a tail document, at most",
    )
    parser.add_argument(
        "--rerank", metavar="MODULE:FUNCTION",
        help="a function of texts, the names of their ten best labels and probabilities, which answers with names "
        "in its own order: also scored",
    )  # fmt: skip
    parser.add_argument(
        "--cases", type=bounded(Natural), default=3, metavar="N", help="test documents shown stage by stage, the first"
    )
    parser.add_argument(
        "--documents", type=_numbers, default=[], metavar="I,J,...", help="these in place of the first, from 0"
    )
    parser.add_argument(
        "--most-changed", action="store_true",
        help="in place of the first, those whose five best changed most since the stage before; asks a model about all",
    )  # fmt: skip
    parser.add_argument("--texts", type=Path, metavar="FILE", help="texts, one a line, to show every stage's answer to")
    given = parser.parse_intermixed_args(argv)
    return ended("xmtc.analyse", lambda: print(_analyse(given), end=""))


def _analyse(given) -> str:
    try:
        texts = []
        if given.texts:
            with given.texts.open(encoding="utf-8-sig") as file:  # its own line ends alone, no others of Unicode
                texts = [line.removesuffix("\n") for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--texts {given.texts}: cannot be read ({error})") from None
    names = ("threshold", "epsilon", "cases", "documents", "most_changed", "head_share", "max_head_labels", "rerank")
    options = {name: getattr(given, name) for name in names}
    return analyse(given.folders, given.output, texts, shares=given.groups, **options)


if __name__ == "__main__":
    raise SystemExit(main())
