"""Sets the clock back and forward while commands run, and compares what they end with.

    python -m tests.faults.clock --cases 24 [--seed 0] [--log FILE]

A library that stands before the system's own answers every question for the time of day (of Python, PyTorch and all
other libraries) with a time that jumps, by up to a day, forward and back. Kinds of cases: a run; one that is stopped by
SIGTERM and continued; two processes that train together; a server and a prediction. Results must be those of a true
clock to the bit, seconds in them those that have passed, nobody may be given up, and the server must answer and stop.
Needs a C compiler. The last line is JSON.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import http.client
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.faults import child
from tests.faults.commands import preload
from tests.faults.log import Log, asked
from tests.faults.preloaded import LIBRARY, again_behind
from tests.faults.training import TRAINING

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <sys/time.h>
#include <time.h>
static uint64_t state = 1;
static double share = 0;
static long shift = 0, count = 0;
void jumps(uint64_t seed, double chance) { state = 2 * seed + 1; share = chance; shift = count = 0; }
long jumped(void) { return count; }
static uint64_t next(void) { state ^= state << 13; state ^= state >> 7; state ^= state << 17; return state; }
int clock_gettime(clockid_t id, struct timespec *t) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int code = real(id, t);
  if (code || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE)) return code;
  if (share > 0 && (next() >> 11) * 0x1p-53 < share) { shift = (long)(next() % 172801) - 86400; count++; }
  t->tv_sec += shift;
  return 0;
}
int gettimeofday(struct timeval *t, void *zone) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (t) { t->tv_sec = now.tv_sec; t->tv_usec = now.tv_nsec / 1000; }
  return 0;
}
time_t time(time_t *t) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (t) *t = now.tv_sec;
  return now.tv_sec;
}
"""
KINDS = ("run", "continued", "run", "answers", "continued", "ranks")
BY_MINUTES = ("checkpoints.steps=null", "checkpoints.minutes=1e-4", "checkpoints.share=1")
MOST = 120  # seconds in which a server must have begun, answered and stopped
TEXTS = ["g0c1w1 g0c2w0 n3", "g3c0w1 n1 n1 n2", "", "n7 n8"]


class Jumps:
    """Of a clock, at a share `chance` of the questions for the time of day."""

    def __init__(self, seed: int, chance: float):
        self.seed, self.chance = seed, chance
        self.library = ctypes.CDLL(os.environ[LIBRARY])
        self.library.jumps.argtypes = [ctypes.c_uint64, ctypes.c_double]

    def begin(self) -> None:
        self.library.jumps(self.seed, self.chance)

    def end(self) -> None:
        self.library.jumps(0, 0.0)

    def around(self, work):
        """The work of a child, from whose beginning on its clock jumps."""

        def jumping() -> None:
            self.begin()
            work()

        return jumping


def told(base: Path, folder: Path, *more: str) -> list[str]:
    return [*TRAINING, *BY_MINUTES, f"paths.cache_dir={base / 'cache'}", f"hydra.run.dir={folder}", *more]


def run(base: Path, folder: Path, choose: random.Random, jumps: Jumps, longest: float, stops: bool) -> dict:
    """A run whose clock jumps; stops: by SIGTERM, at random moments, until one life comes to its end."""
    errors, lives = folder.with_suffix(".log"), 0
    while True:
        saved = any((folder / "checkpoints" / name).exists() for name in ("last.ckpt", "previous.ckpt"))
        words = [f"resume={folder}"] if saved else told(base, folder)
        pid = child.start(jumps.around(child.command("run", words)), errors)
        after = child.sometime(choose, longest) if stops and lives < 3 else None
        code, _ = child.wait(pid, after, lambda pid: os.kill(pid, signal.SIGTERM))
        lives += 1
        if code not in (75, -signal.SIGTERM):  # the second: before it listens
            how, said = child.outcome(code, errors)
            return {"lives": lives, "outcome": how if how == "ended" else how.upper(), "said": said}


def ranks(base: Path, folder: Path, jumps: Jumps) -> dict:
    """Two processes that train together, each with its own jumps (of the same seed)."""
    from tests.faults.ranks import DDP, start

    errors = folder.with_suffix(".log")
    jumps.begin()  # a fork inherits the library's state
    pids = start(errors, told(base, folder, *DDP), launched=False)
    jumps.end()
    code = max((child.wait(pid)[0] for pid in pids), key=abs)
    how, said = child.outcome(code, errors)
    return {"outcome": how if how == "ended" else how.upper(), "said": said}


def answers(base: Path, run: Path, jumps: Jumps) -> dict:
    """A file answered by `xmtc.predict` and by a server, under a clock that jumps."""
    given, found = base / "texts.jsonl", base / "found.jsonl"
    given.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    errors = base / "predict.log"
    words = [f"checkpoint={run}", f"input={given}", f"output={found}"]
    code, _ = child.wait(child.start(jumps.around(child.command("predict", words)), errors))
    if code:
        return {"outcome": "NOT PREDICTED", "said": child.outcome(code, errors)[1]}
    wanted = [json.loads(line) for line in found.read_text().splitlines()]
    found.unlink()
    errors, began = base / "serve.log", time.monotonic()
    pid = child.start(jumps.around(child.command("serve", [str(run), "port=0", "threads=1"])), errors)
    try:
        while not (port := re.search(r"listening on http://127.0.0.1:(\d+)", errors.read_text())):
            if time.monotonic() - began > MOST or not child.alive(pid):
                return {"outcome": "NO SERVER", "said": errors.read_text()[-1500:]}
            time.sleep(0.05)
        for turn in range(10):
            connection = http.client.HTTPConnection("127.0.0.1", int(port[1]), timeout=MOST)
            connection.request("POST", "/predict", json.dumps({"texts": TEXTS, "k": 5}).encode())
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                return {"outcome": "NO ANSWER", "said": body.decode()[:500]}
            if [answer["labels"] for answer in json.loads(body)["predictions"]] != [row["labels"] for row in wanted]:
                return {"outcome": "OTHER ANSWERS", "said": ""}
        os.kill(pid, signal.SIGTERM)
        code, _ = child.wait(pid)
        pid = None
    finally:
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    if code or child.TRACE in errors.read_text():
        return {"outcome": "ENDED WRONGLY", "said": errors.read_text()[-1500:]}
    return {"outcome": "ended", "said": "", "answers": wanted}


def impossible_seconds(folder: Path, passed: float) -> str:
    """What a run says of its seconds that cannot be so, if anything."""
    with open(folder / "curves.csv") as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    result = json.loads((folder / "metrics.json").read_text())
    named = {"train_seconds": result["train_seconds"], "checkpoint_seconds": result["checkpoint_seconds"]}
    if seconds != sorted(seconds) or not all(0 <= value <= passed for value in (*seconds, *named.values())):
        return f"seconds {seconds} {named} within {passed:.1f}"
    return ""


def case(base: Path, wanted: dict, seed: int, number: int, longest: float) -> dict:
    from tests.system.contents import contents, difference

    choose = random.Random(f"{seed}/{number}")
    kind, chance = KINDS[number % len(KINDS)], choose.choice((1.0, 0.1, 0.01))
    jumps, began = Jumps(choose.randrange(2**40), chance), time.monotonic()
    folder = base / f"{kind}{number}"
    if kind == "answers":
        row = answers(base, base / "whole", jumps)
        found = "" if row["outcome"] != "ended" or row.pop("answers") == wanted["answers"] else "other answers"
    else:
        row = ranks(base, folder, jumps) if kind == "ranks" else run(
            base, folder, choose, jumps, longest, kind == "continued"
        )  # fmt: skip
        found = ""
        if row["outcome"] == "ended":
            found = difference(contents(folder), wanted["ranks" if kind == "ranks" else "run"])
            found = found or impossible_seconds(folder, time.monotonic() - began)
        shutil.rmtree(folder, ignore_errors=True)
    return {"kind": kind, "chance": chance} | row | {"difference": found}


def work(options: argparse.Namespace) -> dict:
    """In the process that has the library."""
    from tests.system.contents import contents

    preload()
    probe = Jumps(1, 1.0)
    probe.begin()
    moved = max(abs(time.time() - time.time()) for _ in range(20))
    probe.end()
    if moved < 60:
        raise SystemExit("the clock cannot be replaced here")
    done = failures = 0
    with tempfile.TemporaryDirectory() as name, Log(options.log, options.seed) as log:
        base, wanted = Path(name), {}
        calm = Jumps(0, 0.0)
        pid = child.start(child.command("run", told(base, base / "whole")), base / "whole.log")
        code, longest = child.wait(pid)
        if code:
            raise SystemExit((base / "whole.log").read_text()[-3000:])
        wanted["run"] = contents(base / "whole")
        wanted["answers"] = answers(base, base / "whole", calm).get("answers")
        for number in range(log.done, options.cases):
            if KINDS[number % len(KINDS)] == "ranks" and "ranks" not in wanted:
                if ranks(base, base / "both", calm)["outcome"] != "ended":
                    raise SystemExit((base / "both.log").read_text()[-3000:])
                wanted["ranks"] = contents(base / "both")
            row = case(base, wanted, options.seed, number, longest)
            log.write(number, row)
            bad = row["outcome"] != "ended" or row["difference"]
            done, failures = done + 1, failures + bool(bad)
            if bad:
                print(json.dumps(row), flush=True)
    return {"cases": done, "failures": failures}


def main(argv: list[str] | None = None) -> dict:
    options = asked(__doc__, 24).parse_args(argv)
    if LIBRARY in os.environ:
        result = work(options)
        print(json.dumps(result))
        return result
    return again_behind(SOURCE, "tests.faults.clock", argv)


if __name__ == "__main__":
    sys.exit(bool(main()["failures"]))
