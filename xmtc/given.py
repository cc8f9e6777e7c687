"""What people pass to functions of the Python API: read as it was meant, or refused in one line."""

from __future__ import annotations

import os
from collections.abc import Iterable
from numbers import Integral
from pathlib import Path
from typing import Any

from xmtc.errors import InputError


def whole(value: Any, name: str, least: int = 1) -> int:
    """`value`, a Python or numpy integer, as an int. InputError: it is none, or below `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise InputError(f"{name}: expected a whole number of at least {least}, got {value!r:.60}")
    return int(value)


def path_of(value: Any, name: str) -> Path:
    """`value`, text or a path, as a Path. InputError: it is neither."""
    if not isinstance(value, str | os.PathLike):
        raise InputError(f"{name}: expected a path, got {value!r:.60}")
    return Path(value)


def listed(values: Any, name: str, of: str) -> list:
    """`values` as a list. of: what it holds, in words. InputError: one text or path, or nothing that can be listed."""
    if isinstance(values, str | bytes | os.PathLike):
        raise InputError(f"{name}: expected a list of {of}, got {values!r:.60}: write [{of.removesuffix('s')}]")
    if not isinstance(values, Iterable):
        raise InputError(f"{name}: expected a list of {of}, got {values!r:.60}")
    return list(values)
