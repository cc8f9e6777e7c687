"""Lets reads fail with EIO, as of a disk that dies, and looks at how commands end and what they end with afterwards.

    python -m tests.faults.reading --cases 32 [--seed 0] [--log FILE]

A library that stands before the system's own lets reads of files in one folder fail from a random one on: those of the
corpus or the cache while it is prepared, those of the store while a run opens it, those of a run directory while it is
continued or asked. Once, or from then on until the command ends. Right is the result that there would have been, or
one line; then, with a disk that is well again, the same command must end with that result. What is mapped into memory
(the tokens of a store) is not read by such calls: there the system sends SIGBUS, which is a kill. Needs a C compiler.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import sys
import tempfile
from pathlib import Path

from tests.faults.commands import Commands, preload, stop
from tests.faults.log import Log, asked
from tests.faults.preloaded import LIBRARY, again_behind

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>
static char folder[4096];
static long left = -1, times = 0, count = 0;
void failing(const char *prefix, long after, long often) {
  strncpy(folder, prefix, sizeof folder - 1);
  left = after; times = often; count = 0;
}
long counted(void) { return count; }
static int fails(int file) {
  char name[32], path[4096];
  if (!folder[0]) return 0;
  snprintf(name, sizeof name, "/proc/self/fd/%d", file);
  ssize_t size = readlink(name, path, sizeof path - 1);
  if (size <= 0) return 0;
  path[size] = 0;
  if (strncmp(path, folder, strlen(folder))) return 0;
  count++;
  if (left < 0 || count <= left || !times) return 0;
  times--;
  errno = EIO;
  return 1;
}
ssize_t read(int file, void *buffer, size_t size) {
  static ssize_t (*real)(int, void *, size_t);
  if (!real) real = dlsym(RTLD_NEXT, "read");
  return fails(file) ? -1 : real(file, buffer, size);
}
ssize_t pread64(int file, void *buffer, size_t size, off_t at) {
  static ssize_t (*real)(int, void *, size_t, off_t);
  if (!real) real = dlsym(RTLD_NEXT, "pread64");
  return fails(file) ? -1 : real(file, buffer, size, at);
}
ssize_t pread(int file, void *buffer, size_t size, off_t at) { return pread64(file, buffer, size, at); }
"""
EVER = 10**9
# the command, and whose reads fail
KINDS = (("prepare", "corpus"), ("run", "cache"), ("continued", "run"), ("predict", "finished"), ("prepare", "cache"),
         ("continued", "cache"), ("predict", "texts"))  # fmt: skip


class Reads:
    """Of files under `folder`, in a child: those behind the first `after` fail, `times` of them."""

    def __init__(self, folder: Path, after: int, times: int, told: Path):
        self.folder, self.after, self.times, self.told = folder, after, times, told
        self.library = ctypes.CDLL(os.environ[LIBRARY])
        self.library.failing.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_long]
        self.library.counted.restype = ctypes.c_long

    def around(self, work):
        def failing() -> None:
            self.library.failing(str(self.folder).encode(), self.after, self.times)
            try:
                work()
            finally:
                count = self.library.counted()
                self.library.failing(b"", -1, 0)
                self.told.write_text(str(count))

        return failing


def begin(commands: Commands, kind: str, choose: random.Random) -> None:
    """What is there when the command starts."""
    if kind in ("run", "continued"):
        commands.give_store()
    if kind == "continued":
        commands.disturbed("run", choose.uniform(0.4, 0.9) * commands.seconds["run"], stop)


def case(commands: Commands, counts: dict, seed: int, number: int) -> dict:
    choose = random.Random(f"{seed}/{number}")
    kind, what = KINDS[number % len(KINDS)]
    name, told = "run" if kind == "continued" else kind, commands.base / "told"
    begin(commands, kind, choose)
    if kind == "prepare" and what == "cache" and choose.random() < 0.5:
        commands.again("prepare")  # else it is read while it is made

    def failing(after: int, times: int) -> tuple[str, str]:
        reads = Reads(getattr(commands, what), after, times, told)
        return commands.again(name, around=reads.around)

    if (kind, what) not in counts:
        how, said = failing(-1, 0)
        if how != "ended":
            raise SystemExit(f"{kind}: {how} {said}")
        counts[kind, what] = int(told.read_text())
        commands.clear()
        begin(commands, kind, choose)
    after, times = choose.randrange(counts[kind, what] or 1), choose.choice((1, EVER))
    how, said = failing(after, times)
    first = said
    how, said, found = commands.to_the_end(name, how, said)
    commands.clear()
    row = {"kind": kind, "reads": what, "from": after, "of": counts[kind, what], "once": times == 1, "outcome": how}
    return row | {"said": (said or first)[:300], "difference": found}


def work(options: argparse.Namespace) -> dict:
    """In the process that has the library."""
    preload()
    done = failures = refused = 0
    with tempfile.TemporaryDirectory() as name, Log(options.log, options.seed) as log:
        commands, counts = Commands(Path(name)), {}
        for number in range(log.done, options.cases):
            row = case(commands, counts, options.seed, number)
            log.write(number, row)
            bad = row["outcome"][0].isupper() or row["difference"]
            done, failures = done + 1, failures + bool(bad)
            refused += row["outcome"].startswith("refused")
            if bad:
                print(json.dumps(row), flush=True)
    return {"cases": done, "refused": refused, "failures": failures}


def main(argv: list[str] | None = None) -> dict:
    options = asked(__doc__, 32).parse_args(argv)
    if LIBRARY not in os.environ:
        return again_behind(SOURCE, "tests.faults.reading", argv)
    result = work(options)
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    sys.exit(bool(main()["failures"]))
