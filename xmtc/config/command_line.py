"""Check a command line before anything of it runs, and run what was checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.types import RunMode
from omegaconf import DictConfig

from xmtc.config.compose import SWEEP, Composer, composing, without_hydra
from xmtc.config.outside import together
from xmtc.errors import InputError

# Switches that show something and run nothing
SHOW = ("help", "hydra_help", "cfg", "info", "shell_completion", "experimental_rerun", "config_path")


@dataclass
class CommandLine:
    """A command line whose configurations can all be used. arguments: it, with switches before the settings."""

    arguments: list[str]
    composer: Composer | None  # None: it only shows something, which is for hydra.main
    overrides: list[str]
    sweep: bool = False

    @property
    def shows(self) -> bool:
        return self.composer is None

    def run(self, task: Callable[[DictConfig], Any]) -> None:
        """The job, or each job of the sweep."""
        assert self.composer is not None
        self.composer.run(task, self.overrides, self.sweep)


@contextmanager
def checked_command_line(
    argv: Sequence[str],
    config_name: str = "run",
    check: Callable[[DictConfig], None] | None = None,
    task_name: str = "run",
) -> Iterator[CommandLine]:
    """`argv` (without the program's name), or every run of a sweep, composed and checked; `check` is called with each
    configuration. InputError if one cannot be used.

    What it yields can be run as long as the context lasts, without composing it again. Switches that only show
    something (--help, --cfg, --info, ...) pass through unchecked. task_name: what Hydra's log file is called.
    """
    parser = get_args_parser()
    known, rest = parser.parse_known_args(list(argv))
    if any(getattr(known, name) for name in SHOW):
        yield CommandLine(list(argv), None, [])
        return
    unknown = [word for word in rest if word.startswith("-")]
    if unknown:
        bare = unknown[0].lstrip("-").replace("-", "_")
        raise InputError(
            f"{unknown[0]}: unknown switch; settings are key=value, for example "
            f"{bare if '=' in bare else bare + '=true'}; --help lists them"
        )
    # argparse gives up on settings after a switch (`a=1 -m b=2`); people write them
    overrides = [*known.overrides, *rest]
    arguments = [word for word in argv if word not in overrides] + overrides if rest else list(argv)
    config_dirs = [known.config_dir] if known.config_dir else []
    with composing(known.config_name or config_name, config_dirs, task_name, remember=True) as composer:
        sweep = known.multirun or SWEEP in overrides
        if config_name == "run" and not sweep:
            overrides = together(overrides)
        line = CommandLine(arguments, composer, overrides, sweep)
        for config in _checked(line):
            if check is not None:
                check(config)
        yield line


def _checked(line: CommandLine) -> list[DictConfig]:
    if not line.sweep:
        config = line.composer.one(line.overrides, hydra_node=True)
        if config.hydra.mode != RunMode.MULTIRUN:
            return [without_hydra(config)]
        line.sweep = True  # by a file of the configuration
    return [config for _, config in line.composer.jobs(line.overrides)]
