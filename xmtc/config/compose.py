"""Compose a configuration, or every job of a sweep, and refuse what is wrong before anything starts.

Hydra would find most of this too, but in the middle of its own start-up and in many lines; missing mandatory values
and values of the wrong type it does not look for at all. Leans on Hydra 1.3's internals, which pyproject.toml pins.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra import version
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from xmtc.config.check import check_node
from xmtc.config.launchers import check_launcher, refuse_basic_launcher
from xmtc.config.messages import one_line, unknown_top_level
from xmtc.config.paths import command_dir
from xmtc.config.plain import check_plain
from xmtc.config.resolvers import register_resolvers
from xmtc.errors import InputError

MOST_JOBS = 2000


def compose_checked(
    overrides: Sequence[str], config_name: str = "run", config_dirs: Sequence[str | Path] = (), hydra_node: bool = False
) -> DictConfig:
    """One job's configuration, unresolved, everything in it checked. InputError if it cannot be used.

    config_dirs: folders with more groups, as --config-dir gives. hydra_node: keep Hydra's own node.
    """
    with _hydra(config_name, config_dirs) as hydra:
        config = _composed(hydra, config_name, overrides, RunMode.RUN)
        _check(config, _top_level(hydra, config_name, config_dirs))
        if not hydra_node:
            _without_hydra(config)
        return config


def compose_jobs(
    overrides: Sequence[str], config_name: str = "run", config_dirs: Sequence[str | Path] = ()
) -> list[tuple[list[str], DictConfig]]:
    """(overrides, configuration) of every job of a sweep, each checked. Costs about 50 ms a job.

    A sweeper other than Hydra's own decides its jobs as it goes: then only what all jobs share is composed, unchecked.
    """
    with _hydra(config_name, config_dirs) as hydra:
        master = _composed(hydra, config_name, overrides, RunMode.MULTIRUN)
        if not master.hydra.sweeper._target_.endswith("BasicSweeper"):
            return []
        params = [f"{key}={value}" for key, value in (master.hydra.sweeper.params or {}).items()]
        parser = OverridesParser.create(config_loader=hydra.config_loader)
        parsed = parser.parse_overrides([*params, *master.hydra.overrides.task])
        sweeps = {o.get_key_element(): o for o in parsed}  # the last one wins, as in the sweeper
        count = math.prod(sum(1 for _ in o.sweep_string_iterator()) for o in sweeps.values() if o.is_discrete_sweep())
        if count > MOST_JOBS:
            raise InputError(f"this sweep has {count:,} runs; at most {MOST_JOBS:,} in one command: split it")
        known = _top_level(hydra, config_name, config_dirs)
        launcher = OmegaConf.to_container(master.hydra.launcher)
        check_launcher(launcher)
        jobs = []
        for job in BasicSweeper.split_arguments(parsed, None)[0]:
            config = hydra.config_loader.load_sweep_config(master, list(job))
            _check(config, known)
            refuse_basic_launcher(launcher, config, overrides)
            jobs.append((list(job), _without_hydra(config)))
        return jobs


@contextmanager
def _hydra(config_name: str, config_dirs: Sequence[str | Path]) -> Iterator[Hydra]:
    """A Hydra of our own, gone afterwards, so that `hydra.main` may still start; its errors leave as InputError."""
    register_resolvers()
    source = command_dir(config_name)
    folders = [Path(folder).absolute() for folder in config_dirs]
    for given, folder in zip(config_dirs, folders):
        if not folder.is_dir():
            raise InputError(f"--config-dir {given}: there is no such folder")
    backup = get_gh_backup()
    GlobalHydra.instance().clear()
    try:
        version.setbase("1.3")
        search_path = create_config_search_path(str(source))
        for folder in folders:  # where --config-dir puts them
            search_path.prepend("command-line", f"file://{folder}", anchor=SearchPathQuery(provider="schema"))
        yield Hydra.create_main_hydra2(task_name="run", config_search_path=search_path)
    except InputError:
        raise
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        raise InputError(one_line(error, source, folders)) from error
    finally:
        GlobalHydra.instance().clear()
        restore_gh_from_backup(backup)


def _composed(hydra: Hydra, config_name: str, overrides: Sequence[str], mode: RunMode) -> DictConfig:
    try:
        return hydra.compose_config(config_name, list(overrides), mode, from_shell=False)
    except (TypeError, AttributeError) as error:  # Hydra's own, of a group that is given a list of numbers
        raise InputError(f"{' '.join(overrides)}: not a choice of configurations ({error})") from None


def _top_level(hydra: Hydra, config_name: str, config_dirs: Sequence[str | Path]) -> set[str]:
    """Keys that may stand at the top: those of the configuration as it comes, and the groups."""
    plain = hydra.config_loader.load_configuration(config_name, [], RunMode.MULTIRUN)
    groups = {
        p.name for folder in (command_dir(config_name), *map(Path, config_dirs)) for p in folder.iterdir() if p.is_dir()
    }
    return {str(key) for key in plain} | groups


def _check(config: DictConfig, known: set[str]) -> None:
    for key in config:
        if key not in known:
            raise InputError(unknown_top_level(str(key), known - {"hydra"}))
    previous, held = HydraConfig.instance().cfg, config.hydra.runtime.get("output_dir")
    with flag_override(config.hydra.runtime, ["struct", "readonly"], False):
        # ${hydra:...} reads a global that hydra.main sets, and the run directory is not known before it starts
        config.hydra.runtime.output_dir = "."
        try:
            HydraConfig.instance().set_config(config)
            plain = {str(key): _resolved(config, key) for key in config if key != "hydra"}
            check_plain(plain)
            for key, value in plain.items():
                check_node(value, key)
        finally:
            HydraConfig.instance().cfg = previous
            config.hydra.runtime.output_dir = held if held is not None else "???"


def _resolved(config: DictConfig, key: str) -> Any:
    node = config._get_node(key)
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else config[key]


def _without_hydra(config: DictConfig) -> DictConfig:
    with flag_override(config, ["struct", "readonly"], False):
        del config["hydra"]
    return config
