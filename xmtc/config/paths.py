"""Where the configuration files are."""

from __future__ import annotations

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
