"""Kills training runs with SIGKILL until they end all the same, and compares them with a run that was left alone.

    python -m tests.faults.kills --kills 200 --seed 0 [--where anywhere|writing] [--log FILE]

Children are forked behind the imports and the composition of the configuration, so that a life is short and most kills
hit the run itself. `anywhere` kills after a random processor time; `writing` within the writing of a checkpoint:
before, between or behind its writes, renames and syncs, or with half of the file written. The last line is JSON; each
finished run is a line of FILE, and those that FILE holds are not done again.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import tempfile
from pathlib import Path

from tests.faults import child
from tests.faults.log import asked
from tests.faults.training import TRAINING
from tests.system.contents import contents, difference
from xmtc.job import composed, continued, execute
from xmtc.training import (
    direct,
    kept,
    session,  # noqa: F401  here, not in every child
)


class Run:
    """A run that goes on in one life after the other; what a life is told is made once."""

    def __init__(self, folder: Path, cache: Path):
        self.folder = folder
        self._first = composed([*TRAINING, f"paths.cache_dir={cache}", f"hydra.run.dir={folder}"])
        self._next: tuple | None = None

    def told(self) -> tuple:
        checkpoints = self.folder / "checkpoints"
        if not any((checkpoints / name).exists() for name in (kept.LAST, kept.PREVIOUS)):
            return self._first
        self._next = self._next or composed(continued([f"resume={self.folder}"]))
        return self._next


def live(run: Run, die_at: int | None, half: bool) -> int:
    """One life of the run, in a child process; its pid."""
    told = run.told()

    def work() -> None:
        if die_at is not None:
            die_while_writing(die_at, half)
        execute(*told)

    return child.start(work, run.folder.with_suffix(".log"))


def die_while_writing(at: int, half: bool) -> None:
    """The `at`-th boundary within kept.write is this process's last. half: what it has written then is cut in two."""
    left, sync = [at], kept._sync

    def boundary(function, before):
        def wrapped(*arguments):
            left[0] -= 1
            if before and left[0] <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            answer = function(*arguments)
            if left[0] <= 0:
                if half and function is sync and os.path.isfile(arguments[0]):
                    os.truncate(arguments[0], os.path.getsize(arguments[0]) // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        return wrapped

    before = at % 2 == 0
    kept._sync = boundary(kept._sync, before)
    kept._write_list = boundary(kept._write_list, before)
    kept.os = type("os", (), {**vars(os), "replace": staticmethod(boundary(os.replace, before))})
    direct.os = type("os", (), {**vars(os), "write": staticmethod(boundary(os.write, before))})


def lives(run: Run, choose: random.Random, where: str, longest: float) -> int:
    """Runs and kills until the run has ended; how often it was killed."""
    kills = 0
    while True:
        die_at = choose.randrange(1, 60) if where == "writing" else None
        pid = live(run, die_at, choose.random() < 0.3)
        most = choose.uniform(0.02, 1.1) * longest if where == "anywhere" else None
        code, _ = child.wait(pid, most, lambda pid: os.kill(pid, signal.SIGKILL))
        if code >= 0:
            if code:
                errors = run.folder.with_suffix(".log").read_text()
                raise SystemExit(f"a life ended with an error:\n{errors[-3000:]}")
            return kills
        kills += 1


def alone(folder: Path, cache: Path) -> float:
    """A run that nobody kills; its processor seconds."""
    code, seconds = child.wait(live(Run(folder, cache), None, False))
    if code:
        raise SystemExit(f"the run that nobody killed failed:\n{folder.with_suffix('.log').read_text()[-3000:]}")
    return seconds


def main() -> None:
    parser = asked(__doc__, 200, "kills")
    parser.add_argument("--where", choices=("anywhere", "writing"), default="anywhere")
    options = parser.parse_args()
    different = 0
    rows = options.log.read_text().splitlines() if options.log and options.log.exists() else []
    done = [row for row in map(json.loads, rows) if (row["seed"], row["where"]) == (options.seed, options.where)]
    runs, total = len(done), sum(row["kills"] for row in done)
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        alone(base / "first", base / "cache")  # makes the store
        longest = alone(base / "whole", base / "cache")
        wanted, began = contents(base / "whole"), sum(os.times()[:4])
        before = total
        while total < options.kills:
            choose = random.Random(f"{options.seed}/{options.where}/{runs}")
            run = Run(base / f"run{runs}", base / "cache")
            kills = lives(run, choose, options.where, longest)
            found = difference(contents(run.folder), wanted)
            total, runs, different = total + kills, runs + 1, different + bool(found)
            line = json.dumps({"seed": options.seed, "where": options.where, "kills": kills, "difference": found})
            print(line, flush=True)
            if options.log:
                options.log.parent.mkdir(parents=True, exist_ok=True)
                with open(options.log, "a") as file:
                    file.write(line + "\n")
            shutil.rmtree(run.folder)
        seconds = (sum(os.times()[:4]) - began) / max(total - before, 1)
    result = {"where": options.where, "kills": total, "runs": runs, "different": different}
    print(json.dumps(result | {"processor_seconds_a_kill": round(seconds, 2)}))
    raise SystemExit(bool(different))


if __name__ == "__main__":
    main()
