"""Small commands, what each ends with when nobody disturbs it, and how a disturbed one is started again."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from tests.faults import child
from tests.faults.training import TRAINING
from tests.system.contents import contents, difference
from xmtc.lean import lean_imports

CORPUS = ("dataset=folder", "encoder=bow", "prepare_workers=1")
PARTS = {"train": 4000, "dev": 50, "test": 50}  # documents
OURS = ("xmtc.training.session", "xmtc.entry", "hydra", "xmtc.loading", "xmtc.predicting.job")


def preload() -> None:
    """Imports here, not in every child; of those that every command leaves out, none."""
    lean_imports()
    for name in OURS:
        importlib.import_module(name)


def stores(cache: Path) -> dict[str, str]:
    """The checksums of all stores."""
    return {path.parent.name: path.read_text() for path in sorted(cache.glob("*/checksums"))}


class Commands:
    """`prepare`, `run` and `predict` on one small corpus, in a folder `base`.

    compare: contents of two runs, '' if they are the same. seconds: processor time of each, undisturbed. Each case
    works in `cache`, `run` and `output`, which `clear` removes.
    """

    def __init__(self, base: Path, compare: Callable[[dict, dict], str] = difference):
        self.compare, self.base, self.errors = compare, base, base / "errors.log"
        self.cache, self.run, self.output = base / "cache", base / "run", base / "out.jsonl"
        self._cache, self._output = base / "whole-cache", base / "whole-out.jsonl"
        self.finished = base / "whole-run"  # what `run` leaves, and `predict` asks
        self.texts = base / "texts.txt"
        lines = [f"g{i % 4}c{i % 3}w{i % 5} n{i % 9} g0c1w1" for i in range(3000)]
        self.texts.write_text("\n".join(["", *lines]) + "\n", encoding="utf-8")
        self.corpus = base / "corpus"
        self.corpus.mkdir()
        for part, count in PARTS.items():
            for kind, line in (("texts", "w{0} v{1} some more words of document {2}"), ("labels", "l{0} m{1}")):
                lines = (line.format(i % 11, i * i % 7, i) for i in range(count))
                (self.corpus / f"{part}_{kind}.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")
        self.seconds = {}
        for name in ("prepare", "run", "predict"):
            self.seconds[name] = self._undisturbed(name)
            if name == "prepare":
                self._stores = stores(self._cache)
        self._contents = contents(self.finished)

    def words(self, name: str, whole: bool = False) -> list[str]:
        cache, run = (self._cache, self.finished) if whole else (self.cache, self.run)
        if name == "prepare":
            return [*CORPUS, f"dataset.path={self.corpus}", f"paths.cache_dir={cache}"]
        if name == "run":
            return [*TRAINING, f"paths.cache_dir={cache}", f"hydra.run.dir={run}"]
        output = self._output if whole else self.output
        return [f"checkpoint={self.finished}", f"input={self.texts}", f"output={output}"]

    def _undisturbed(self, name: str) -> float:
        code, seconds = child.wait(child.start(child.command(name, self.words(name, whole=True)), self.errors))
        if code:
            raise SystemExit(f"{name} failed undisturbed:\n{self.errors.read_text()[-3000:]}")
        return seconds

    def give_store(self) -> None:
        shutil.copytree(self._cache, self.cache)

    def disturbed(
        self, name: str, after: float | None, happens: Callable[[int], None], around=lambda work: work, more=()
    ) -> tuple[str, str]:
        """(stopped, ended, refused, died or what must not be, what was said) of a command to which something happens.
        around: of the child's work. more: overrides."""
        work = around(child.command(name, [*self.words(name), *more]))
        code, _ = child.wait(child.start(work, self.errors), after, happens)
        if code in (75, -signal.SIGTERM, -signal.SIGKILL):
            return "stopped", ""
        return child.outcome(code, self.errors)

    def again(self, name: str, more=(), around=lambda work: work) -> tuple[str, str]:
        """The command once more, to its end; a run is continued if it has saved something."""
        saved = any((self.run / "checkpoints" / kept).exists() for kept in ("last.ckpt", "previous.ckpt"))
        words = [f"resume={self.run}"] if name == "run" and saved else [*self.words(name), *more]
        code, _ = child.wait(child.start(around(child.command(name, words)), self.errors))
        return child.outcome(code, self.errors)

    def to_the_end(self, name: str, how: str, said: str, more=()) -> tuple[str, str, str]:
        """(outcome, what was said, difference) behind a disturbed command: it is started again if it has not ended."""
        if how in ("stopped", "refused", "died"):
            then, error = self.again(name, more)
            if then != "ended":
                return f"NOT AGAIN ({how})", error, ""
            how = f"{how}, again"
        elif how != "ended":
            return how, said, ""
        return how, said, self.difference(name)

    def difference(self, name: str) -> str:
        """Between what the command has left and what it should have; '' for none."""
        if name == "run":
            found = self.compare(contents(self.run), self._contents)
            left = [path.name for path in self.run.rglob("*.tmp")]
            return found or (f"left {left}" if left else "")
        if name == "predict":
            return "" if self.output.read_bytes() == self._output.read_bytes() else "other answers"
        how, said = self.again(name)  # what it has made may have been harmed since: a second call must see that
        return "" if how == "ended" and stores(self.cache) == self._stores else f"another store; {said}"

    def clear(self) -> None:
        for path in (self.cache, self.run):
            shutil.rmtree(path, ignore_errors=True)
        for path in self.base.glob(f"{self.output.name}*"):
            path.unlink()


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
