"""A configuration as flat settings, and which of them make no difference to what a run measures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

# where files lie, who watches, how many helpers: the numbers are the same
INDIFFERENT = (
    "paths.", "logger", "data.workers", "prepare_workers", "offline", "resume", "dry_run", "names", "hydra",
    "checkpoints", "recipe.validation.sets",
)  # fmt: skip
# settings that came later, with the value that stands for what runs did before
LATER = {"recipe.validation.monitor": "nDCG@5"}
AND = " && "  # in a provenance, between the command of a run and of what was made from it


def matters(key: str) -> bool:
    """False for a setting (`a.b.c`) that makes no difference to what is measured."""
    return not any(key == name.rstrip(".") or key.startswith(name.rstrip(".") + ".") for name in INDIFFERENT)


def flat(node: Any, where: str = "") -> dict[str, Any]:
    """{"a.b": value} of nested mappings; lists are values; an empty mapping is one too."""
    if not isinstance(node, Mapping) or (where and not node):
        return {where: node}
    found: dict[str, Any] = {}
    for key, value in node.items():
        found |= flat(value, f"{where}.{key}" if where else str(key))
    return found


def that_matter(config: Mapping) -> dict[str, Any]:
    """The flat settings of a resolved configuration that make a difference, paths of corpora left out: a corpus is told
    by its hash. Another file (`embedding.path`) is told by its name, wherever it lies."""
    kept = {key: value for key, value in flat(config).items() if matters(key) and key != "recipe.prefer_words"}
    kept = {key: value for key, value in kept.items() if not is_corpus(key) and (key, value) not in LATER.items()}
    return {key: Path(v).name if key.endswith(".path") and isinstance(v, str) else v for key, v in kept.items()}


def is_corpus(key: str) -> bool:
    """Where a corpus lies."""
    return key.startswith("dataset.") and key.endswith(".path")


def replaces(key: str, others: Iterable[str]) -> bool:
    """A setting that others have not stands in the place of one of theirs: `clipping.factor: 5` of `clipping: null`."""
    return any(other.startswith(f"{key}.") or key.startswith(f"{other}.") for other in others)


def pairs(overrides: Iterable[str]) -> dict[str, str]:
    """{key: value} of Hydra's overrides, `+`, `++` and `~` taken off."""
    found = {}
    for word in overrides:
        key, _, value = str(word).lstrip("+~").partition("=")
        found[key] = value
    return found


def words_that_matter(overrides: Iterable[str]) -> list[str]:
    """Those overrides that make a difference, sorted."""
    return sorted(word for word in map(str, overrides) if matters(next(iter(pairs([word])))))
