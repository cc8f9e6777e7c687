"""What a graph reads of texts: the arrays that `format=onnx` graphs take, made by the model's own reader."""

from __future__ import annotations

import numpy as np

from xmtc.data.batch import Batch

NAMES = {"padded": ("tokens", "lengths"), "bag": ("words", "counts")}


def batch_inputs(batch: Batch) -> dict[str, np.ndarray]:
    """batch: of a model's `TextReader`. Inputs by name: see `forms.py`."""
    if batch.bags is None:
        return {"tokens": batch.tokens.numpy(), "lengths": batch.lengths.numpy()}
    offsets = batch.bags.offsets.numpy()
    sizes = np.diff(offsets)
    inside = np.arange(int(sizes.max(initial=1))) < sizes[:, None]
    words, counts = np.zeros(inside.shape, np.int64), np.zeros(inside.shape, np.float32)
    words[inside], counts[inside] = batch.bags.word_ids.numpy(), batch.bags.counts.numpy()
    return {"words": words, "counts": counts}
