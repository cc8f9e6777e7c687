"""`python -m xmtc.data list|show|download|prepare|verify|stats NAME [overrides]`: datasets by name, or your own.

NAME is a choice of the `dataset` group; overrides are those of xmtc.run (`dataset.path=DIR`, `offline=true`, ...).
Exit codes: 0 done; 1 `verify` found a difference; 2 input that cannot be used; 130 and 141 as in xmtc/entry.py.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from xmtc.arguments import Arguments
from xmtc.entry import ended
from xmtc.errors import InputError

COMMANDS = {
    "list": "every registered dataset: documents, labels, whether it is here",
    "show": "what is known of one",
    "download": "get it into paths.data_dir",
    "prepare": "make its store, as xmtc.prepare does",
    "verify": "does what lies here agree with what is published?",
    "stats": "lengths, labels, what is cut, unseen labels, near duplicates; numbers and a picture",
}


def main(argv: list[str] | None = None) -> int:
    parser = Arguments(
        prog="python -m xmtc.data",
        description="Datasets by name, or your own.\n\n" + __doc__.split("\n\n")[1],
        examples=("list", "show eurlex57k", "download eurlex57k", "stats csv dataset.path=my_corpus --output stats"),
        notes="COMMAND --help tells more of one.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, what in COMMANDS.items():
        command = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}")
        if name != "list":
            command.add_argument("name", metavar="NAME", help="a choice of the dataset group")
        command.add_argument(
            "overrides", nargs="*", default=[], metavar="key=value", help="as for xmtc.run, as paths.data_dir=DIR"
        )
        if name == "stats":
            command.add_argument(
                "--output", type=Path, metavar="DIR", help="of statistics.json and .png (default: stats/NAME)"
            )
            command.add_argument("--no-duplicates", action="store_true", help="do not look for near duplicates")
        if name == "verify":
            command.add_argument("--json", action="store_true", help="one JSON line instead of a table")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    job = globals()[f"_{arguments.command}"]
    return ended("xmtc.data", lambda: job(arguments), "the same command goes on where it was")


def _config(name: str, overrides: list[str]) -> dict:
    """The resolved configuration, without what only a run needs."""
    from omegaconf import OmegaConf

    from xmtc.config import compose_checked

    config = compose_checked([f"dataset={name}", *overrides])
    kept = OmegaConf.masked_copy(config, [key for key in config if key != "logger"])  # whose folder is that of a run
    return OmegaConf.to_container(kept, resolve=True)


def _opened(arguments):
    """(configuration, source, card)."""
    from xmtc.data.cards import card_of
    from xmtc.data.sources.subset import make_source

    config = _config(arguments.name, arguments.overrides)
    return config, make_source(config["dataset"]), card_of(config["dataset"])


def _present(arguments, to: str) -> tuple:
    """(source, card) of a registered dataset, the corpus on disk, downloaded if need be. to: what it is wanted for."""
    from xmtc.data.acquire import acquire, corpus_of

    config, source, card = _opened(arguments)
    if card is None:
        raise InputError(f"dataset={arguments.name}: not a registered dataset, there is nothing to {to}")
    if corpus := corpus_of(source):
        acquire(corpus, card, bool(config["offline"]))
    return source, card


def _list(arguments) -> None:
    from omegaconf import OmegaConf

    from xmtc.config import compose_checked
    from xmtc.data.cards import registered

    root = Path(str(OmegaConf.select(compose_checked(arguments.overrides), "paths.data_dir")))
    print(f"{'name':<14}{'train':>11}{'valid.':>9}{'test':>9}{'labels':>11}  {'here':<5}what")
    for name, card in registered().items():
        numbers = [card.documents.get(part) for part in ("train", "validation", "test")] + [card.labels]
        cells = ["-" if n is None else f"{n:,}" for n in numbers]
        here = "yes" if _is_here(name, root) else "no"
        print(f"{name:<14}{cells[0]:>11}{cells[1]:>9}{cells[2]:>9}{cells[3]:>11}  {here:<5}{card.title}: {card.task}")


def _is_here(name: str, root: Path) -> bool:
    from omegaconf import OmegaConf

    from xmtc.config import config_dir
    from xmtc.data.sources.corpus import CorpusSource

    source = OmegaConf.load(config_dir() / "dataset" / f"{name}.yaml").source
    raw = OmegaConf.to_container(source, resolve=False)["path"]
    return CorpusSource(raw.replace("${paths.data_dir}", str(root)), source.layouts).layout() is not None


def _show(arguments) -> None:
    import yaml

    from xmtc.data.acquire import corpus_of

    config, source, card = _opened(arguments)
    if card is None:
        raise InputError(f"dataset={arguments.name}: not a registered dataset; {arguments.name} reads your own files")
    corpus = corpus_of(source)
    layout = corpus.layout()
    print(yaml.safe_dump(config["dataset"]["card"], sort_keys=False, allow_unicode=True, width=110), end="")
    print(f"propensity: {config['dataset']['propensity']}")
    print(f"folder: {corpus.path} ({f'here, layout {layout}' if layout else 'not here'})")


def _download(arguments) -> None:
    from xmtc.data.acquire import corpus_of

    source, _ = _present(arguments, "download")
    print(corpus_of(source).path)


def _prepare(arguments) -> None:
    print(_store(arguments)[1].folder)


def _store(arguments):
    from xmtc.training.build import make, open_store

    config = _config(arguments.name, arguments.overrides)
    return config, open_store(config, make(config["encoder"]["text"]))


def _verify(arguments) -> int:
    from xmtc.data.verify import verify

    source, card = _present(arguments, "compare with")
    findings = verify(source, card)
    differ = [f for f in findings if f.agrees is False]
    if arguments.json:
        print(json.dumps({"dataset": arguments.name, "agrees": not differ, "findings": [vars(f) for f in findings]}))
        return int(bool(differ))
    marks = {True: "same", False: "DIFFERS", None: "-"}
    for f in findings:
        expected, found = (str("-" if value is None else value)[:20] for value in (f.expected, f.found))
        print(f"{f.what:<34} {expected:>22} {found:>22}  {marks[f.agrees]}")
    if differ:
        print(f"{len(differ)} of {len(findings)} facts differ: results of these files are not those of the papers")
    return int(bool(differ))


def _stats(arguments) -> None:
    from xmtc.data.files import replace_text
    from xmtc.data.near_duplicates import near_duplicates
    from xmtc.data.statistics import draw, statistics, table

    config, store = _store(arguments)
    found = statistics(store, config["dataset"]["length"])
    if not arguments.no_duplicates:
        found["near_duplicates"] = near_duplicates(store.parts["train"], store.parts["test"])
    print(table(found))
    output = arguments.output or Path("stats") / arguments.name
    output.mkdir(parents=True, exist_ok=True)
    replace_text(output / "statistics.json", json.dumps(found, indent=1))
    try:
        draw(store, found, arguments.name, output)
    except ImportError:
        print("no picture: pip install 'xmtc[stats]'", file=sys.stderr)
    print(f"written to {output}")


if __name__ == "__main__":
    raise SystemExit(main())
