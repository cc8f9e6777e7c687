"""A graph in 8 bits for CPUs (onnxruntime's dynamic quantisation), and what that costs in P@k.

Matrices and word tables become int8, one scale a column; activations are scaled batch by batch. Convolutions and LSTMs
stay in float32: onnxruntime's integer convolution is slower than its float one.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
import torch

from xmtc.errors import InputError
from xmtc.exporting.folder import bytes_of
from xmtc.exporting.inputs import batch_inputs
from xmtc.exporting.runtime import session

log = logging.getLogger(__name__)
OPERATORS = ["MatMul", "Gemm", "Gather"]
BATCH = 32


def quantise(model, source: Path, target: Path, documents: int) -> dict:
    """Writes `target`. Facts: bytes, and P@k and documents/s of both graphs on so many validation documents."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load(str(source))
    del graph.graph.value_info[:]  # quantising turns matrices around, and would find the noted shapes wrong
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it asks for a preparation that changes nothing here
    try:
        quantize_dynamic(
            graph, str(target), op_types_to_quantize=OPERATORS, per_channel=True, weight_type=QuantType.QInt8,
            use_external_data_format=(source.parent / f"{source.name}.data").exists(),
        )  # fmt: skip
    finally:
        root.setLevel(level)
    facts = {"bytes": bytes_of(target)}
    try:
        return facts | measure(model, {"float32": source, "int8": target}, documents)
    except InputError as error:
        log.warning("P@k of int8 was not measured: %s", error)
        return facts | {"measured": None, "reason": str(error)}


def measure(model, graphs: dict[str, Path], documents: int) -> dict:
    """{"measured": {graph: {"P@1", "documents_per_second", ...}}, "documents": N}. InputError: no corpus here."""
    from xmtc.training.build import make_data, open_store, ranking_metrics

    store = open_store(model.config, model.encoder.text)
    if store.labels != list(model.labels.ids):
        raise InputError("the corpus has other labels than the run")
    validation = make_data(model.config, store, model.encoder).validation
    count = min(documents, len(validation))
    found = {}
    for name, path in graphs.items():
        running, metrics, seconds = session(path), ranking_metrics(store, model.config), 0.0
        for start in range(0, count, BATCH):
            batch = validation[np.arange(start, min(start + BATCH, count))]
            inputs = batch_inputs(batch)
            begin = time.perf_counter()
            labels = running.run(["labels"], inputs)[0]
            seconds += time.perf_counter() - begin
            metrics.update(torch.from_numpy(labels)[:, : max(metrics.ks)], batch.labels)
        scores = {f"P@{k}": float(metrics.compute()[f"P@{k}"]) for k in metrics.ks}
        found[name] = scores | {"documents_per_second": round(count / seconds, 1)}
    return {"measured": found, "documents": count}
