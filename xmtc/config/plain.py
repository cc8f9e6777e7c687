"""Types of the settings that belong to no component, by their full key. A component's own stand in its constructor.

A key that is absent from a configuration is not looked for. tests/config/test_real_configuration.py compares this
table with conf/ both ways.
"""

from __future__ import annotations

from typing import Any, Literal

from xmtc.config.values import describe, expected, fits
from xmtc.errors import InputError

TYPES: dict[str, Any] = {
    "seed": int,
    "resume": str | None,
    "init_from": str | None,
    "dry_run": bool,
    "test": bool,
    "prepare_workers": int | None,
    "offline": bool | Literal[0, 1],
    "paths.data_dir": str,
    "paths.cache_dir": str,
    "paths.runs": str,
    "data.batch_size": int,
    "data.evaluation_batch_size": int,
    "data.validation_size": int | float,
    "data.bucketing": bool,
    "data.workers": int,
    "data.limit": int | None,
    "data.fraction": float,
    "data.micro_batch": int | None,
    "checkpoints.minutes": int | float | None,
    "checkpoints.steps": int | None,
    "checkpoints.share": int | float,
    "ranks.patience": int | float,
    "dataset.name": str,
    "dataset.validation_size": int | float,
    "dataset.length": int | None,
    "dataset.propensity.a": float,
    "dataset.propensity.b": float,
    "recipe.text_style": str,
    "recipe.prefer_words": str | None,
    "recipe.fixed_length": bool,
    "recipe.batch_size": int,
    "recipe.evaluation_batch_size": int,
    "recipe.bucketing": bool,
    "recipe.max_epochs": int,
    "recipe.precision": str,
    "recipe.prior_bias": bool,
    "recipe.validation.interval": int | float | None,
    "recipe.validation.epochs": int | None,
    "recipe.validation.patience": int | None,
    "recipe.head_lr_factor": float,
    "recipe.lcenet.rank": int,
    "recipe.lcenet.blocks": int,
    "recipe.lcenet.zero_init": bool,
}

AT_LEAST_ONE = (
    "checkpoints.steps",
    "data.batch_size",
    "data.evaluation_batch_size",
    "data.limit",
    "data.micro_batch",
    "prepare_workers",
    "recipe.max_epochs",
)
# and the environment's name for it
NOT_EMPTY = {"paths.data_dir": "XMTC_DATA", "paths.cache_dir": "XMTC_CACHE", "paths.runs": None}
NOT_NEGATIVE = ("seed", "checkpoints.minutes", "data.workers", "data.validation_size", "recipe.head_lr_factor")


def check_plain(config: dict) -> None:
    """Check the types and ranges of the settings in `config`, a whole resolved configuration. InputError: one line."""
    for key, hint in TYPES.items():
        found, value = lookup(config, key)
        if not found or value == "???":  # what is missing is named elsewhere
            continue
        least = 1 if key in AT_LEAST_ONE else 0 if key in NOT_NEGATIVE else None
        if not fits(value, hint) or (least is not None and isinstance(value, dict)):  # a dict may be a component
            raise InputError(f"{key}: expected {expected(hint)}, got {describe(value)}")
        if least is not None and value is not None and value < least:
            raise InputError(f"{key}: expected at least {least}, got {value}")
        if key in NOT_EMPTY and not value:
            origin = f" (is the environment's {NOT_EMPTY[key]} empty?)" if NOT_EMPTY[key] else ""
            raise InputError(f"{key}: expected a folder, got an empty name{origin}")


def lookup(config: Any, key: str) -> tuple[bool, Any]:
    """(is it there, its value)."""
    for part in key.split("."):
        if not isinstance(config, dict) or part not in config:
            return False, None
        config = config[part]
    return True, config
