"""A component's schema is its constructor's signature: check a configuration node against it.

Costs the import of the component. Every refusal is an `InputError` of one line that names the full key.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import typing
from collections.abc import Callable
from typing import Any

from xmtc.config.values import describe, expected, fits
from xmtc.errors import InputError

HYDRA_KEYS = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}
MISSING = "???"
# what stands in these places is built upon one of these; by name, which imports none of them
BASES = {
    "encoder": ("xmtc.encoders.base.Encoder", "xmtc.fitted.base.FittedModel"),
    "head": ("xmtc.heads.block.CorrelationHead",),
}


def check_node(node: Any, where: str) -> None:
    """Check `node` (plain dicts and lists) and everything inside it that has a `_target_`; `where` is its key.

    Parameters that the node leaves out are the framework's to fill in (vocabulary, num_labels) or have a default.
    """
    if isinstance(node, str) and node == MISSING:
        raise InputError(f"{where}: must be given, for example {where}=...")
    if isinstance(node, list):
        for index, item in enumerate(node):
            check_node(item, f"{where}[{index}]")
    if not isinstance(node, dict):
        return
    if "_target_" in node:
        _check_arguments(node, where)
    for key, value in node.items():
        check_node(value, f"{where}.{key}" if where else str(key))


def _check_arguments(node: dict, where: str) -> None:
    target = import_target(node["_target_"], where)
    parameters = _parameters(target)
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    named = {name: p for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    hints = _hints(target)
    for key, value in node.items():
        full = f"{where}.{key}" if where else str(key)
        if key in HYDRA_KEYS or (key not in named and takes_any):
            continue
        if key not in named:
            raise InputError(_unknown_key(full, str(key), target, named, node))
        if value == MISSING or (isinstance(value, dict) and "_target_" in value):
            continue  # named by the recursion; a component's type is its own affair
        hint = hints.get(key, Any)
        # `x: int = None` is common in other people's code and means Optional
        if not fits(value, hint) and not (value is None and named[key].default is None):
            raise InputError(f"{full}: expected {expected(hint)}, got {describe(value)}{_quoting(full, value, hint)}")


def check_base(node: Any, where: str) -> None:
    """Whether the node of a whole configuration's key is a component of the kind that belongs there."""
    bases = BASES.get(where)
    if not bases or not isinstance(node, dict) or "_target_" not in node:
        return
    target = import_target(node["_target_"], where)
    if not inspect.isclass(target):  # a function may return anything
        return
    if not any(f"{each.__module__}.{each.__qualname__}" in bases for each in target.__mro__):
        name = f"{target.__module__}.{target.__qualname__}"
        raise InputError(f"{where}._target_: expected a subclass of {' or '.join(bases)}, got {name}")


def import_target(path: Any, where: str) -> Callable:
    """The object a `_target_` names. InputError if it cannot be imported."""
    key = f"{where}._target_" if where else "_target_"
    if not isinstance(path, str) or "." not in path:
        raise InputError(f"{key}: expected package.module.Name, got {describe(path)}")
    parts = path.split(".")
    found = None
    for cut in range(len(parts) - 1, 0, -1):  # the longest module first; what follows are attributes
        module = ".".join(parts[:cut])
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name and (module == error.name or module.startswith(error.name + ".")):
                continue  # this module does not exist, a shorter one may
            raise InputError(f"{key}: {module} needs the package {error.name}, which is not installed") from error
        except ImportError as error:
            raise InputError(f"{key}: cannot import {module}: {error}") from error
        break
    else:
        raise InputError(f"{key}: there is no module {'.'.join(parts[:-1])}")
    for index, name in enumerate(parts[cut:], start=cut):
        if not hasattr(found, name):
            hint = did_you_mean(name, [n for n in vars(found) if not n.startswith("_")])
            raise InputError(f"{key}: {'.'.join(parts[:index])} has no {name}{hint}")
        found = getattr(found, name)
    if not callable(found):
        raise InputError(f"{key}: {path} cannot be called")
    return found


def _parameters(target: Callable) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(target).parameters)
    except (TypeError, ValueError):  # some builtins have no signature: nothing to check against
        return {"kwargs": inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)}


def _hints(target: Callable) -> dict[str, Any]:
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception:  # a name that exists only for type checkers: this component's values go unchecked
        return {}


def _unknown_key(full: str, key: str, target: Callable, named: dict[str, inspect.Parameter], node: dict) -> str:
    # what has no default and is not in the node is filled in by the framework: nobody should write it
    choices = [n for n, p in named.items() if n in node or p.default is not p.empty]
    takes = f"{target.__name__} takes {', '.join(choices)}" if choices else f"{target.__name__} takes no keys"
    return f"{full}: unknown key; {takes}{did_you_mean(key, choices)}"


def choices_of(target: str) -> list[str]:
    """Keys with a default that the component `target` takes; none if it cannot be imported."""
    try:
        parameters = _parameters(import_target(target, ""))
    except InputError:
        return []
    return [name for name, p in parameters.items() if p.default is not p.empty]


def did_you_mean(word: str, choices: list[str]) -> str:
    """`; did you mean X?` if one of the choices is close, else nothing."""
    close = difflib.get_close_matches(word, choices, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _quoting(full: str, value: Any, hint: Any) -> str:
    if isinstance(value, (int, float)) and fits("", hint):
        return f"; quote it to make it text: '{full}=\"{value}\"'"
    return ""
