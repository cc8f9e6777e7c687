"""Changes one operator, number or statement of the code at a time, and looks whether a test notices.

    python -m tests.faults.mutants --mutants 200 [--seed 0] [--what metrics heads execution] [--log FILE]

Mutants are drawn in random order, so that a part of them is a sample of all. Each runs the tests of its room in a
process forked behind the imports of the large libraries, until the first that fails. The last line is JSON: how many
were noticed; those that were not are listed in FILE, to be judged by a person.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.machinery
import json
import os
import random
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytorch_lightning  # noqa: F401  here, not in every child
import torch  # noqa: F401
import torchmetrics  # noqa: F401

from tests.faults.log import Log

ROOT = Path(__file__).parents[2]
ROOMS = {
    "metrics": ("xmtc/metrics", ["tests/metrics/test_ranking.py", "tests/metrics/test_label_sets.py",
                                 "tests/metrics/test_propensity.py"]),
    "heads": ("xmtc/heads", ["tests/heads/test_block.py", "tests/execution/test_dense.py"]),
    "execution": ("xmtc/execution", ["tests/execution/test_dense.py", "tests/execution/test_chunked.py",
                                     "tests/execution/test_safety.py", "tests/execution/test_shortlist.py",
                                     "tests/execution/test_updates.py", "tests/execution/test_auto.py"]),
}  # fmt: skip
SECONDS = 240  # of processor time, after which a mutant counts as noticed: it does not end
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.MatMult: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.Lt: ast.LtE,
    ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot,
    ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """Each node that could stand in the place of this one."""
    if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) and type(node.op) in OPERATORS:
        new = copy.copy(node)
        new.op = OPERATORS[type(node.op)]()
        yield new
    if isinstance(node, ast.Compare) and type(node.ops[0]) in OPERATORS:
        new = copy.copy(node)
        new.ops = [OPERATORS[type(node.ops[0])](), *node.ops[1:]]
        yield new
    if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        yield ast.copy_location(ast.Constant(not node.value if isinstance(node.value, bool) else node.value + 1), node)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub | ast.Invert):
        yield node.operand
    if isinstance(node, ast.If | ast.IfExp):
        new = copy.copy(node)
        new.test = ast.copy_location(ast.UnaryOp(ast.Not(), node.test), node.test)
        yield new
    call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    if call or isinstance(node, ast.AugAssign | ast.Raise):
        yield ast.copy_location(ast.Pass(), node)


class _At(ast.NodeTransformer):
    """Replaces the change number `wanted`, or only counts (wanted: -1). What is said to people is left alone."""

    def __init__(self, wanted: int):
        self.wanted, self.count, self.found = wanted, 0, None

    def visit(self, node: ast.AST) -> ast.AST:
        for new in changes(node):
            if self.count == self.wanted:
                before, after = ast.unparse(node).split("\n")[0], ast.unparse(new).split("\n")[0]
                self.found = f"line {node.lineno}: {before[:90]}  ->  {after[:90]}"
                self.count += 1
                return new
            self.count += 1
        quiet = isinstance(node, ast.JoinedStr | ast.arguments | ast.Raise)
        annotated = isinstance(node, ast.AnnAssign)
        return node if quiet or annotated and node.value is None else self.generic_visit(node)


def count(source: str) -> int:
    at = _At(-1)
    at.visit(ast.parse(source))
    return at.count


def mutant(source: str, number: int) -> tuple[ast.Module, str]:
    """The changed tree, and what was changed."""
    at = _At(number)
    tree = ast.fix_missing_locations(at.visit(ast.parse(source)))
    return tree, at.found or ""


class _Instead(importlib.abc.MetaPathFinder, importlib.machinery.SourceFileLoader):
    """Imports one module from a changed tree."""

    def __init__(self, name: str, path: Path, tree: ast.Module):
        importlib.machinery.SourceFileLoader.__init__(self, name, str(path))
        self.tree = tree

    def find_spec(self, fullname, path=None, target=None):
        if fullname == self.name:
            return importlib.machinery.ModuleSpec(fullname, self, origin=self.path)
        return None

    def get_code(self, fullname):
        return compile(self.tree, self.path, "exec")


def noticed(path: Path, tree: ast.Module, tests: list[str]) -> bool:
    """Whether one of the tests fails with this module, in a process of its own."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1] != 0
    status = 1
    try:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1), os.dup2(quiet, 2)
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        for name in [name for name in sys.modules if name.split(".")[0] in ("xmtc", "tests")]:
            del sys.modules[name]
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        sys.meta_path.insert(0, _Instead(name, path, tree))
        status = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *tests])
    finally:
        os._exit(int(status))


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--what", nargs="+", choices=list(ROOMS), default=list(ROOMS))
    parser.add_argument("--log", type=Path)
    options = parser.parse_args(argv)
    os.environ["HYPOTHESIS_DATABASE_FILE"] = os.devnull
    everything = []
    for room in options.what:
        for path in sorted((ROOT / ROOMS[room][0]).glob("*.py")):
            if path.name == "sharded.py":  # its tests start processes, which import it unchanged
                continue
            everything += [(room, path, number) for number in range(count(path.read_text()))]
    random.Random(options.seed).shuffle(everything)
    total = found = 0
    with Log(options.log, options.seed) as log:
        for place, (room, path, number) in list(enumerate(everything))[log.done : options.mutants]:
            tree, change = mutant(path.read_text(), number)
            seen = noticed(path, tree, ROOMS[room][1])
            row = {"what": room, "file": str(path.relative_to(ROOT)), "change": change, "noticed": seen}
            log.write(place, row)
            total, found = total + 1, found + seen
            if not seen:
                print(json.dumps(row), flush=True)
    result = {"of": len(everything), "mutants": total, "noticed": found, "score": round(found / max(total, 1), 3)}
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    main()
