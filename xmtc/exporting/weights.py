"""format=safetensors: the run with its weights as `model.safetensors`, which no loader can be made to run code by.

`xmtc.load(FOLDER)` opens it as it opens a run, memory-mapped; every other library that reads safetensors can, too.
"""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file

from xmtc.exporting.folder import copy_run
from xmtc.loading import WEIGHTS


def export_weights(model, folder: Path) -> dict:
    state = {name: tensor.contiguous() for name, tensor in model.parts.state_dict().items()}
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    copy_run(model.folder, folder)
    return {"tensors": len(state), "bytes": (folder / WEIGHTS).stat().st_size}
