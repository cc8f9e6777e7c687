"""Does a value from a configuration file fit a type annotation and its bounds, and how to say what would."""

from __future__ import annotations

import collections.abc
import inspect
import os
import types
import typing
from numbers import Integral, Real
from typing import Any, Literal, Union, get_args, get_origin

from xmtc.bounds import Bounds

LISTS = (list, tuple, set, frozenset, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
SIMPLE = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}


def fits(value: Any, hint: Any) -> bool:
    """True if `value` (what YAML can hold) may be passed where `hint` is written. What we cannot judge fits."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any or isinstance(value, dict) and "_target_" in value:
        return True  # a component; its own constructor is checked
    if hint is None or hint is type(None):
        return value is None
    if origin in (Union, types.UnionType):
        return any(fits(value, choice) for choice in arguments)
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in arguments)
    if origin is typing.Annotated:
        bounds = [about for about in arguments[1:] if isinstance(about, Bounds)]
        return fits(value, arguments[0]) and all(value in bound for bound in bounds)
    if hint is bool or hint is str:
        return isinstance(value, hint)
    if hint is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, Real) and not isinstance(value, bool)
    if (origin or hint) is tuple:
        return _fits_tuple(value, arguments)
    if (origin or hint) in LISTS:
        return isinstance(value, list) and all(fits(item, a) for item in value for a in arguments[:1])
    if (origin or hint) in MAPPINGS:
        return isinstance(value, dict) and (
            not arguments or all(fits(k, arguments[0]) and fits(v, arguments[1]) for k, v in value.items())
        )
    if inspect.isclass(hint) and issubclass(hint, os.PathLike):
        return isinstance(value, str)
    if inspect.isclass(hint) and hint is not object and not getattr(hint, "_is_protocol", False):
        return isinstance(value, hint)
    return True


def _fits_tuple(value: Any, arguments: tuple) -> bool:
    if not isinstance(value, list):
        return False
    if not arguments:
        return True
    if arguments[-1] is Ellipsis:
        return all(fits(item, arguments[0]) for item in value)
    return len(value) == len(arguments) and all(fits(v, a) for v, a in zip(value, arguments))


def expected(hint: Any) -> str:
    """`hint` in words: `a whole number or null`, `one of none, elu, gelu`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is None:
        return "null"
    if origin in (Union, types.UnionType):
        return " or ".join(expected(choice) for choice in arguments)
    if origin is Literal:
        return ("one of " if len(arguments) > 1 else "") + ", ".join(_plain(choice) for choice in arguments)
    if origin is typing.Annotated:
        return " ".join([expected(arguments[0]), *(str(about) for about in arguments[1:] if isinstance(about, Bounds))])
    if hint in SIMPLE:
        return SIMPLE[hint]
    if (origin or hint) in LISTS:
        items = [a for a in arguments if a is not Ellipsis]
        return "a list" + (f" of {', '.join(expected(a) for a in items)}" if items else "")
    if (origin or hint) in MAPPINGS:
        return "a mapping"
    if inspect.isclass(hint) and issubclass(hint, os.PathLike):
        return "a path"
    return f"a {getattr(hint, '__name__', hint)} (a mapping with _target_)"


def describe(value: Any) -> str:
    """`value` as one would write it, with its kind when that is what may be wrong."""
    kinds = {str: "the text", bool: "", int: "the number", float: "the number", list: "the list", dict: "the mapping"}
    text = _plain(value)
    return f"{kinds.get(type(value), '')} {text if len(text) <= 60 else text[:57] + '...'}".strip()


def _plain(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) and value else repr(value)
