"""Check a command line before `hydra.main` sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig

from xmtc.config.compose import compose_checked, compose_jobs
from xmtc.errors import InputError

# Switches that show something and run nothing
SHOW = ("help", "hydra_help", "cfg", "info", "shell_completion", "experimental_rerun", "config_path")


def check_command_line(
    argv: Sequence[str], config_name: str = "run", check: Callable[[DictConfig], None] | None = None
) -> list[str]:
    """`argv` (without the program's name) as Hydra should get it: the same, with switches moved before the settings.

    Composes and checks the run, or every run of a sweep; `check` is called with each configuration. InputError if one
    cannot be used. Switches that only show something (--help, --cfg, --info, ...) pass through unchecked.
    """
    parser = get_args_parser()
    known, rest = parser.parse_known_args(list(argv))
    if any(getattr(known, name) for name in SHOW):
        return list(argv)
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
    name = known.config_name or config_name
    if known.multirun or "hydra.mode=MULTIRUN" in overrides:
        configs = [config for _, config in compose_jobs(overrides, name, config_dirs)]
    else:
        configs = [compose_checked(overrides, name, config_dirs)]
    if check is not None:
        for config in configs:
            check(config)
    return arguments
