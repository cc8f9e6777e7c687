"""What is searched, in Hydra's own words: choice(a,b), range(1,5), interval(0.1,0.5), int(interval(1,9)) and
tag(log,interval(1e-4,1e-2))."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, RangeSweep
from hydra.errors import HydraException
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from xmtc.errors import InputError

REFUSED = {
    "test": "a search never sees the test set",
    "resume": "trials are continued by starting the same search again",
    "seed": "the finalists are repeated with other seeds by --seeds; the trials share one",
}


def read_space(words: Sequence[str]) -> tuple[list[str], dict[str, BaseDistribution]]:
    """(overrides of every trial, {key: what it is drawn from}). InputError: nothing to search, or not to be set."""
    fixed, space = [], {}
    for word in words:
        try:
            (override,) = OverridesParser.create().parse_overrides([word])
        except HydraException as error:
            raise InputError(f"{word}: not a setting: {str(error).splitlines()[0]}") from error
        key = override.get_key_element()
        name = key.lstrip("+~")
        if name in REFUSED or name.startswith("hydra"):
            raise InputError(f"{name}: {REFUSED.get(name, 'not in a search')}")
        if override.is_sweep_override():
            space[key] = _distribution(key, override)
        else:
            fixed.append(word)
    if not space:
        raise InputError(
            "nothing to search: give at least one setting as choice(a,b), range(1,5), interval(0.1,0.5) or"
            " tag(log,interval(1e-4,1e-2)), for example 'recipe.optimizer.lr=tag(log,interval(1e-4,1e-2))'"
        )
    return fixed, space


def _distribution(key: str, override) -> BaseDistribution:
    value = override.value()
    log = "log" in getattr(value, "tags", ())
    if isinstance(value, IntervalSweep):
        whole = isinstance(value.start, int) and isinstance(value.end, int)
        if value.start >= value.end or (log and value.start <= 0):
            raise InputError(f"{key}: expected interval(low,high) with low < high{' and 0 < low' if log else ''}")
        return (IntDistribution if whole else FloatDistribution)(value.start, value.end, log=log)
    if isinstance(value, RangeSweep) and all(isinstance(each, int) for each in (value.start, value.stop, value.step)):
        return IntDistribution(value.start, value.stop - 1, step=value.step)
    return CategoricalDistribution(list(override.sweep_string_iterator()))


def ends(space: dict[str, BaseDistribution]) -> dict[str, list]:
    """{key: the values that show whether all that can be drawn can be used}: every choice, both ends of an interval."""
    return {
        key: list(each.choices) if isinstance(each, CategoricalDistribution) else [each.low, each.high]
        for key, each in space.items()
    }


def words_of(values: dict) -> list[str]:
    """Overrides for drawn values."""
    return [f"{key}={value}" for key, value in values.items()]
