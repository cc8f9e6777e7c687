"""`python -m xmtc.bench NAME [--json] [--only baseline|ours] [--repeats N] [--SHAPE N]`; the last line is JSON.

SHAPE: a parameter of the bench's function, as in `classifier --labels 3000000`.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable

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
}


def named(name: str) -> Callable[..., Bench]:
    """The function that makes a bench."""
    module, _, function = BENCHES[name].partition(".")
    return getattr(importlib.import_module(f"xmtc.bench.{module}"), function or module)


def main(argv: list[str] | None = None) -> int:
    parser = Arguments(prog="python -m xmtc.bench", description=__doc__)
    parser.add_argument("name", choices=BENCHES)
    parser.add_argument("--json", action="store_true", help="nothing but the JSON line")
    parser.add_argument("--only", choices=["baseline", "ours"], help="run one way alone")
    parser.add_argument("--repeats", type=bounded(Count), default=5)
    arguments, rest = parser.parse_known_args(argv)
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


def shapes(function: Callable, arguments: list[str]) -> dict[str, int]:
    """The numbers among the bench's own parameters that the command line sets."""
    parser = Arguments(prog="python -m xmtc.bench", usage="python -m xmtc.bench NAME [--SHAPE N]")
    for name, parameter in inspect.signature(function).parameters.items():
        if isinstance(parameter.default, int):
            parser.add_argument(
                f"--{name.replace('_', '-')}",
                type=bounded(Count if parameter.default else Natural),
                default=parameter.default,
            )
    return vars(parser.parse_args(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
