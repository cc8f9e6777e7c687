"""Removes the cache, or a part of it, under commands that are at work, and compares what they end with.

    python -m tests.faults.cache --cases 40 [--seed 0] [--log FILE]

Kinds of cases: a run loses its store at a random moment; a run is stopped, loses it and is continued; the store is lost
while it is made; a prediction loses it, which needs none. What is lost: all of the cache, the store, or one of its
files. A command must end with the result that it would have had, or say in one line that it cannot go on; then, started
again, it must end with that result: the store is made again. Moments are processor time. The last line is JSON.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.faults import child
from tests.faults.commands import Commands, preload, stop
from tests.faults.log import Log, asked

KINDS = ("run", "continued", "prepare", "run", "prepare", "predict")
WHAT = ("all", "store", "file")


def lose(cache: Path, what: str, choose: random.Random) -> str:
    """Removes it; what was removed."""
    stores = sorted(path for path in cache.glob("*") if path.is_dir()) if cache.is_dir() else []
    if what == "all" or not stores:
        shutil.rmtree(cache, ignore_errors=True)
        return "all"
    if what == "store":
        shutil.rmtree(stores[0], ignore_errors=True)
        return "store"
    files = sorted(path for path in stores[0].rglob("*") if path.is_file())
    if files:
        lost = choose.choice(files)
        lost.unlink()
        return lost.relative_to(stores[0]).as_posix()
    return "nothing"


def case(commands: Commands, seed: int, number: int) -> dict:
    choose = random.Random(f"{seed}/{number}")
    kind, what, lost = KINDS[number % len(KINDS)], choose.choice(WHAT), []
    name = "run" if kind == "continued" else kind
    more = ["data.workers=1"] if name == "run" and choose.random() < 0.3 else []  # a process that has it open, too
    if name != "prepare":
        commands.give_store()

    def remove(pid: int = 0) -> None:
        lost.append(lose(commands.cache, what, choose))

    happens = stop if kind == "continued" else remove
    how, said = commands.disturbed(name, child.sometime(choose, commands.seconds[name]), happens, more=more)
    if kind == "continued":
        remove()
    how, said, found = commands.to_the_end(name, how, said, more)
    commands.clear()
    return {"kind": kind, "lost": lost, "outcome": how, "said": said[:300], "difference": found}


def main(argv: list[str] | None = None) -> dict:
    options = asked(__doc__, 40).parse_args(argv)
    preload()
    done = failures = 0
    with tempfile.TemporaryDirectory() as name, Log(options.log, options.seed) as log:
        commands = Commands(Path(name))
        for number in range(log.done, options.cases):
            row = case(commands, options.seed, number)
            log.write(number, row)
            bad = row["outcome"][0].isupper() or row["difference"]
            done, failures = done + 1, failures + bool(bad)
            if bad:
                print(json.dumps(row), flush=True)
    result = {"cases": done, "failures": failures}
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    sys.exit(bool(main()["failures"]))
