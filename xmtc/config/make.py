"""A component from its configuration node."""

from __future__ import annotations

from typing import Any

from hydra.utils import instantiate


def make(node: dict, **arguments) -> Any:
    """Instantiates a component's node with what the framework knows; plain containers, never DictConfig."""
    return instantiate(node, _convert_="object", _partial_=True)(**arguments)
