"""Puts a changed module in the place of one that is imported: its functions get other code, wherever they are held.

So that neither the module nor those that import it, nor the tests, have to be loaded again for every mutant.
"""

from __future__ import annotations

import ast
import dataclasses
import gc
import sys
import types
from collections.abc import Iterator
from pathlib import Path

Key = tuple[str, int]


def codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """All code objects within one, itself first."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes(constant)


def key(code: types.CodeType) -> Key:
    return code.co_qualname, code.co_firstlineno


def living(path: Path) -> dict[Key, list[types.FunctionType]]:
    """Every function that was made from the file, also those behind decorators and in tables."""
    found: dict[Key, list[types.FunctionType]] = {}
    for thing in gc.get_objects():
        if type(thing) is types.FunctionType and thing.__code__.co_filename == str(path):
            found.setdefault(key(thing.__code__), []).append(thing)
    return found


def swap(module: types.ModuleType, path: Path, tree: ast.Module, functions: dict[Key, list]) -> bool:
    """Whether anything that lives could be changed. Raises what the changed module raises when it is imported."""
    before, after = (compile(source, str(path), "exec") for source in (path.read_text(), tree))
    original = {key(code): code for code in codes(before)}
    changed = [code for code in codes(after) if code != original[key(code)]]
    if not changed:
        return True  # the compiler makes the same of both
    swapped = False
    for code in changed:
        for function in functions.get(key(code), ()):
            try:
                function.__code__ = code
                swapped = True
            except ValueError:  # other variables of the function around it
                return False
    innermost = changed[-1]  # outer ones differ because they hold it
    return _replace_values(module, after) if innermost.co_flags & 0x2 == 0 or not swapped else True


def _replace_values(module: types.ModuleType, code: types.CodeType) -> bool:
    """What is no function: constants and tables of the module and its classes, also where they were imported."""
    new = types.ModuleType(module.__name__)
    new.__file__, new.__package__ = module.__file__, module.__package__
    kept = sys.modules[module.__name__]
    sys.modules[module.__name__] = new  # dataclasses look there
    try:
        exec(code, new.__dict__)
    finally:
        sys.modules[module.__name__] = kept
    rooms = [m for name, m in list(sys.modules.items()) if name.split(".")[0] in ("xmtc", "tests") and m is not None]
    for name, value in vars(new).items():
        old = vars(module).get(name)
        if isinstance(value, type):
            if getattr(value, "__module__", "") == module.__name__:
                _replace_attributes(old, value)
        elif isinstance(old, dict) and isinstance(value, dict) and not name.startswith("__"):
            old.clear()  # in its place: it may be somebody's default
            old.update(value)
        elif isinstance(old, types.FunctionType) and getattr(value, "__module__", "") == module.__name__:
            old.__defaults__, old.__kwdefaults__ = value.__defaults__, value.__kwdefaults__
        elif not name.startswith("__") and not isinstance(value, types.FunctionType | types.ModuleType):
            for room in rooms:
                if name in vars(room) and vars(room)[name] is old:
                    setattr(room, name, value)
            setattr(module, name, value)
    return True


def _replace_attributes(old: type, new: type) -> None:
    for name, value in vars(new).items():
        plain = isinstance(value, bool | int | float | str | tuple | dict | list | types.NoneType)
        if plain and not name.startswith("__"):
            setattr(old, name, value)
    if dataclasses.is_dataclass(old):
        old.__init__ = new.__init__  # it holds the defaults
