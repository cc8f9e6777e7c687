"""An encoder from its configuration node and what the framework knows."""

from __future__ import annotations

import inspect
from typing import Any

from xmtc.config.check import import_target
from xmtc.config.make import make
from xmtc.data.vocabulary import Vocabulary


def make_encoder(node: dict, vocabulary: Vocabulary, num_labels: int, **arguments) -> Any:
    """num_labels goes to encoders whose constructor has it: those with weights of their own for each label."""
    target = import_target(node["_target_"], "encoder")
    if "num_labels" in inspect.signature(target).parameters:
        arguments["num_labels"] = num_labels
    return make(node, vocabulary=vocabulary, **arguments)
