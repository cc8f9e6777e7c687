"""Hydra's composing of configurations, with each file read once and each job composed once.

Hydra parses every file of a configuration anew for every job, which is half of the time that composing takes, and
composes a job once to see whether it can be composed, once for the launcher and once to run it.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.core_plugins.importlib_resources_config_source import ImportlibResourcesConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig

KEPT = 500  # compositions that are remembered, about a megabyte each
_read: dict[tuple, ConfigResult] = {}


def _once(key: tuple, load: Callable[[str], ConfigResult], config_path: str) -> ConfigResult:
    if key not in _read:
        _read[key] = load(config_path)
    return copy.deepcopy(_read[key])  # who composes takes it to pieces


class Files(FileConfigSource):
    """A folder of YAML files; what has not changed since it was read is not parsed again."""

    def load_config(self, config_path: str) -> ConfigResult:
        full = os.path.realpath(os.path.join(self.path, self._normalize_file_name(config_path)))
        try:
            status = os.stat(full)
        except OSError:
            return super().load_config(config_path)  # it says what is missing
        return _once((full, status.st_mtime_ns, status.st_size, self.provider), super().load_config, config_path)


class Resources(ImportlibResourcesConfigSource):
    """The YAML files of a package: Hydra's own."""

    def load_config(self, config_path: str) -> ConfigResult:
        return _once((self.path, config_path, self.provider), super().load_config, config_path)


READ_ONCE = {kind.scheme(): kind for kind in (Files, Resources)}


class Loader(ConfigLoaderImpl):
    """remember: keep what is composed, for who asks for the same again."""

    def __init__(self, search_path: ConfigSearchPath, remember: bool = False) -> None:
        super().__init__(search_path)
        self._remembered: dict[tuple, DictConfig] | None = {} if remember else None
        sources = self.repository.get_sources()
        for number, source in enumerate(sources):
            if source.scheme() in READ_ONCE:
                sources[number] = READ_ONCE[source.scheme()](source.provider, f"{source.scheme()}://{source.path}")

    def load_configuration(
        self, config_name: str | None, overrides: list[str], run_mode: Any, *args: Any, **kwargs: Any
    ) -> DictConfig:
        if self._remembered is None:
            return super().load_configuration(config_name, overrides, run_mode, *args, **kwargs)
        key = config_name, tuple(overrides), run_mode
        if key in self._remembered:
            return copy.deepcopy(self._remembered[key])
        config = super().load_configuration(config_name, overrides, run_mode, *args, **kwargs)
        if len(self._remembered) < KEPT:
            self._remembered[key] = copy.deepcopy(config)
        return config
