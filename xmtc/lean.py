"""A command starts sooner: torchmetrics is imported without what it brings along for metrics that nobody here uses.

Lightning imports torchmetrics, and that imports, wherever they are installed, transformers (for BERTScore), matplotlib
(for `Metric.plot`) and scipy.signal (for metrics of sound): a third of the CPU time of all imports of a training. In a
command's process it is therefore imported as where those three are not installed, and says so if such a metric is
asked for. Who uses xmtc as a library gets all of it.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.metadata import PackageNotFoundError

PACKAGE = "torchmetrics"
HIDDEN = ("transformers", "matplotlib", "scipy")


def lean_imports() -> None:
    """From here on in this process. Costs nothing where torchmetrics is never imported, or has been."""
    if PACKAGE not in sys.modules and not any(isinstance(finder, Lean) for finder in sys.meta_path):
        sys.meta_path.insert(0, Lean())


class Lean(MetaPathFinder):
    """Waits for the first import of torchmetrics, which then happens as usual but for what is hidden."""

    def find_spec(self, name, path=None, target=None):
        if name != PACKAGE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_lean(module):
                with hidden():
                    execute(module)

            spec.loader.exec_module = execute_lean
        return spec


@contextmanager
def hidden() -> Iterator[None]:
    """torchmetrics asks lightning_utilities what is installed; meanwhile the three are not. Where a later version of it
    asks in another way, nothing is hidden, and the import takes its time."""
    try:
        from lightning_utilities.core import imports
    except ImportError:
        yield
        return
    find_spec, version = getattr(imports, "find_spec", None), getattr(imports, "_version", None)
    caches = [getattr(getattr(imports, name, None), "cache_clear", None) for name in
              ("package_available", "module_available")]  # fmt: skip

    def forget():
        for clear in filter(None, caches):
            clear()

    def no_spec(name, *arguments):
        return None if name in HIDDEN else find_spec(name, *arguments)

    def no_version(name):
        if name in HIDDEN:
            raise PackageNotFoundError(name)
        return version(name)

    forget()
    if find_spec:
        imports.find_spec = no_spec
    if version:
        imports._version = no_version
    try:
        yield
    finally:
        if find_spec:
            imports.find_spec = find_spec
        if version:
            imports._version = version
        forget()
