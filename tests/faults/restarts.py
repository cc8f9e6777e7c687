"""Kills preparing and predicting with SIGKILL, starts them again until they end, and compares what they have made.

    python -m tests.faults.restarts --kills 100 [--seed 0] [--log FILE]

Training is killed by `kills.py`, sweeps by tests/sweeping. Moments are processor time. The last line is JSON.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from pathlib import Path

from tests.faults import child
from tests.faults.commands import Commands, kill, preload
from tests.faults.log import Log, asked

LIVES = 6  # after so many kills it is let alone, which a whole command with none would never be


def case(commands: Commands, seed: int, number: int) -> dict:
    choose = random.Random(f"{seed}/{number}")
    name, kills = ("prepare", "predict")[number % 2], 0
    while kills < LIVES:
        how, said = commands.disturbed(name, child.sometime(choose, commands.seconds[name]), kill)
        if how != "stopped":
            break
        kills += 1
    how, said, found = commands.to_the_end(name, how, said)
    left = [
        path.name for path in commands.cache.glob(".*") if path.suffix != ".lock"
    ]  # a lock is free, whoever left it
    left += [path.name for path in commands.base.glob("out.jsonl.*")]
    commands.clear()
    outcome = how if how in ("ended", "stopped, again") else how.upper()
    return {"kind": name, "kills": kills, "outcome": outcome, "said": said[:300], "difference": found, "left": left}


def main(argv: list[str] | None = None) -> dict:
    options = asked(__doc__, 100, "kills").parse_args(argv)
    preload()
    kills = failures = 0
    if options.log is not None and options.log.exists():
        rows = map(json.loads, options.log.read_text().splitlines())
        kills = sum(row["kills"] for row in rows if row["seed"] == options.seed)
    with tempfile.TemporaryDirectory() as name, Log(options.log, options.seed) as log:
        commands, number = Commands(Path(name)), log.done
        while kills < options.kills:
            row = case(commands, options.seed, number)
            log.write(number, row)
            bad = row["outcome"][0].isupper() or row["difference"] or row["left"]
            number, kills, failures = number + 1, kills + row["kills"], failures + bool(bad)
            if bad:
                print(json.dumps(row), flush=True)
    result = {"kills": kills, "failures": failures}
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    sys.exit(bool(main()["failures"]))
