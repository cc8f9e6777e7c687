"""`key=value` words of a command that composes no configuration (serve, export): typed by a dataclass's fields."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from typing import TypeVar

from omegaconf import OmegaConf

from xmtc.config.check import did_you_mean
from xmtc.config.values import _plain, describe, expected, fits
from xmtc.errors import InputError
from xmtc.parsing import MALFORMED

T = TypeVar("T")


def read_settings(kind: type[T], words: Sequence[str]) -> T:
    """An instance of the dataclass `kind` with what `words` say. InputError: no such key, a value of another type."""
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    given = {}
    for word in words:
        key, equals, text = word.partition("=")
        if key not in names or not equals:
            switch = f", without dashes: {key.lstrip('-')}={text or '...'}" if key.startswith("-") else ""
            hint = switch or did_you_mean(key, names)
            raise InputError(f"{word}: expected key=value with a key of {', '.join(names)}{hint}")
        value = _value(text)
        if isinstance(value, int | float) and not isinstance(value, bool) and fits("", hints[key]):
            value = value if fits(value, hints[key]) else text  # a folder may be called 2026
        if not fits(value, hints[key]):
            raise InputError(f"{key}: expected {expected(hints[key])}, got {describe(value)}")
        given[key] = value
    missing = [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING and f.name not in given]
    if missing:
        raise InputError(f"{missing[0]}: must be given, {missing[0]}=... ({expected(hints[missing[0]])})")
    return kind(**given)


def _value(text: str):
    try:
        value = OmegaConf.to_container(OmegaConf.create(f"value: {text}"))["value"]
    except MALFORMED:  # what YAML cannot read is text: `*`, `a: b`
        return text
    return text if isinstance(value, dict) else value  # no setting takes several, nor a component


def describe_settings(kind: type) -> str:
    """One line a key for --help: name, what it takes, default."""
    hints, lines = typing.get_type_hints(kind), []
    for field in dataclasses.fields(kind):
        default = " (must be given)" if field.default is dataclasses.MISSING else f" [{_plain(field.default)}]"
        about = field.metadata.get("help", "")
        lines.append(f"  {field.name:<14} {expected(hints[field.name])}{default}{'  ' + about if about else ''}")
    return "\n".join(lines)
