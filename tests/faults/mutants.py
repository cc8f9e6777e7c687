"""Changes one operator, number or statement of the code at a time, and looks whether a test notices.

    python -m tests.faults.mutants --mutants 200 [--seed 0] [--what metrics heads execution] [--log FILE] [--again]

Mutants are drawn in random order, so that a part of them is a sample of all. Each is judged by the tests that mirror
its module, in a process forked behind their collection, the quickest first, until one fails. The last line is JSON: how
many were noticed; those that were not are listed in FILE, to be judged by a person. `--again` judges those of FILE
anew, by the slow tests too, or when there are more tests.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import resource
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis
import pytest

from tests.faults.changes import count, mutant
from tests.faults.log import Log
from tests.faults.swap import living, swap

ROOT = Path(__file__).parents[2]
LABEL_SIDE = ("execution/test_dense.py", "execution/test_chunked.py", "execution/test_safety.py")
# module -> the test files that judge it. Not sharded.py: its tests start processes, which import it unchanged
MIRRORS = {
    "metrics/frequency_bins.py": ("metrics/test_ranking.py",),
    "metrics/hits.py": ("metrics/test_ranking.py", "metrics/test_label_sets.py"),
    "metrics/label_sets.py": ("metrics/test_label_sets.py",),
    "metrics/propensity.py": ("metrics/test_propensity.py", "metrics/test_ranking.py"),
    "metrics/ranking.py": ("metrics/test_ranking.py",),
    "heads/block.py": ("heads/test_block.py", *LABEL_SIDE),
    "heads/cornet.py": ("heads/test_block.py",),
    "heads/lcenet.py": ("heads/test_block.py",),
    "heads/none.py": ("heads/test_block.py",),
    "execution/auto.py": ("execution/test_auto.py",),
    "execution/base.py": (*LABEL_SIDE, "execution/test_updates.py"),
    "execution/chunked.py": (*LABEL_SIDE, "execution/test_updates.py", "execution/test_no_waiting.py"),
    "execution/dense.py": ("execution/test_dense.py", "execution/test_safety.py"),
    "execution/shortlist.py": ("execution/test_shortlist.py", "execution/test_safety.py"),
    "execution/sweeps.py": (*LABEL_SIDE, "execution/test_updates.py"),
    "execution/topk.py": ("execution/test_dense.py",),
    "execution/updates.py": ("execution/test_updates.py",),
}
MEMORY = 6 * 2**30  # bytes; and ten times the processor time that the tests take
QUICK = 3.0  # seconds of processor time; a test that takes longer judges only what the others left


@dataclass
class Judge:
    """A plugin of pytest that runs the collected tests once for every mutant. todo: (place, module, number)."""

    todo: list[tuple[int, str, int]]
    tell: object
    thorough: bool
    seconds: dict[str, float] = field(default_factory=dict)  # of each test, unchanged

    def pytest_runtestloop(self, session):
        self.session = session
        if session.testsfailed or self.run(session.items, self.seconds, None):
            raise session.Failed("the tests fail without a change")
        functions: dict[str, dict] = {}
        for place, module, number in self.todo:
            path = ROOT / "xmtc" / module
            name = "xmtc." + module.removesuffix(".py").replace("/", ".")
            functions.setdefault(module, living(path))
            tree, change = mutant(path.read_text(), number)
            items = [i for i in session.items if str(i.path.relative_to(ROOT / "tests")) in MIRRORS[module]]
            items = [i for i in items if self.thorough or self.seconds[i.nodeid] < QUICK]
            items.sort(key=lambda item: self.seconds[item.nodeid])

            def change_it(name=name, path=path, tree=tree, module=module):
                return swap(importlib.import_module(name), path, tree, functions[module])

            began = time.monotonic()
            found = self.run(items, None, change_it)
            words = {0: False, 3: None}.get(found, True)  # null: could not be put in its place
            self.tell(place, {"file": f"xmtc/{module}", "mutant": number, "change": change, "noticed": words,
                              "seconds": round(time.monotonic() - began, 1)})  # fmt: skip
        return True

    def run(self, items: list, seconds: dict | None, change_it) -> int:
        """0 if all tests pass, in a process of its own, behind the change. seconds: of each test, to be filled in."""
        read, write = os.pipe()
        pid = os.fork()
        if pid:
            os.close(write)
            with open(read) as answers:
                text = answers.read()
            if seconds is not None:
                seconds.update(json.loads(text or "{}"))
            return os.waitpid(pid, 0)[1]
        status = 2
        try:
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1), os.dup2(quiet, 2)
            if seconds is None:
                most = int(10 * sum(self.seconds[item.nodeid] for item in items)) + 20
                resource.setrlimit(resource.RLIMIT_CPU, (most, most))
                resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
            status = 0 if change_it is None or change_it() else 3
            taken = {}
            for item, following in zip(items, [*items[1:], None], strict=True) if status == 0 else ():
                began = time.process_time()
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                taken[item.nodeid] = time.process_time() - began
                if self.session.testsfailed:
                    status = 1
                    break
            if seconds is not None:
                os.write(write, json.dumps(taken).encode())
        finally:
            os._exit(status)


def judge(todo: list[tuple[int, str, int]], tell, thorough: bool) -> None:
    hypothesis.settings.register_profile("mutants", database=None, derandomize=True, max_examples=25, deadline=None)
    hypothesis.settings.load_profile("mutants")
    files = sorted({f"tests/{file}" for _, module, _ in todo for file in MIRRORS[module]})
    options = ["-q", "-p", "no:cacheprovider", "--timeout=0"]
    if todo and (status := pytest.main([*options, *files], plugins=[Judge(todo, tell, thorough)])) not in (0, 5):
        sys.exit(f"the tests could not be collected or fail without a change ({status})")


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--what", nargs="+", choices=("metrics", "heads", "execution"))
    parser.add_argument("--log", type=Path)
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args(argv)
    chosen = [name for name in MIRRORS if not options.what or name.split("/")[0] in options.what]
    everything = [(name, number) for name in chosen for number in range(count((ROOT / "xmtc" / name).read_text()))]
    random.Random(options.seed).shuffle(everything)
    rows: dict[int, dict] = {}
    if options.again:
        rows = {row["number"]: row for row in map(json.loads, options.log.read_text().splitlines())}
        todo = [(n, row["file"].removeprefix("xmtc/"), row["mutant"]) for n, row in rows.items() if not row["noticed"]]

        def tell(place: int, row: dict) -> None:
            rows[place] |= row
            options.log.write_text("".join(json.dumps(row) + "\n" for _, row in sorted(rows.items())))

        judge(todo, tell, True)
    else:
        with Log(options.log, options.seed) as log:

            def tell(place: int, row: dict) -> None:
                rows[place] = row
                log.write(place, row)
                if not row["noticed"]:
                    print(json.dumps(row), flush=True)

            judge([(n, *everything[n]) for n in range(log.done, min(options.mutants, len(everything)))], tell, False)
    said = [row["noticed"] for row in rows.values()]
    result = {"of": len(everything), "mutants": len(said) - said.count(None), "noticed": said.count(True)}
    print(json.dumps(result | {"score": round(said.count(True) / max(result["mutants"], 1), 3)}))
    return result


if __name__ == "__main__":
    main()
