"""Every way to change one operator, number or statement of a module, one at a time."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.MatMult: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.Lt: ast.LtE,
    ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot,
    ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
LEFT_OUT = "if False:"


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
    call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and not _is_said(node.value)
    if call or isinstance(node, ast.AugAssign | ast.Raise):
        # still there for the compiler: a function that no longer names `super` could not take the other's place
        yield ast.copy_location(ast.If(ast.Constant(False), [node], []), node)


def _is_said(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "log"


class _At(ast.NodeTransformer):
    """Replaces the change number `wanted`, or only counts (wanted: -1). What is said to people is left alone."""

    def __init__(self, wanted: int):
        self.wanted, self.count, self.found, self.made, self.lines = wanted, 0, "", None, (0, 0)
        self._statement: ast.stmt | None = None  # innermost
        self._function: tuple[int, int] = (0, 0)

    def visit(self, node: ast.AST) -> ast.AST:
        around = self._statement, self._function
        if isinstance(node, ast.stmt):
            self._statement = node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            self._function = node.lineno, node.end_lineno
        try:
            return self._change(node)
        finally:
            self._statement, self._function = around

    def _change(self, node: ast.AST) -> ast.AST:
        for new in changes(node):
            if self.count == self.wanted:
                self.found = f"line {node.lineno}: {_first_line(node)}  ->  {_first_line(new)}"
                self.made = new if node is self._statement else self._statement  # which will hold the new part
                self.lines = self._function
                self.count += 1
                return new
            self.count += 1
        quiet = isinstance(node, ast.JoinedStr | ast.arguments | ast.Raise)
        quiet = quiet or isinstance(node, ast.Call) and _is_said(node)
        annotated = isinstance(node, ast.AnnAssign)
        return node if quiet or annotated and node.value is None else self.generic_visit(node)


def _first_line(node: ast.AST) -> str:
    line = ast.unparse(node).split("\n")[0][:90]
    return "pass" if line == LEFT_OUT else line


def count(source: str) -> int:
    at = _At(-1)
    at.visit(ast.parse(source))
    return at.count


@dataclass
class Mutant:
    """tree: of the changed module. change: for people. statement: what the changed one has become, its first line.
    line: of the change. function: first and last line of the innermost one around it; 0, 0 if there is none."""

    tree: ast.Module
    change: str
    statement: str
    line: int
    function: tuple[int, int]


def mutant(source: str, number: int) -> Mutant:
    at = _At(number)
    tree = ast.fix_missing_locations(at.visit(ast.parse(source)))
    statement = ast.unparse(at.made).split("\n")[0]
    if statement == LEFT_OUT:
        statement = f"without {at.found.partition(': ')[2].partition('  ->  ')[0]}"
    return Mutant(tree, at.found, statement, int(at.found.split()[1].rstrip(":")), at.lines)
