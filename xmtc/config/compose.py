"""Compose a configuration, or every job of a sweep, and refuse what is wrong before anything starts.

Hydra would find most of this too, but in the middle of its own start-up and in many lines; missing mandatory values
and values of the wrong type it does not look for at all. Leans on Hydra 1.3's internals, which pyproject.toml pins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
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

from xmtc.config.check import check_base, check_node
from xmtc.config.launchers import check_launcher, refuse_basic_launcher
from xmtc.config.loader import Loader
from xmtc.config.messages import one_line, unknown_choice, unknown_top_level
from xmtc.config.outside import refuse_sweep
from xmtc.config.paths import command_dir
from xmtc.config.plain import check_plain
from xmtc.config.resolvers import register_resolvers
from xmtc.errors import InputError

MOST_JOBS = 2000
SWEEP = "hydra.mode=MULTIRUN"


def compose_checked(overrides: Sequence[str], hydra_node: bool = False) -> DictConfig:
    """One job's configuration, unresolved, everything in it checked. InputError if it cannot be used.

    hydra_node: keep Hydra's own node.
    """
    with composing("run") as composer:
        return composer.one(overrides, hydra_node)


def compose_jobs(
    overrides: Sequence[str], config_name: str = "run", config_dirs: Sequence[str | Path] = ()
) -> list[tuple[list[str], DictConfig]]:
    """(overrides, configuration) of every job of a sweep, each checked. Costs about 150 ms a job.

    A sweeper other than Hydra's own decides its jobs as it goes: then only what all jobs share is composed, unchecked.
    """
    with composing(config_name, config_dirs) as composer:
        return composer.jobs(overrides)


@contextmanager
def composing(
    config_name: str, config_dirs: Sequence[str | Path] = (), task_name: str = "run", remember: bool = False
) -> Iterator[Composer]:
    """A Hydra of our own, gone afterwards. remember: what is composed to be checked is not composed again to be run."""
    register_resolvers()
    folders = [Path(folder).absolute() for folder in config_dirs]
    for given, folder in zip(config_dirs, folders):
        if not folder.is_dir():
            raise InputError(f"--config-dir {given}: there is no such folder")
    backup = get_gh_backup()
    GlobalHydra.instance().clear()
    try:
        version.setbase("1.3")
        search_path = create_config_search_path(str(command_dir(config_name)))
        for folder in folders:  # where --config-dir puts them
            search_path.prepend("command-line", f"file://{folder}", anchor=SearchPathQuery(provider="schema"))
        hydra = Hydra(task_name, Loader(search_path, remember))
        GlobalHydra.instance().initialize(hydra)
        yield Composer(hydra, config_name, folders)
    finally:
        GlobalHydra.instance().clear()
        restore_gh_from_backup(backup)


class Composer:
    """Composes by one Hydra. Whatever is wrong with a configuration leaves as InputError."""

    def __init__(self, hydra: Hydra, config_name: str, folders: Sequence[Path]) -> None:
        self.hydra, self.config_name, self.folders = hydra, config_name, folders
        self._known: set[str] | None = None

    def one(self, overrides: Sequence[str], hydra_node: bool = False) -> DictConfig:
        """See `compose_checked`."""
        with self._told():
            config = self._composed(overrides, RunMode.RUN)
            self._check(config)
            return config if hydra_node else without_hydra(config)

    def jobs(self, overrides: Sequence[str]) -> list[tuple[list[str], DictConfig]]:
        """See `compose_jobs`."""
        refuse_sweep("-m")
        if alone := [word for word in overrides if word.startswith("hydra.run.dir=")]:
            raise InputError(f"{alone[0]}: is for a single run; the folder of a sweep is hydra.sweep.dir=...")
        with self._told():
            master = self._composed(_of_a_sweep(overrides), RunMode.MULTIRUN)
            if not master.hydra.sweeper._target_.endswith("BasicSweeper"):
                return []
            loader = self.hydra.config_loader
            params = [f"{key}={value}" for key, value in (master.hydra.sweeper.params or {}).items()]
            parsed = OverridesParser.create(config_loader=loader).parse_overrides(
                [*params, *master.hydra.overrides.task]
            )
            sweeps = {o.get_key_element(): o for o in parsed}  # the last one wins, as in the sweeper
            count = math.prod(
                sum(1 for _ in o.sweep_string_iterator()) for o in sweeps.values() if o.is_discrete_sweep()
            )
            if not count:
                raise InputError("this sweep has no runs: a glob() in it matches no choice")
            if count > MOST_JOBS:
                raise InputError(f"this sweep has {count:,} runs; at most {MOST_JOBS:,} in one command: split it")
            launcher = OmegaConf.to_container(master.hydra.launcher)
            check_launcher(launcher)
            jobs = []
            for job in BasicSweeper.split_arguments(parsed, None)[0]:
                config = loader.load_sweep_config(master, list(job))
                self._check(config)
                refuse_basic_launcher(launcher, config, overrides)
                jobs.append((list(job), without_hydra(config)))
            return jobs

    def run(self, task: Callable[[DictConfig], Any], overrides: Sequence[str], sweep: bool) -> None:
        """As hydra.main runs its task; errors of the task leave as they are. InputError: a folder cannot be made."""
        from xmtc.data.files import writing_to

        try:
            if sweep:
                self.hydra.multirun(self.config_name, task, _of_a_sweep(overrides))
            else:
                self.hydra.run(self.config_name, task, list(overrides))
        except (OSError, ValueError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__  # of a log file, in Python's own words
            if isinstance(cause, OSError):
                with writing_to(Path(cause.filename or "."), "starting", None):
                    raise cause from None
            raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except InputError:
            raise
        except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
            raise InputError(one_line(error, command_dir(self.config_name), self.folders)) from error

    def _composed(self, overrides: Sequence[str], mode: RunMode) -> DictConfig:
        try:
            config = self.hydra.compose_config(self.config_name, list(overrides), mode, from_shell=False)
        except (TypeError, AttributeError) as error:  # Hydra's own, of a group that is given a list of numbers
            words = " ".join(word for word in overrides if word != SWEEP)
            raise InputError(f"{words}: not a choice of configurations ({error})") from None
        except ValueError as error:
            if "Config group override must be" not in str(error):
                raise
            for one in OverridesParser.create().parse_overrides(list(overrides)):
                options = self.hydra.config_loader.get_group_options(one.key_or_group)
                if options and not isinstance(one.value(), str | list):
                    raise InputError(unknown_choice(one.key_or_group, one.get_value_string(), options)) from None
            raise
        for word in overrides:  # Hydra would lay the files over each other, which makes one component of two
            group, _, value = word.partition("=")
            if value.startswith("[") and config.get(group) and self.hydra.config_loader.get_group_options(group):
                raise InputError(f"{word}: expected one choice; for one run per choice add -m: {group}={value[1:-1]}")
        return config

    def _check(self, config: DictConfig) -> None:
        if not set(config) <= self._sure:
            if self._known is None:
                self._known = self._top_level()
            for key in config:
                if key not in self._known:
                    raise InputError(unknown_top_level(str(key), self._known - {"hydra"}))
        check(config)

    @cached_property
    def _sure(self) -> set[str]:
        """Keys that may stand at the top, as far as they are seen without composing anything."""
        folders = command_dir(self.config_name), *self.folders
        groups = {path.name for folder in folders for path in folder.iterdir() if path.is_dir()}
        own = self.hydra.config_loader.repository.load_config(self.config_name)
        return {*groups, "hydra", *map(str, own.config if own else ())}

    def _top_level(self) -> set[str]:
        """All of them: those of the configuration as it comes, and the groups."""
        plain = self.hydra.config_loader.load_configuration(self.config_name, [], RunMode.MULTIRUN)
        return self._sure | set(map(str, plain))


def _of_a_sweep(overrides: Sequence[str]) -> list[str]:
    return [*overrides, SWEEP] if SWEEP not in overrides else list(overrides)


def check(config: DictConfig) -> None:
    """Everything in a composed configuration but the names of its top keys."""
    previous, held = HydraConfig.instance().cfg, config.hydra.runtime.get("output_dir")
    with flag_override(config.hydra.runtime, ["struct", "readonly"], False):
        # ${hydra:...} reads a global that Hydra sets for a job, and the run directory is not known before it starts
        config.hydra.runtime.output_dir = "."
        try:
            HydraConfig.instance().set_config(config)
            plain = {str(key): resolved(config, key) for key in config if key != "hydra"}
            check_plain(plain)
            for key, value in plain.items():
                check_node(value, key)
                check_base(value, key)
        finally:
            HydraConfig.instance().cfg = previous
            config.hydra.runtime.output_dir = held if held is not None else "???"


def resolved(config: DictConfig, key: str) -> Any:
    """One key of a configuration as plain values."""
    node = config._get_node(key)
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else config[key]


def without_hydra(config: DictConfig) -> DictConfig:
    """The configuration itself, Hydra's own node taken out."""
    with flag_override(config, ["struct", "readonly"], False):
        del config["hydra"]
    return config
