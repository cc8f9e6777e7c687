"""The small toy corpus of the whole-run tests."""

from tests.system.conftest import cache, small  # noqa: F401
