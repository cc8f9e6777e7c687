"""`python -m xmtc.bench NAME [--json] [--only baseline|ours] [--repeats N] [--SHAPE N]`; the last line is JSON.

SHAPE: a parameter of the bench's function, as in `classifier --labels 3000000`.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_type_hints

from xmtc.arguments import Arguments, bounded
from xmtc.bench.compare import Bench, compare
from xmtc.bounds import Count, Natural

# MODULE or MODULE.FUNCTION, imported when it is asked for
BENCHES = {
    "classifier": "classifier",
    "convolution": "convolution",
    "dropout": "dropout",
    "estimate": "estimate.estimate_bench",
    "evaluation": "evaluation",
    "labelcorank": "labelcorank",
    "labelcorank-step": "labelcorank_step",
    "loader": "loader",
    "overhead": "overhead",
    "predict": "predict",
    "prepare": "prepare.prepare_bench",
    "recurrent": "recurrent",
    "scaling": "scaling",
    "sharded": "sharded",
    "step": "step",
    "svm": "svm",
    "wiki500k-step": "wiki500k_step",
    "window-max": "window_max",
}


def named(name: str) -> Callable[..., Bench]:
    """The function that makes a bench."""
    module, _, function = BENCHES[name].partition(".")
    return getattr(importlib.import_module(f"xmtc.bench.{module}"), function or module)


def main(argv: list[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    if words and words[0] in BENCHES and {"-h", "--help"} & set(words):
        shapes(named(words[0]), ["--help"])
    parser = Arguments(
        prog="python -m xmtc.bench",
        description="Two ways of doing the same thing, measured side by side; the last line is JSON.",
        examples=("classifier --labels 3000000", "step --json --repeats 3"),
        notes="benches:\n" + "\n".join(f"  {name:<16} {_about(module)}" for name, module in BENCHES.items()),
    )
    parser.add_argument(
        "name", choices=BENCHES, metavar="NAME", help="one of those below; NAME --help tells its shapes"
    )
    parser.add_argument("--json", action="store_true", help="nothing but the JSON line")
    parser.add_argument("--only", choices=["baseline", "ours"], help="run one way alone (default: both)")
    parser.add_argument("--repeats", type=bounded(Count), default=5, metavar="N", help="of each way, in turns")
    arguments, rest = parser.parse_known_args(words)
    make = named(arguments.name)
    bench = make(**shapes(make, rest))
    result = compare(arguments.name, bench, arguments.repeats, arguments.only)
    if not arguments.json:
        for way in ("baseline", "ours"):
            if result[way] is not None:
                value = result[way]
                print(f"{way}: {value:,.0f} a second" if bench.per_call else f"{way}: {1000 * value:.1f} ms")
    print(json.dumps(result))
    return 0


def _about(bench: str) -> str:
    """The first line of its module, which is not imported: it would bring torch along."""
    path = Path(__file__).with_name(f"{bench.partition('.')[0]}.py")
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def shapes(function: Callable, arguments: list[str]) -> dict[str, int]:
    """The numbers among the bench's own parameters that the command line sets."""
    parser = Arguments(
        prog="python -m xmtc.bench",
        usage="python -m xmtc.bench NAME [--SHAPE N ...]",
        description=inspect.getdoc(function),
    )
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        if isinstance(parameter.default, int):
            kind = Natural if hints[name] == Natural or not parameter.default else Count
            parser.add_argument(
                f"--{name.replace('_', '-')}",
                type=bounded(kind),
                default=parameter.default,
                metavar="N",
                help="of the measured problem",
            )
    return vars(parser.parse_args(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
