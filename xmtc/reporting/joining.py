"""Which of our runs are rows of a paper's table: those whose resolved configuration is the row's.

A printed row names the words that make it (`encoder=xmlcnn head=cornet recipe=paper`, or `row=laco/no_joint`). They are
composed as a run's are, so it makes no difference how somebody typed the same run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xmtc.config.compose import Composer, composing, resolved
from xmtc.errors import InputError
from xmtc.reporting.commands import own, words_of
from xmtc.reporting.configurations import Configuration
from xmtc.reporting.printed import Printed
from xmtc.reporting.runs import Run
from xmtc.sweeping.settings import matters, replaces, that_matter

# how a model is trained, not which model on which documents: such a run stands beside the row, with what differs
TOLD = ("recipe", "trainer", "execution", "data", "ranks", "embedding", "encoder.embedding")
NEVER = ("data.fraction", "data.limit")  # other documents
GROUPS = ("encoder", "head", "recipe")


def join(printed: Iterable[Printed], configurations: Sequence[Configuration]) -> list[Printed]:
    """Fills `matched`: (configuration, {setting: value} in which it was trained in another way than the row says).

    Where one is trained exactly as the row says, those that are not are left out. Costs 0.2 s for each row of which
    somebody ran data set, encoder and head, and as much for each such run of which only the command is known.
    """
    printed = list(printed)
    near = [_near(row, configurations) for row in printed]
    if any(near):
        with composing("run") as composer:
            ours = {id(each): _settings(each.runs[0], composer) for made in near for each in made}
            for row, made in zip(printed, near, strict=True):
                row.matched = _alike(row, made, ours, composer) if made else []
    return printed


def _near(row: Printed, configurations: Sequence[Configuration]) -> list[Configuration]:
    same = ("dataset", "encoder", "head", "recipe")
    return [each for each in configurations if row.encoder and all(getattr(each, k) == getattr(row, k) for k in same)]


def _settings(run: Run, composer: Composer) -> dict[str, Any] | None:
    return run.settings if run.resolved else composed(composer, words_of(own(run.facts.get("command") or "")))


def _alike(row: Printed, near: Sequence[Configuration], ours: dict, composer: Composer) -> list:
    """ours: the settings of each configuration, by its id."""
    words = [f"{group}={getattr(row, group)}" for group in ("dataset", *GROUPS)]
    wanted = composed(composer, [*words, *row.settings])
    if wanted is None:
        raise InputError(f"printed row {row.system}: {' '.join(row.settings)} is no configuration")
    found = []
    for each in near:
        run, settings = each.runs[0], ours[id(each)]
        other = None if settings is None else _differing(wanted, settings, run.typed)
        if other is not None and all(_is_told(key) for key in other):
            typed = {key: value for key, value in other.items() if key in run.typed}
            found.append((each, typed or other))  # what follows from a typed setting is not said again
    return [one for one in found if not one[1]] or found


def composed(composer: Composer, words: Iterable[str]) -> dict[str, Any] | None:
    """The flat settings that matter; None for words of another version of this framework."""
    try:
        config = composer.one(list(words))
    except InputError:
        return None
    return that_matter({key: resolved(config, key) for key in map(str, config) if matters(key)})


def _differing(wanted: Mapping[str, Any], ours: Mapping[str, Any], typed: frozenset[str]) -> dict[str, Any]:
    """Ours where it is another. A key of one side alone, of another version, counts if it was typed or stands where the
    other has nothing."""
    keys = [key for key in {**wanted, **ours} if not (key == "seed" or key.endswith(".seed"))]
    return {
        key: ours.get(key)
        for key in keys
        if (key in wanted and key in ours and str(wanted[key]) != str(ours[key]))
        or ((key in wanted) != (key in ours) and (key in typed or replaces(key, ours if key in wanted else wanted)))
    }


def _is_told(key: str) -> bool:
    def under(names: Iterable[str]) -> bool:
        return any(key == name or key.startswith(f"{name}.") for name in names)

    return under(TOLD) and not under(NEVER)
