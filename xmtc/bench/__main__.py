"""`python -m xmtc.bench NAME [--json] [--only baseline|ours] [--repeats N]`; the last line is JSON."""

from __future__ import annotations

import argparse
import json

from xmtc.bench.compare import compare
from xmtc.bench.convolution import convolution
from xmtc.bench.predict import predict

BENCHES = {"convolution": convolution, "predict": predict}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m xmtc.bench", description=__doc__)
    parser.add_argument("name", choices=BENCHES)
    parser.add_argument("--json", action="store_true", help="nothing but the JSON line")
    parser.add_argument("--only", choices=["baseline", "ours"], help="run one way alone")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args(argv)
    result = compare(arguments.name, BENCHES[arguments.name](), max(arguments.repeats, 1), arguments.only)
    if not arguments.json:
        for way in ("baseline", "ours"):
            if result[way] is not None:
                print(f"{way}: {1000 * result[way]:.1f} ms")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
