"""numba where it is installed: fitting needs it, answering goes without."""

from __future__ import annotations

from collections.abc import Callable

try:
    from numba import njit
except ImportError:
    njit = None


def compiled(function: Callable, **options) -> Callable:
    """`function` compiled, once for all processes where numba finds a folder to keep it in; as it is without numba."""
    if njit is None:
        return function
    try:
        return njit(nogil=True, cache=True, **options)(function)
    except RuntimeError:  # neither beside the code nor below the user's home, as of a service
        return njit(nogil=True, **options)(function)
