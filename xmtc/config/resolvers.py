"""`${paper:KEY,DEFAULT}`: what a paper chose for this encoder on this dataset.

The facts stand once, in the dataset's file:

    paper:
      batch_size: 64            # every encoder on this dataset
      encoders:
        bertxml: {rank: 800}    # this encoder on this dataset

and components interpolate them, so no file exists per pair and a misspelt pair cannot vanish silently.

`${modern:KEY,DEFAULT}`: what was measured, under a recipe that has measurements (`recipe.encoders`): of the corpus, in
`dataset.modern` (of the same shape as `dataset.paper`), of the encoder, in `recipe.encoders.<encoder>.KEY`, or of a
head on it, in `recipe.encoders.<encoder>.heads.<head>.KEY`.

`${rounds:EPOCHS,FRACTION}`: epochs over a share of the training documents, EPOCHS / sqrt(FRACTION) rounded: a sixteenth
of the documents is seen four times as often, in a quarter of the steps.

`${sweep:}`: what groups the jobs of a sweep: what its launcher says (environment XMTC_SWEEP), else, in a job that
Hydra's own launcher runs, the sweep's folder; null for a single run.

`${cache_dir:}`: where prepared stores go: environment XMTC_CACHE, else ~/.cache/xmtc.

`${keys_of:COMMAND}`, `${choices_of:COMMAND}`: what --help tells of a command's keys and of the choices it makes itself.
`${groups_without:GROUP}`: what it tells of all groups but one, where commands keep their files.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from xmtc.config.keys import describe_choices, describe_groups, describe_keys
from xmtc.config.paths import sweep_name
from xmtc.errors import InputError

_ABSENT = object()


def _file_name(root: DictConfig, group: str) -> str | None:
    """Of what fills the group: `xmtc.encoders.xmlcnn.XMLCNN` is `xmlcnn`, whatever its YAML is called. Reads only
    `_target_`: asking for the whole group would ask this resolver again."""
    target = OmegaConf.select(root, f"{group}._target_", default=None)
    return target.rsplit(".", 2)[-2] if isinstance(target, str) and "." in target else None


def paper(key: str, default: Any = _ABSENT, *, _root_: DictConfig) -> Any:
    """First of `dataset.paper.encoders.<encoder>.KEY`, `dataset.paper.KEY`, DEFAULT. A null that is written counts."""
    places = (f"dataset.paper.encoders.{_file_name(_root_, 'encoder')}.{key}", f"dataset.paper.{key}")
    return _first(_root_, places, key, default)


def modern(key: str, default: Any = _ABSENT, *, _root_: DictConfig) -> Any:
    """First of `dataset.modern.encoders.<encoder>.KEY`, `dataset.modern.KEY`,
    `recipe.encoders.<encoder>.heads.<head>.KEY`, `recipe.encoders.<encoder>.KEY`, DEFAULT: what suits this encoder on
    this corpus, this corpus, this head on this encoder, or this encoder. DEFAULT under `recipe=paper`."""
    name = _file_name(_root_, "encoder")
    encoder = f"recipe.encoders.{name}"
    places = (
        f"dataset.modern.encoders.{name}.{key}", f"dataset.modern.{key}",
        f"{encoder}.heads.{_file_name(_root_, 'head')}.{key}", f"{encoder}.{key}",
    )  # fmt: skip
    if default is not _ABSENT and not OmegaConf.select(_root_, "recipe.encoders", default=None):
        places = ()
    return _first(_root_, places, key, default)


def _first(root: DictConfig, places: tuple[str, ...], key: str, default: Any) -> Any:
    for place in places:
        value = OmegaConf.select(root, place, default=_ABSENT)
        if value is not _ABSENT:
            return value
    if default is _ABSENT:
        raise InputError(f"{key}: expected at {' or '.join(places)}, which is not there")
    return OmegaConf.create(default) if isinstance(default, list) else default  # what --resolve can write in its place


def rounds(epochs: int, fraction: float) -> int:
    if not 0 < fraction <= 1:
        raise InputError(f"data.fraction: expected a share above 0 and up to 1, got {fraction}")
    return max(1, round(epochs / math.sqrt(fraction)))


def sweep() -> str | None:
    named, hydra = os.environ.get("XMTC_SWEEP"), HydraConfig.instance().cfg
    if named or hydra is None or hydra.hydra.mode != RunMode.MULTIRUN:
        return named or None
    return sweep_name(Path(str(hydra.hydra.sweep.dir)).absolute())


def cache_dir() -> str:
    """Of the user's home folder, which also stands in the system's list of users: a service may have no HOME."""
    if (given := os.environ.get("XMTC_CACHE")) is not None:
        return given
    home = os.path.expanduser("~")
    if home == "~":
        raise InputError("paths.cache_dir: this user has no home folder; set it, or the environment's XMTC_CACHE")
    return str(Path(home, ".cache", "xmtc"))


def register_resolvers() -> None:
    """Idempotent. Must run before anything is composed."""
    OmegaConf.register_new_resolver("paper", paper, replace=True)
    OmegaConf.register_new_resolver("modern", modern, replace=True)
    OmegaConf.register_new_resolver("rounds", rounds, replace=True)
    OmegaConf.register_new_resolver("sweep", sweep, replace=True)
    OmegaConf.register_new_resolver("cache_dir", cache_dir, replace=True)
    OmegaConf.register_new_resolver("keys_of", describe_keys, replace=True)
    OmegaConf.register_new_resolver("choices_of", describe_choices, replace=True)
    OmegaConf.register_new_resolver("groups_without", describe_groups, replace=True)
