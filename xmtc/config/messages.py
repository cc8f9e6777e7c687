"""What Hydra and OmegaConf say, in one line that names the key and the choices."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml
from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from xmtc.config.check import choices_of, did_you_mean
from xmtc.errors import InputError

MOST_CHOICES = 40  # beyond this a list stops being an answer


def one_line(error: BaseException, config_dir: Path, config_dirs: Sequence[Path] = ()) -> str:
    """`error` as one line. `config_dirs`: folders given with --config-dir. Any exception is accepted; an unknown kind
    gives its first line."""
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, InputError):  # ours, raised inside a resolver
            return str(cause)
    for cause in chain:
        missing = re.search(r"Missing mandatory value: (\S+)", str(cause))
        if missing:
            return f"{missing[1]}: must be given, for example {missing[1]}=..."
        if isinstance(cause, MissingConfigException):
            return _missing_file(cause, [config_dir, *config_dirs])
        if isinstance(cause, OverrideParseException):
            return unreadable_override(cause)
        if isinstance(cause, (ConfigAttributeError, ConfigKeyError)) and "not in" in str(cause):
            return _unknown_key(cause, [config_dir, *config_dirs])
        if isinstance(cause, yaml.MarkedYAMLError):
            mark = cause.problem_mark or cause.context_mark
            place = f"{_short(mark.name, config_dir)}, line {mark.line + 1}" if mark else "configuration"
            return f"{place}: not valid YAML: {cause.problem or cause.context}"
    return _other(chain)


def _other(chain: list[BaseException]) -> str:
    error = chain[0]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    ambiguous = re.match(r"Ambiguous value for argument '([^=]+)=(.*)'", lines[0])
    if ambiguous:
        key, value = ambiguous.groups()
        return (
            f"{key}={value}: for one run per value add -m; for a list write '{key}=[{value}]'; "
            f"for a text with a comma write {_quoted(key, value)}"
        )
    swept = re.match(r"Sweeping over Hydra's configuration is not supported : '([^=]+)=(.*)'", lines[0])
    if swept:
        return f"{swept[1]}={swept[2]}: expected one value; a list is written '{swept[1]}=[{swept[2]}]'"
    if "INTERVAL_SWEEP" in lines[0]:
        return "interval(...) is for `python -m xmtc.search`; a sweep takes values, as 1,2,3 or range(1,4)"
    mandatory = re.match(r"You must specify '([^']+)'", lines[0])
    if mandatory:
        options = [line for line in lines[2:] if not line.startswith(("Config search path", "provider="))]
        return f"{mandatory[1]}: must be given, one of {', '.join(options)}"
    if isinstance(error, OmegaConfBaseException):
        reference = re.search(r"Interpolation key '([^']+)' not found", str(error))
        what = f"refers to ${{{reference[1]}}}, which does not exist" if reference else lines[0]
        return f"{error.full_key}: {what}" if error.full_key else what
    if isinstance(error, ConfigCompositionException):  # Hydra's second line says what to write instead
        return "; ".join(lines[:3]).replace(".;", ";")
    return lines[0]


def _missing_file(error: MissingConfigException, folders: Iterable[Path]) -> str:
    named = error.missing_cfg_file or str(error).splitlines()[0]
    group, _, choice = named.rpartition("/")
    options = list(error.options or [])
    if not options and group:
        group, _, choice = named.partition("/")
        options = [o for folder in folders for o in _options(folder / group)]
    origin = re.match(r"In '([^']+)'", str(error))
    where = f" (asked for by {origin[1]})" if origin and "/" in origin[1] else ""
    if not options:
        return f"{group or named}={choice}{where}: there is no such configuration"
    return f"{group}={choice}: unknown choice{where}; {_listing(choice, options)}"


def _options(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.yaml"))


def _listing(word: str, options: Iterable[str]) -> str:
    options = sorted(set(options))
    shown = ", ".join(options[:MOST_CHOICES]) + (f", ... ({len(options)})" if len(options) > MOST_CHOICES else "")
    return f"choose from {shown}{did_you_mean(word, options)}"


def _unknown_key(error: OmegaConfBaseException, folders: Iterable[Path]) -> str:
    full, parent = str(error.full_key or error.key), error.parent_node
    key = str(error.key)
    choices: list[str] = []
    if isinstance(parent, DictConfig):
        choices = [str(k) for k in parent if k not in ("hydra", "_target_", "_partial_")]
    if "." not in full:  # at the top a group that has no default is a choice too
        groups = [p.name for folder in folders for p in folder.iterdir() if p.is_dir() and p.name != "hydra"]
        choices += groups if set(groups) & set(choices) else []  # predict and enhance have none
    elif isinstance(parent, DictConfig) and "_target_" in parent:
        accepted = choices_of(OmegaConf.select(parent, "_target_"))
        if key in accepted:
            return f"{full}: not in this configuration's file; add it with +{full}=..."
        choices += accepted
    above = full.rpartition(".")[0]
    if above == "hydra.launcher" and not choices:
        return f"{full}: unknown key of Hydra's own launcher, which has none; hydra/launcher=local has some"
    if not choices:
        return f"{full}: unknown key; {above or 'the configuration'} has no keys"
    return f"{full}: unknown key; {_listing(key, choices)}"


def unknown_top_level(key: str, choices: Iterable[str]) -> str:
    """The line for a key that `+key=value` or an experiment added where nobody reads it."""
    return f"{key}: unknown key; {_listing(key, choices)}"


def unknown_choice(group: str, choice: str, options: Iterable[str]) -> str:
    """The line for what is no name, such as null, where a choice of a group belongs."""
    return f"{group}={choice}: unknown choice; {_listing(choice, options)}"


def unreadable_override(error: OverrideParseException) -> str:
    """The line for an override that Hydra cannot parse."""
    override = error.override
    if override.startswith("-"):
        if override.startswith("--config-dir"):  # a switch of the command line alone
            return f"{override}: write hydra.searchpath=[DIR]"
        bare = override.lstrip("-").replace("-", "_")
        return f"{override}: settings are key=value without dashes: write {bare if '=' in bare else bare + '=true'}"
    key, equals, value = override.partition("=")
    if not equals:
        return f"{override}: expected key=value"
    if value.startswith("choice(") and "NoneType" in str(error):
        return f"{override}: choice() takes no null: write {key}={value[7:-1]}"
    evaluated = re.search(r"while evaluating '.*': (?!Unknown function)(.+)", str(error))
    if evaluated:
        return f"{override}: {evaluated[1]}"
    if not set(value) & set("([{='\"") and not all(value.split(",")):
        return f"{override}: a value is missing before or behind a comma"
    return f"{override}: the value has characters with a meaning of their own: write {_quoted(key, value)}"


def _quoted(key: str, value: str) -> str:
    """As typed in a shell: the outer quotes are the shell's, the inner ones Hydra's."""
    inner = value.replace("\\", "\\\\").replace('"', '\\"')
    return f"'{key}=\"{inner}\"'" if "'" not in inner else f"{key}=... with the value in double quotes inside quotes"


def _causes(error: BaseException | None) -> Iterable[BaseException]:
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _short(name: str, config_dir: Path) -> str:
    path = Path(name)
    return path.relative_to(config_dir).as_posix() if path.is_relative_to(config_dir) else name
