"""Every way to change one operator, number or statement of a module, one at a time."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator

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
    call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and not _is_said(node.value)
    if call or isinstance(node, ast.AugAssign | ast.Raise):
        yield ast.copy_location(ast.Pass(), node)


def _is_said(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "log"


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
        quiet = quiet or isinstance(node, ast.Call) and _is_said(node)
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
