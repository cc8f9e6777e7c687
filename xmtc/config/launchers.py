"""Which launcher a sweep may use. Hydra's own runs every job in one process; Lightning then starts the other ranks with
that process's command line, the sweep itself, so that each rank would run the whole sweep again and ranks of different
jobs would train together."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from xmtc.config.check import check_node
from xmtc.errors import InputError
from xmtc.sweeping.devices import processes

OURS = "hydra_plugins.xmtc_launchers."


def check_launcher(launcher: Mapping[str, Any]) -> None:
    """Our launchers' settings against their constructors. InputError: one line."""
    if str(launcher.get("_target_")).startswith(OURS):
        check_node(dict(launcher), "hydra.launcher")


def refuse_basic_launcher(launcher: Mapping[str, Any], config: DictConfig, overrides: Sequence[str]) -> None:
    """InputError, with the line to type instead, if Hydra's own launcher would run jobs of several processes."""
    if not str(launcher.get("_target_")).endswith("BasicLauncher"):
        return
    trainer = OmegaConf.to_container(config.trainer, resolve=True) if "trainer" in config else {}
    count = processes(trainer)
    if count > 1:
        words = [word for word in overrides if not word.startswith("hydra/launcher=")]
        raise InputError(
            f"trainer.devices: a sweep whose jobs are {count} processes each needs a launcher that starts every job on"
            f" its own: python -m xmtc.run -m {shlex.join([*words, 'hydra/launcher=local'])}"
        )
