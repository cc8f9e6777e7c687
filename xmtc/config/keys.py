"""What --help tells of a command's keys: its YAML file, where name, default and meaning stand once."""

from __future__ import annotations

import re

import yaml
from hydra.core.global_hydra import GlobalHydra

from xmtc.config.paths import command_dir

NOT_KEYS = ("defaults", "hydra")


def keys_of(name: str) -> list[tuple[str, str, str]]:
    """(key, default as it is written, meaning) of each key of the command's file, `group.key` for those one level down.

    The meaning is the comment on the key's line, or nothing. Keys that are deeper are not looked for.
    """
    found, group = [], ""
    for line in (command_dir(name) / f"{name}.yaml").read_text(encoding="utf-8").splitlines():
        key = re.match(r"( {2})?(\w+):(?: +([^#\s].*?))?(?: +# *(.*))?$", line)
        if not key:
            continue
        nested, word, default, about = key.groups()
        if not nested:
            group = word
        if group not in NOT_KEYS and default is not None:
            found.append((f"{group}.{word}" if nested else word, default, about or ""))
    return found


def describe_keys(name: str) -> str:
    """A line a key: name, [default], meaning."""
    rows = keys_of(name)
    width = max(len(key) for key, _, _ in rows)
    return _plain("\n".join(f"  {key:<{width}}  {_shown(default)}{about}" for key, default, about in rows))


def _shown(default: str) -> str:
    if default == "???":
        return "(must be given)  "
    followed = re.fullmatch(r"\$\{([\w.]+)\}", default)
    if followed:
        return f"[that of {followed[1]}]  "
    return "" if "${" in default else f"[{default}]  "  # of the environment: the meaning tells


def describe_choices(name: str) -> str:
    """`group=choice` of every group that has one unless another is asked for."""
    content = yaml.safe_load((command_dir(name) / f"{name}.yaml").read_text(encoding="utf-8"))
    groups = [each for each in content["defaults"] if isinstance(each, dict)]
    words = [f"{group}={choice}" for each in groups for group, choice in each.items() if choice is not None]
    return _plain(" ".join(words))


def describe_groups(*others: str) -> str:
    """`group: choices` of every group, those of --config-dir too, but Hydra's own and `others`."""
    own = GlobalHydra.instance().hydra
    left_out = ("hydra", *others)
    return (
        _plain(own.format_config_groups(lambda group: group.partition("/")[0] not in left_out).rstrip()) if own else ""
    )


def _plain(text: str) -> str:
    return text.replace("$", "$$")  # Hydra fills the help in as a string.Template
