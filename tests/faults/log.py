"""What a harness is asked to do, and what it has done, a JSON line a case, so that the next call goes on behind it and
counts add up."""

from __future__ import annotations

import argparse
import json
import traceback
from pathlib import Path


class Log:
    """path: null keeps nothing. done: cases of this seed that the file holds already."""

    def __init__(self, path: Path | None, seed: int):
        self.path, self.seed, self._file = path, seed, None
        lines = path.read_text(encoding="utf-8").splitlines() if path is not None and path.exists() else []
        numbers = [row["number"] for line in lines if (row := json.loads(line))["seed"] == seed]
        self.done = max(numbers, default=-1) + 1

    def __enter__(self) -> Log:
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "a", encoding="utf-8")
        return self

    def write(self, number: int, facts: dict) -> None:
        if self._file is not None:
            self._file.write(json.dumps({"seed": self.seed, "number": number} | facts) + "\n")
            self._file.flush()

    def __exit__(self, *_) -> None:
        if self._file is not None:
            self._file.close()


def asked(about: str, count: int, what: str = "cases") -> argparse.ArgumentParser:
    """Of a harness: how many cases, with which seed, and where its log is. about: its docstring."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument(f"--{what}", type=int, default=count)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path)
    return parser


def first_line(error: BaseException) -> str:
    """The exception, and the last line of our own code that it went through."""
    ours = [f for f in traceback.extract_tb(error.__traceback__) if "/xmtc/" in f.filename]
    where = f" at {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]}{where}"
