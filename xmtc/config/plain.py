"""Types and bounds of the settings that belong to no component, by their full key; a component's own stand in its
constructor.

A key that is absent from a configuration is not looked for. tests/config/test_real_configuration.py compares this
table with conf/ both ways.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from xmtc.bounds import Bounds, Count, Natural, NotNegative, Positive
from xmtc.config.check import did_you_mean
from xmtc.config.values import describe, expected, fits
from xmtc.errors import InputError

# what a run can choose its weights by; tests/training/test_monitor.py compares them with what validation logs
RANKED = tuple(f"{name}@{k}" for name in ("P", "nDCG", "R", "R-precision", "PSP", "PSnDCG") for k in (1, 3, 5))
MONITORS = (*RANKED, "micro-F1", "macro-F1")

TYPES: dict[str, Any] = {
    "seed": Annotated[int, Bounds(least=0, most=2**32 - 1)],  # what NumPy takes
    "resume": str | None,
    "init_from": str | None,
    "dry_run": bool,
    "test": bool,
    "prepare_workers": Count | None,
    "offline": bool | Literal[0, 1],
    "paths.data_dir": str,
    "paths.cache_dir": str,
    "paths.runs": str,
    "data.batch_size": Count,
    "data.evaluation_batch_size": Count,
    "data.validation_size": NotNegative,
    "data.bucketing": bool,
    "data.workers": Natural,
    "data.limit": Count | None,
    "data.fraction": Annotated[float, Bounds(above=0, most=1)],
    "data.micro_batch": Count | None,
    "checkpoints.minutes": NotNegative | None,
    "checkpoints.steps": Count | None,
    "checkpoints.share": NotNegative,
    "ranks.patience": Positive,
    "dataset.name": str,
    "dataset.validation_size": NotNegative,
    "dataset.length": Count | None,
    "dataset.subset": Literal["head", "tail"] | None,
    "dataset.subset_parts": list[Literal["train", "validation", "test"]],
    "dataset.head_share": Annotated[float, Bounds(above=0, most=1)],
    "dataset.max_head_labels": Natural,
    "dataset.propensity.a": NotNegative,
    "dataset.propensity.b": Positive,
    "recipe.text_style": str,
    "recipe.prefer_words": str | None,
    "recipe.fixed_length": bool,
    "recipe.batch_size": Count,
    "recipe.evaluation_batch_size": Count,
    "recipe.bucketing": bool,
    "recipe.max_epochs": Count,
    "recipe.precision": str,
    "recipe.prior_bias": bool,
    "recipe.validation.interval": Positive | None,
    "recipe.validation.epochs": Count | None,
    "recipe.validation.patience": Natural | None,
    "recipe.validation.monitor": Literal[MONITORS],
    "recipe.validation.sets": bool,
    "recipe.head_lr_factor": NotNegative,
    "recipe.pretrained_lr_factor": NotNegative,
    "recipe.lcenet.rank": Count,
    "recipe.lcenet.blocks": Count,
    "recipe.lcenet.zero_init": bool,
    "trainer.max_epochs": Count | None,
    "trainer.max_steps": Count | Literal[-1],
    "trainer.accumulate_grad_batches": Count,
}

# what cannot be null: without one of these there is nothing to train, or nothing to train on
COMPONENTS = ("recipe.objective", "recipe.optimizer", "recipe.schedule", "dataset.source")
# where a key that is nearly one of those here is a slip; anything else may be somebody's own, to be referred to
CLOSED = {
    "recipe": {"averaging", "clipping", "encoders"}, "recipe.validation": set(), "data": set(), "checkpoints": set(),
    "ranks": set(), "paths": set(),
}  # fmt: skip

# and the environment's name for it
NOT_EMPTY = {"paths.data_dir": "XMTC_DATA", "paths.cache_dir": "XMTC_CACHE", "paths.runs": None}


def check_plain(config: dict) -> None:
    """Check the settings in `config`, a whole resolved configuration. InputError: one line."""
    _check_parents(config)
    _check_slips(config)
    for key in COMPONENTS:
        found, value = lookup(config, key)
        if found and value != "???" and not (isinstance(value, dict) and "_target_" in value):
            raise InputError(f"{key}: expected a component with a _target_, got {describe(value)}")
    for key, hint in TYPES.items():
        found, value = lookup(config, key)
        if not found or value == "???":  # what is missing is named elsewhere
            continue
        if not fits(value, hint) or isinstance(value, dict):  # which fits where a component may stand
            raise InputError(f"{key}: expected {expected(hint)}, got {describe(value)}")
        if key in NOT_EMPTY and not value:
            origin = f" (is the environment's {NOT_EMPTY[key]} empty?)" if NOT_EMPTY[key] else ""
            raise InputError(f"{key}: expected a folder, got an empty name{origin}")


def _check_parents(config: dict) -> None:
    """What holds settings is no null, number or text, and the recipe of a run has all of its own."""
    for key in TYPES:
        above, _, last = key.rpartition(".")
        found, value = lookup(config, above) if above else (False, None)
        if found and value != "???" and not isinstance(value, dict):
            raise InputError(f"{above}: expected settings such as {last}, got {describe(value)}")
        of_a_run = above in ("recipe", "recipe.validation") and {"recipe", "data"} <= config.keys()
        if of_a_run and not lookup(config, key)[0]:
            raise InputError(f"{key}: must be given, for example {key}=...")


def _check_slips(config: dict) -> None:
    for above, others in CLOSED.items():
        found, value = lookup(config, above)
        keys = [*TYPES, *COMPONENTS]
        known = others | {key.removeprefix(f"{above}.").split(".")[0] for key in keys if key.startswith(f"{above}.")}
        for key in value if found and isinstance(value, dict) else ():
            if key not in known and (hint := did_you_mean(str(key), sorted(known))):
                raise InputError(f"{above}.{key}: unknown key{hint}")


def lookup(config: Any, key: str) -> tuple[bool, Any]:
    """(is it there, its value)."""
    for part in key.split("."):
        if not isinstance(config, dict) or part not in config:
            return False, None
        config = config[part]
    return True, config
