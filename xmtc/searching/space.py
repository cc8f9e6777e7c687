"""What is searched, in Hydra's own words: choice(a,b), range(1,5), interval(0.1,0.5), int(interval(1,9)) and
tag(log,interval(1e-4,1e-2))."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, RangeSweep
from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from xmtc.config.messages import unreadable_override
from xmtc.errors import InputError

REFUSED = {
    "test": "a search never sees the test set",
    "dry_run": "a search decides its trials as it goes, so there is no list of them",
    "resume": "trials are continued by starting the same search again",
    "seed": "the finalists are repeated with other seeds by --seeds; the trials share one",
}


def read_space(words: Sequence[str]) -> tuple[list[str], dict[str, BaseDistribution]]:
    """(overrides of every trial, {key: what it is drawn from}). InputError: nothing to search, or not to be set."""
    fixed, space = [], {}
    for word in words:
        try:
            (override,) = OverridesParser.create().parse_overrides([word])
        except OverrideParseException as error:
            raise InputError(unreadable_override(error)) from error
        except HydraException as error:
            raise InputError(f"{word}: not a setting: {str(error).splitlines()[0]}") from error
        key = override.get_key_element()
        name = key.lstrip("+~")
        if name in REFUSED or name.startswith("hydra") and name != "hydra.searchpath":
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
        finite = math.isfinite(value.start) and math.isfinite(value.end)
        if not finite or value.start >= value.end or (log and value.start <= 0):
            raise InputError(f"{key}: expected interval(low,high) with low < high{' and 0 < low' if log else ''}")
        return (IntDistribution if whole else FloatDistribution)(value.start, value.end, log=log)
    if isinstance(value, RangeSweep) and all(isinstance(each, int) for each in (value.start, value.stop, value.step)):
        return _numbers(key, value, log)
    if log:
        raise InputError(f"{key}: tag(log,...) is for interval(low,high) and range(low,high) of whole numbers")
    if isinstance(value, Glob):
        raise InputError(f"{key}: glob is not in a search; name the choices: choice(a,b)")
    try:
        choices = list(override.sweep_string_iterator())
    except (HydraException, OmegaConfBaseException, ZeroDivisionError) as error:
        raise InputError(f"{key}: not a list of choices: {str(error).splitlines()[0]}") from None
    if not choices:
        raise InputError(f"{key}: expected a choice at least, got none")
    return CategoricalDistribution(choices)


def _numbers(key: str, value: RangeSweep, log: bool) -> IntDistribution:
    """Those that Hydra would sweep over, whatever their order."""
    found = range(value.start, value.stop, value.step) if value.step else ()
    if not found:
        raise InputError(f"{key}: expected range(first,stop,step) that has numbers, got none")
    low, high, step = min(found), max(found), abs(value.step)
    if log and (low < 1 or (step > 1 and len(found) > 1)):
        raise InputError(f"{key}: tag(log,range(first,stop)) takes steps of 1 from 1 or above")
    return IntDistribution(low, high, log=log, step=1 if len(found) == 1 else step)


def ends(space: dict[str, BaseDistribution]) -> dict[str, list]:
    """{key: the values that show whether all that can be drawn can be used}: every choice, both ends of an interval."""
    return {
        key: list(each.choices) if isinstance(each, CategoricalDistribution) else [each.low, each.high]
        for key, each in space.items()
    }


def words_of(values: dict) -> list[str]:
    """Overrides for drawn values."""
    return [f"{key}={value}" for key, value in values.items()]
