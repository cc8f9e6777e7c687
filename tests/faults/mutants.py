"""Changes one operator, number or statement of the code at a time, and looks whether a test notices.

    python -m tests.faults.mutants [--what heads execution metrics] [--minutes 30] [--log FILE] [--again]

Each is judged by those tests that mirror its module and reach its line, in a process forked behind their collection,
the most telling first, until one fails. A mutant that FILE holds is not judged again, as long as its module is the
same. Those that were not noticed are for a person to judge: the ones that change no answer are listed, with the reason,
in the page beside FILE (FILE with the suffix .md), and count neither for nor against. `--again` judges those that were
not noticed and are not listed anew, by the slow tests too. The last line is JSON: how many were noticed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import re
import resource
import select
import signal
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis
import pytest

from tests.faults import forked
from tests.faults.changes import Mutant, count, mutant
from tests.faults.swap import living, swap

ROOT = Path(__file__).parents[2]
LABEL_SIDE = ("execution/test_dense.py", "execution/test_chunked.py", "execution/test_safety.py")
HEADS = ("heads/test_block.py", "heads/test_own_heads.py")
MIRRORS = {  # module -> the test files that judge it
    "heads/block.py": (*HEADS, *LABEL_SIDE),
    "heads/cooccurrence.py": ("heads/test_own_heads.py",),
    "heads/cornet.py": HEADS,
    "heads/lcenet.py": HEADS,
    "heads/none.py": HEADS,
    "execution/auto.py": ("execution/test_auto.py",),
    "execution/base.py": (*LABEL_SIDE, "execution/test_updates.py"),
    "execution/chunked.py": (*LABEL_SIDE, "execution/test_updates.py", "execution/test_no_waiting.py"),
    "execution/dense.py": ("execution/test_dense.py", "execution/test_safety.py"),
    "execution/sharded.py": ("execution/test_sharded.py",),
    "execution/shortlist.py": ("execution/test_shortlist.py", "execution/test_safety.py"),
    "execution/sweeps.py": (*LABEL_SIDE, "execution/test_updates.py", "execution/test_sharded.py"),
    "execution/topk.py": ("execution/test_dense.py",),
    "execution/updates.py": ("execution/test_updates.py",),
    "metrics/frequency_bins.py": ("metrics/test_ranking.py",),
    "metrics/hits.py": ("metrics/test_ranking.py", "metrics/test_label_sets.py"),
    "metrics/label_sets.py": ("metrics/test_label_sets.py",),
    "metrics/propensity.py": ("metrics/test_propensity.py", "metrics/test_ranking.py"),
    "metrics/ranking.py": ("metrics/test_ranking.py",),
}
GROUPS = ("heads", "execution", "metrics")
MEMORY = 6 * 2**30  # bytes; and ten times the processor time that the tests take
QUICK = 3.0  # seconds of processor time; a test that takes longer judges only with --again
ENOUGH = 30.0  # seconds of tests for one mutant, without --again
NOTICED, SAME, NOT_PLACED = True, False, None


@dataclass
class Known:
    """Of one test: processor seconds unchanged, lines of our code that it reaches, how often it tried and noticed."""

    seconds: float
    lines: set[tuple[str, int]]
    tried: int = 0
    noticed: int = 0

    def worth(self) -> float:
        """Mutants it is expected to notice in a second."""
        return (self.noticed + 0.5) / (self.tried + 1) / (self.seconds + 0.01)


@dataclass
class Judge:
    """A plugin of pytest that runs the collected tests for every mutant. todo: (module, number of the mutant)."""

    todo: list[tuple[str, int]]
    tell: Callable[[str, int, Mutant, dict], None]
    thorough: bool
    until: float  # time.monotonic()
    known: dict[str, Known] = field(default_factory=dict)

    def pytest_runtestloop(self, session):
        self.session = session
        for item in session.items:
            if hasattr(item.module, "run_distributed"):
                item.module.run_distributed = forked.run_forked
        found = self.run(session.items, None, 600) if not session.testsfailed else {}
        if found.get("failed", True):
            raise session.Failed(f"the tests fail without a change: {found}")
        self.known = {name: Known(s, set(map(tuple, lines))) for name, (s, lines) in found["done"].items()}
        functions: dict[str, dict] = {}
        for module, number in self.todo:
            if time.monotonic() > self.until:
                break
            path = ROOT / "xmtc" / module
            name = "xmtc." + module.removesuffix(".py").replace("/", ".")
            functions.setdefault(module, living(path))
            made = mutant(path.read_text(), number)
            items = self.chosen(session.items, module, made)

            def change_it(name=name, path=path, tree=made.tree, module=module):
                return swap(importlib.import_module(name), path, tree, functions[module])

            began = time.monotonic()
            expected = sum(self.known[item.nodeid].seconds for item in items)
            found = self.run(items, change_it, expected)
            by, done = found.get("failed", "its process was ended"), found.get("done", {})
            for nodeid in done:
                self.known[nodeid].tried += 1
            if by in self.known:
                self.known[by].noticed += 1
            words = {"": SAME, "not placed": NOT_PLACED}.get(by, NOTICED)
            facts = {"noticed": words, "by": by.rpartition("/")[2], "tests": len(items)}
            self.tell(module, number, made, facts | {"seconds": round(time.monotonic() - began, 1)})
        return True

    def chosen(self, items: list, module: str, made: Mutant) -> list:
        """Tests that mirror the module and reach the change; all, if that is read when the module is imported."""
        path = str(ROOT / "xmtc" / module)
        ours = [i for i in items if str(i.path.relative_to(ROOT / "tests")) in MIRRORS[module]]
        first, last = made.function
        if first:
            reached = [i for i in ours if (path, made.line) in self.known[i.nodeid].lines]
            # a part of a statement on several lines, or one that no test reaches
            within = {(path, line) for line in range(first, last + 1)}
            ours = reached or [i for i in ours if self.known[i.nodeid].lines & within]
        ours.sort(key=lambda item: -self.known[item.nodeid].worth())
        if self.thorough:
            return ours
        few, seconds = [], 0.0
        for item in ours:
            cost = self.known[item.nodeid].seconds
            if cost < QUICK and seconds + cost < ENOUGH:
                few.append(item)
                seconds += cost
        return few

    def run(self, items: list, change_it, expected: float) -> dict:
        """Runs tests until one fails, in a process of its own, behind the change. `failed`: which, or ''; `done`: those
        that ran, with seconds and lines where there is no change. Empty if the process was ended."""
        read, write = os.pipe()
        if pid := os.fork():
            os.close(write)
            text, turns = b"", 0
            with os.fdopen(read, "rb", buffering=0) as answers:
                while turns < 120 + 20 * expected:  # in turns: who is stopped does not wait
                    if not select.select([answers], [], [], 1.0)[0]:
                        turns += 1
                    elif part := answers.read(1 << 20):
                        text += part
                    else:
                        break
                else:
                    os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            try:
                return json.loads(text)
            except ValueError:
                return {}
        try:
            os.setpgid(0, 0)
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1), os.dup2(quiet, 2)
            answer = self.judge(items, change_it, expected)
            os.set_blocking(write, True)
            with os.fdopen(write, "w") as file:
                json.dump(answer, file)
        finally:
            os._exit(0)

    def judge(self, items: list, change_it, expected: float) -> dict:
        done: dict[str, object] = {}
        if change_it is None:
            watch_lines()
        else:
            most = int(10 * expected) + 20
            resource.setrlimit(resource.RLIMIT_CPU, (most, most))
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
            try:
                if not change_it():
                    return {"failed": "not placed", "done": done}
            except Exception as error:
                return {"failed": f"import: {type(error).__name__}", "done": done}
        for item, following in zip(items, [*items[1:], None], strict=False):  # there may be none
            began = sum(os.times()[:4])
            forked.seen.clear()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            lines = sorted(forked.seen) if change_it is None else None
            done[item.nodeid] = round(sum(os.times()[:4]) - began, 3), lines
            if self.session.testsfailed:
                return {"failed": item.nodeid, "done": done}
        return {"failed": "", "done": done}


def watch_lines() -> None:
    """From now on `forked.seen` collects the lines of the judged modules that this process, and its ranks, execute."""
    paths = {str(ROOT / "xmtc" / module) for module in MIRRORS}

    def line(frame, event, _):
        if event == "line":
            forked.seen.add((frame.f_code.co_filename, frame.f_lineno))
        return line

    sys.settrace(lambda frame, event, _: line if frame.f_code.co_filename in paths else None)


def judge(todo: list[tuple[str, int]], tell, thorough: bool, until: float) -> None:
    hypothesis.settings.register_profile("mutants", database=None, derandomize=True, max_examples=25, deadline=None)
    hypothesis.settings.load_profile("mutants")
    files = sorted({f"tests/{file}" for module, _ in todo for file in MIRRORS[module]})
    options = ["-q", "-p", "no:cacheprovider", "--timeout=0"]
    plugin = Judge(todo, tell, thorough, until)
    if todo and (status := pytest.main([*options, *files], plugins=[plugin])) not in (0, 5):
        sys.exit(f"the tests could not be collected or fail without a change ({status})")


def listed(page: Path) -> set[tuple[str, str]]:
    """(file, statement) of the changes that a person has found to change no answer."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    return set(re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| .+ \|$", text, flags=re.MULTILINE))


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=1_000_000, help="at most, in this call")
    parser.add_argument("--minutes", type=float, default=1e6, help="after which no other is begun")
    parser.add_argument("--seed", type=int, default=0, help="of their order")
    parser.add_argument("--what", nargs="+", choices=GROUPS, default=GROUPS, help="and in which order")
    parser.add_argument("--log", type=Path)
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args(argv)
    until = time.monotonic() + 60 * options.minutes
    everything, sources = [], {}
    for group in options.what:
        modules = [name for name in MIRRORS if name.startswith(group)]
        texts = {name: (ROOT / "xmtc" / name).read_text() for name in modules}
        sources |= {name: f"{zlib.crc32(text.encode()):08x}" for name, text in texts.items()}
        numbers = [(name, number) for name in modules for number in range(count(texts[name]))]
        random.Random(options.seed).shuffle(numbers)
        everything += numbers
    rows, others = {}, []
    for line in options.log.read_text().splitlines() if options.log and options.log.exists() else ():
        row = json.loads(line)
        place = row["file"].removeprefix("xmtc/"), row["mutant"]
        if sources.get(place[0]) == row["source"]:
            rows[place] = row
        elif place[0] not in sources:
            others.append(row)  # of a group that is not asked for
    equivalent = listed(options.log.with_suffix(".md")) if options.log else set()

    def is_equivalent(row: dict) -> bool:
        return (row["file"], row["statement"]) in equivalent

    def tell(module: str, number: int, made: Mutant, facts: dict) -> None:
        row = {"file": f"xmtc/{module}", "source": sources[module], "mutant": number, "change": made.change,
               "statement": made.statement, **facts}  # fmt: skip
        rows[module, number] = row
        if options.log:
            options.log.parent.mkdir(parents=True, exist_ok=True)
            temporary = options.log.with_suffix(".tmp")
            temporary.write_text("".join(json.dumps(row) + "\n" for row in [*others, *rows.values()]))
            temporary.replace(options.log)
        if row["noticed"] is not NOTICED:
            print(json.dumps(row), flush=True)

    if options.again:
        todo = [place for place, row in rows.items() if row["noticed"] is SAME and not is_equivalent(row)]
    else:
        todo = [place for place in everything if place not in rows or rows[place]["noticed"] is NOT_PLACED]
    judge(todo[: options.mutants], tell, options.again, until)
    placed = [row for row in rows.values() if row["noticed"] is not NOT_PLACED]
    noticed = sum(row["noticed"] for row in placed)
    same = sum(not row["noticed"] and is_equivalent(row) for row in placed)
    result = {"of": len(everything), "judged": len(placed), "noticed": noticed, "equivalent": same}
    print(json.dumps(result | {"score": round(noticed / max(len(placed) - same, 1), 3)}))
    return result


if __name__ == "__main__":
    main()
