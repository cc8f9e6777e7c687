"""Trains on a disk that is too small, gives it room, and compares what the run ends with.

    python -m tests.faults.disk --cases 20 [--seed 0] [--log FILE]

Each case: a tmpfs of random size, on which a run must fail in one line (or end, if there is room enough); made larger,
the run is continued from what it saved, or begun anew if it saved nothing, and must end with the bits of a run that
always had room. Mounting needs root. The last line is JSON.
"""

from __future__ import annotations

import json
import logging
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import xmtc
from tests.faults.log import Log, asked, first_line
from tests.faults.training import TRAINING
from tests.system.contents import contents, difference
from xmtc.errors import InputError
from xmtc.training.kept import LAST, PREVIOUS


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A tmpfs of `size` bytes at `folder`. CalledProcessError: mounting is not allowed here."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def enlarge(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=1g", folder], check=True, capture_output=True)


def case(base: Path, cache: Path, size: int, wanted: dict) -> dict:
    """A run on a disk of `size` bytes. outcome: ended, or refused and then ended; said: its one line."""
    with small_disk(base / "disk", size) as disk:
        folder, said = disk / "run", ""
        begin = [*TRAINING, f"paths.cache_dir={cache}", f"hydra.run.dir={folder}"]
        try:
            xmtc.run(begin)
            outcome = "ended"
        except InputError as error:
            said = str(error)
            outcome = "refused" if "\n" not in said else "MANY LINES"
        except Exception as error:
            said, outcome = first_line(error), "TRACEBACK"
        left = [path.name for path in folder.rglob("*.tmp")]
        enlarge(disk)
        if outcome == "refused":
            saved = any((folder / "checkpoints" / name).exists() for name in (LAST, PREVIOUS))
            xmtc.run([f"resume={folder}"] if saved else begin)
            outcome = "refused, continued" if saved else "refused, begun anew"
        found = "" if outcome == "TRACEBACK" else difference(contents(folder), wanted)
    (base / "disk").rmdir()
    return {"size": size, "outcome": outcome, "said": said[:200], "left": left, "difference": found}


def main(argv: list[str] | None = None) -> dict:
    options = asked(__doc__, 20).parse_args(argv)
    logging.disable(logging.CRITICAL)
    done = failures = refused = 0
    with tempfile.TemporaryDirectory() as name, Log(options.log, options.seed) as log:
        base = Path(name)
        whole = base / "whole"
        xmtc.run([*TRAINING, f"paths.cache_dir={base / 'cache'}", f"hydra.run.dir={whole}"])
        wanted = contents(whole)
        needed = sum(path.stat().st_size for path in whole.rglob("*") if path.is_file())
        for number in range(log.done, options.cases):
            size = random.Random(f"{options.seed}/{number}").randrange(8192, int(1.1 * needed))
            row = case(base, base / "cache", size, wanted)
            log.write(number, row)
            bad = row["outcome"].isupper() or row["left"] or row["difference"]
            done, failures, refused = done + 1, failures + bool(bad), refused + row["outcome"].startswith("refused")
            if bad:
                print(json.dumps(row), flush=True)
    logging.disable(logging.NOTSET)
    result = {"cases": done, "refused": refused, "failures": failures}
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    sys.exit(bool(main()["failures"]))
