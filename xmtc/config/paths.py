"""Where the configuration files are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from xmtc.errors import InputError

PACKAGE = Path(__file__).resolve().parents[1]


def config_dir(package: Path = PACKAGE) -> Path:
    """The folder with `run.yaml`: `conf/` of the source tree, else `xmtc/conf` of an installed wheel.

    The source tree comes first because an editable install leaves a copy in `xmtc/conf` that nothing keeps up to date.
    `pyproject.toml` beside it tells a source tree from somebody else's `conf` in site-packages.
    """
    source = package.parent / "conf"
    if source.is_dir() and (package.parent / "pyproject.toml").is_file():
        return source
    if (package / "conf").is_dir():
        return package / "conf"
    raise InputError("the configuration folder is missing from this installation of xmtc: install it again")


def command_dir(config_name: str) -> Path:
    """The folder of a command's own file: `conf/` for runs, `conf/command/` for commands without configuration groups,
    whose keys may then be called as a group is (`execution=chunked`): Hydra takes such a key for a choice of files."""
    folder = config_dir()
    own = folder / "command"
    return own if (own / f"{config_name}.yaml").is_file() else folder


def quoted(path: Path | str) -> str:
    """A path as the value of an override, whatever is in it."""
    return "'" + str(path).replace("'", r"\'") + "'"


def typed(key: str, path: Path | str) -> str:
    """`key=path` as one would type it in a shell, whatever is in it."""
    plain = re.fullmatch(r"[\w./-]+", str(path))
    return f"{key}={path}" if plain else shlex.quote(f"{key}={quoted(path)}")


def unquoted(value: str) -> str:
    """A path out of the value of an override."""
    return value.strip("'\"").replace(r"\'", "'")


def sweep_name(sweep: Path) -> str:
    """The group of its runs in Weights & Biases: two parts tell a date or a table from another."""
    return "/".join(sweep.parts[-2:])
