"""JSON and YAML that a person, a program or a damaged disk has written: a value, or one line that says what is wrong.

Both libraries raise half a dozen exceptions for text that is neither (of `!!bool x` PyYAML makes a KeyError, of a
thousand brackets both a RecursionError), and what is nested deeply fails later, wherever it is copied or printed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from xmtc.errors import InputError

DEEPEST = 100  # levels; nothing that is written for us has more than a dozen
MALFORMED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, yaml.YAMLError)


def parse_json(text: str | bytes, where: object) -> Any:
    """The value. InputError, one line that begins with `where`: no JSON, or nested more than DEEPEST deep."""
    return _parsed(json.loads, text, f"{where}: malformed JSON")


def read_json(path: Path, kind: type = object) -> Any:
    """What the file holds. InputError: not there, not readable, not a `kind` (dict: an object)."""
    return _read(json.loads, path, kind, f"{path}: not readable JSON")


def read_yaml(path: Path, kind: type = object) -> Any:
    """As `read_json`. An empty file holds None; tags make plain values only."""
    return _read(yaml.safe_load, path, kind, f"{path}: not readable YAML")


def _parsed(parse: Callable, text: str | bytes, complaint: str) -> Any:
    try:
        if isinstance(text, bytes):  # both libraries would guess other encodings
            text = text.decode("utf-8-sig")
        value = parse(text)
    except UnicodeDecodeError as error:
        raise InputError(f"{complaint} (expected UTF-8, found byte 0x{error.object[error.start]:02x})") from None
    except MALFORMED as error:
        raise InputError(f"{complaint} ({str(error)[:200] or type(error).__name__})") from None
    if (parse is not json.loads or text.count("[") + text.count("{") > DEEPEST) and _is_deep(value):
        raise InputError(f"{complaint} (nested more than {DEEPEST} deep)")
    return value


def _read(parse: Callable, path: Path, kind: type, complaint: str) -> Any:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{complaint} ({error.strerror or error})") from None
    value = _parsed(parse, content, complaint)
    if not isinstance(value, kind):
        expected = {dict: "an object", list: "a list"}.get(kind, kind.__name__)
        raise InputError(f"{complaint} (expected {expected}, found {type(value).__name__})")
    return value


def _is_deep(value: Any) -> bool:
    """Level by level, each list and object once a level: aliases of YAML may nest a value in itself."""
    level = {id(value): value}
    for _ in range(DEEPEST):
        inner: dict[int, Any] = {}
        for one in level.values():
            if isinstance(one, list | dict):
                inner |= {id(v): v for v in (one.values() if isinstance(one, dict) else one)}
        level = {key: v for key, v in inner.items() if isinstance(v, list | dict)}
        if not level:
            return False
    return True
