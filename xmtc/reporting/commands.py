"""What the command of a run says: its settings, and the run that it started from (`A && B`, B with `init_from`, or with
`resume` and other settings)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from xmtc.sweeping.settings import AND, is_corpus, matters, pairs

GROUPS = ("dataset", "encoder", "head", "recipe", "seed")
TRAINS = "python -m xmtc.run"
PLACES = ("hydra.run.dir=", "hydra.sweep.dir=", "paths.", "checkpoint=", "output=")


def settings_of(command: str) -> dict[str, str]:
    """{key: value} of the overrides of the run that made the model and of what came behind it (`xmtc.evaluate`),
    without the groups that have a column of their own. An evaluation's column is of its own data, so `trained_on` tells
    that of the model, with the folder of its corpus; else a column has the corpus' hash, wherever it lies. `init_from`
    is told by its run's settings: a folder's name is another one for each seed."""
    before, made, behind = _split(command)
    found = {"trained_on": data} if behind and (data := _pairs(made).get("dataset")) else {}
    found |= {
        key: value
        for part in (made, *behind)
        for key, value in _pairs(part).items()
        if key not in GROUPS and matters(key) and not _swept(value) and (behind or not is_corpus(key))
    }
    return {key: value for key, value in found.items() if not before or key != "init_from"} | origin(command)


def own(command: str) -> str:
    """The run that made the model, without those that it started from and what was done with it."""
    return _split(command)[1]


def words_of(command: str) -> list[str]:
    """The overrides of one command."""
    return [word for word in _words(command) if "=" in word]


def placeless(command: str) -> str:
    """Without the folders of one machine: they make no difference to a number."""
    parts = []
    for part in command.split(AND):
        words = (word for word in _words(part) if not word.startswith(PLACES))
        parts.append(shlex.join(re.sub(r"^((?:[\w.]+=)?[\"']?)/.*/(?=[^/]+/?$)", r"\1", word) for word in words))
    return AND.join(parts)


def origin(command: str) -> dict[str, str]:
    """{init_from: what `alike` says of the run before it}, or {continues: ...} of one that went on with other settings;
    empty if there was none, or its command is not known."""
    before, made, _ = _split(command)
    return {_origin_of(made): alike(before)} if before else {}


def alike(chain: Sequence[str]) -> str:
    """The first of two runs told by what it has other than the second: `alike(head=none ~head.rank)`, `~` what only the
    second says; `alike` if nothing but seeds and places differs. Runs before the first are told within.

    chain: commands, the second run's last.
    """
    *before, first, second = chain
    theirs, ours = ({k: v for k, v in _pairs(part).items() if k != "seed" and matters(k)} for part in (first, second))
    for words in (theirs, ours):
        words.pop("init_from", None)
    if before:
        theirs[_origin_of(first)] = alike([*before, first])
    words = [f"{key}={value}" for key, value in theirs.items() if ours.get(key) != value]
    words += [f"~{key}" for key in ours if key not in theirs]
    return f"alike({' '.join(words)})" if words else "alike"


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # a quote that was never closed
        return command.split()


def _origin_of(command: str) -> str:
    return "continues" if "resume" in _pairs(command) else "init_from"


def _split(command: str) -> tuple[list[str], str, list[str]]:
    """The chain of a warm start (empty: it was none), the run that made the model, what came behind it."""
    parts = command.split(AND)
    last = max((i for i, part in enumerate(parts) if part.startswith(TRAINS)), default=0)
    return parts[: last + 1] if last else [], parts[last], parts[last + 1 :]


def _swept(value: str) -> bool:
    """a,b of a multirun's line, which says what was tried and not what this run is; [a,b] and "a,b" are values."""
    return "," in value and not value.startswith(("[", "{", "'", '"'))


def _pairs(part: str) -> dict[str, str]:
    return pairs(words_of(part))
