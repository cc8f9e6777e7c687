"""`python -m xmtc.explain RUN --text TEXT | --input FILE|-` and `python -m xmtc.explain RUN --model --output DIR`.

For documents: both rankings, what the head promoted and demoted, the labels whose evidence did it (exact, the sums are
checked) and the words that mattered. For the model: the strongest influences of one label on another, as a table,
influences.csv and a picture of the graph.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from xmtc.arguments import Arguments, bounded
from xmtc.bounds import Count
from xmtc.entry import ended
from xmtc.errors import InputError

INFLUENCES = 50  # shown by --model


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 2 with one line for what cannot be used; 130 and 141 as in xmtc/entry.py."""
    parser = Arguments(
        prog="python -m xmtc.explain",
        description=__doc__.split("\n\n")[1],
        examples=(
            'RUN --text "import duties on olive oil"',
            "RUN --input texts.txt -k 3 --json",
            "RUN --model --count 20",
        ),
    )
    parser.add_argument("run", metavar="RUN", help="a run directory")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--text", metavar="TEXT", help="one document")
    what.add_argument("--input", metavar="FILE", help="documents, as xmtc.predict reads them; - for standard input")
    what.add_argument("--model", action="store_true", help="what the head has learnt of the labels")
    parser.add_argument(
        "--format", default="auto", metavar="NAME", help="of the input: auto (by name), text, jsonl, csv or parquet"
    )
    parser.add_argument("--text-column", metavar="NAME", help="of the input (default: as in training)")
    parser.add_argument("-k", type=bounded(Count), default=5, metavar="N", help="labels of each ranking")
    parser.add_argument("--no-words", action="store_true", help="leave the words out, which cost most of the time")
    parser.add_argument("--json", action="store_true", help="one JSON object a document instead of Markdown")
    parser.add_argument(
        "--count", type=bounded(Count), metavar="N", help=f"with --model: how many influences (default: {INFLUENCES})"
    )
    parser.add_argument(
        "--output", metavar="DIR", help="with --model: where influences.csv and influences.png go (default: RUN)"
    )
    given = parser.parse_args(argv)
    if not given.model and (given.count or given.output):
        parser.error("--count and --output go with --model; what is said of documents goes to standard output")
    return ended("xmtc.explain", lambda: _explain(given))


def _explain(given) -> None:
    import xmtc

    model = xmtc.load(given.run)
    if given.model:
        _model(model, given.count or INFLUENCES, Path(given.output or given.run))
    else:
        _documents(model, given)


def _documents(model, given) -> None:
    from xmtc.explaining.document import explain, markdown
    from xmtc.predicting.as_trained import as_trained, columns_as_trained
    from xmtc.predicting.inputs import Row, format_of, rows

    corpus = model.config["dataset"]
    if given.text is not None:
        documents = iter([Row("--text", given.text)])
    else:
        kind = format_of(given.input, given.format)
        marks = (as_trained(corpus, given.input, kind, key, None) for key in ("delimiter", "quote"))
        documents = rows(given.input, kind, columns_as_trained(corpus, given.text_column), *marks)
    for number, row in enumerate(documents, start=1):
        if row.error is not None:
            raise InputError(row.error)
        found = explain(model, row.text, given.k, words=not given.no_words)
        if given.json:
            print(json.dumps(found, ensure_ascii=False))
        else:
            print(f"## {row.where if given.text is None else f'document {number}'}\n\n{markdown(found)}")


def _model(model, count: int, folder: Path) -> None:
    from xmtc.data.files import writing_to
    from xmtc.explaining.influence import draw, strongest, table, write_csv

    found = strongest(model, count)
    print(table(model, found))
    with writing_to(folder, "keeping the influences", None):
        folder.mkdir(parents=True, exist_ok=True)
        write_csv(model, found, folder / "influences.csv")
        draw(model, found, folder / "influences.png")
    print(f"wrote influences.csv and influences.png in {folder}", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
