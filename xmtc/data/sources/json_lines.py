"""JSON lines: one object a line, each complaint with its file and line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xmtc.data.sources.lines import lines
from xmtc.errors import InputError
from xmtc.parsing import parse_json


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """("FILE, line 3", its object) of each line that is not blank; memory of one line."""
    for number, line in enumerate(lines(path), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        row = parse_json(line, where)
        if not isinstance(row, dict):
            raise InputError(f"{where}: expected a JSON object, found {short(row)}")
        yield where, row


def text_of(where: str, row: dict, key: str, default: str | None = None) -> str:
    """A text under `key`; `default` stands for one that is absent or null, if there is a default."""
    value = row.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        found = short(value) if key in row else f"only {', '.join(row) or 'an empty object'}"
        raise InputError(f"{where}: expected a text under {key!r}, found {found}")
    return value


def list_of(where: str, row: dict, key: str, kind: type, default: list | None = None) -> list:
    """A list of `kind` under `key`; `default` as in `text_of`."""
    value = row.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, list) or any(isinstance(v, bool) or not isinstance(v, kind) for v in value):
        named = {str: "texts", int: "whole numbers", dict: "objects"}[kind]
        found = short(value) if key in row else f"only {', '.join(row) or 'an empty object'}"
        raise InputError(f"{where}: expected a list of {named} under {key!r}, found {found}")
    return value


def short(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:40] + '...'}"
