"""format=onnx: encoder, decoder, head and top-k as one graph, checked against PyTorch before the folder is there.

    model.onnx       inputs as in `forms.py`, outputs `scores` (B, k) logits, best first, and `labels` (B, k) indices
    model.int8.onnx  with int8=true: matrices and word table in 8 bits, for CPUs
    labels.tsv, text/, config.yaml, calibration.json, export.json

The check draws random documents of many lengths and batch sizes. A graph's scores may differ from PyTorch's by
rounding, and labels of nearly equal scores may change places: so PyTorch's logits of the labels that the graph chose
are compared with the graph's scores, and both sorted score lists with each other.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import warnings
from pathlib import Path

import numpy as np
import torch

from xmtc.data.collate import Documents
from xmtc.data.store import Part
from xmtc.errors import InputError
from xmtc.exporting.folder import bytes_of, copy_run
from xmtc.exporting.forms import Graph, form_of
from xmtc.exporting.inputs import NAMES, batch_inputs
from xmtc.exporting.runtime import session

CHECKED = (1, 2, 7, 16)  # documents of the batches that are compared
LONGEST = 600  # tokens of a checked document
TOLERANCE = 1e-4  # of a logit, and relative above 1


def export_onnx(model, folder: Path, k: int, int8: bool, documents: int) -> dict:
    """documents: of the validation part, for P@k of int8. InputError: an encoder that cannot, a check that fails."""
    form_of(model.encoder)
    k = min(k, model.num_labels)
    largest = _within_memory(model)
    copy_run(model.folder, folder)
    path = folder / "model.onnx"
    _translate(model, k, path)
    difference = compare(model, path, k)
    facts = {
        "inputs": list(NAMES[model.encoder.layout]),
        "outputs": ["scores", "labels"],
        "k": k,
        "width": model.reader.width,
        "padding": model.reader.vocabulary.padding,
        "largest_difference": difference,
        "bytes": bytes_of(path),
    }
    if largest is not None:
        facts["largest_batch"] = largest
    if int8:
        from xmtc.exporting.int8 import quantise

        facts["int8"] = quantise(model, path, folder / "model.int8.onnx", documents)
    return facts


def _within_memory(model) -> int | None:
    """Label attention has a (B, T, L) tensor in the graph, which cannot be scored in slices: the documents that the
    decoder's limit allows. InputError: not even one."""
    limit = getattr(model.decoder, "max_attention_gib", None)
    if limit is None:
        return None
    tokens = model.encoder.text.length or LONGEST
    documents = int(limit * 2**30 // (4 * tokens * model.num_labels))
    if documents < 1:
        raise InputError(
            f"format=onnx: the attention of one document ({tokens} tokens x {model.num_labels} labels) exceeds"
            f" encoder.max_attention_gib={limit:g}, and a graph cannot score labels in slices"
        )
    return documents


def _translate(model, k: int, path: Path) -> None:
    """Writes the graph. B and T are free."""
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"{error.name} is not installed: pip install 'xmtc[export]'") from None
    names = NAMES[model.encoder.layout]
    example = tuple(torch.from_numpy(array) for array in batch_inputs(_random_batch(model, 3, 9, seed=0)).values())
    free = torch.export.Dim.DYNAMIC
    argument_names = ("tokens", "lengths")  # of Graph.forward
    shapes = {
        name: dict.fromkeys(range(tensor.ndim), free) for name, tensor in zip(argument_names, example, strict=True)
    }
    graph = Graph(model, k).eval()
    # the exporter tells of every operator it could also have had
    with _quiet("torch.onnx"), _sizes_unchecked(model.decoder), contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(
            graph, example, str(path), input_names=names, output_names=["scores", "labels"], dynamic_shapes=shapes,
            verbose=False,
        )  # fmt: skip


@contextlib.contextmanager
def _sizes_unchecked(decoder):
    """The check of one size must not become a part of the graph; `_within_memory` has made it."""
    if hasattr(decoder, "max_attention_gib"):
        decoder._check_memory = lambda *sizes: None
    try:
        yield
    finally:
        decoder.__dict__.pop("_check_memory", None)


@contextlib.contextmanager
def _quiet(name: str):
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def compare(model, path: Path, k: int) -> float:
    """Largest difference of a score. InputError: above the tolerance, which would be an error of ours."""
    running = session(path)
    worst = 0.0
    for seed, documents in enumerate(CHECKED):
        batch = _random_batch(model, documents, LONGEST if seed % 2 else 40, seed)
        scores, labels = running.run(None, batch_inputs(batch))
        with torch.inference_mode():
            logits = model.execution.logits(model.encoder(batch))[1].float()
        theirs, best = logits.gather(1, torch.from_numpy(labels)).numpy(), logits.topk(k, dim=1).values.numpy()
        scale = max(1.0, float(np.abs(best).max()))
        difference = max(float(np.abs(scores - theirs).max()), float(np.abs(scores - best).max())) / scale
        if math.isnan(difference) or difference > TOLERANCE:
            raise InputError(
                f"format=onnx: the graph's scores differ from PyTorch's by {difference:.2g}, more than {TOLERANCE:g}"
            )
        worst = max(worst, difference)
    return worst


def _random_batch(model, documents: int, longest: int, seed: int):
    """Documents of random words, the first of one word, one of them empty of known ones."""
    reader, random = model.reader, np.random.default_rng(seed)
    longest = min(longest, model.encoder.text.length or longest)
    lengths = random.integers(1, longest + 1, documents)
    lengths[0] = 1
    tokens = random.integers(0, reader.vocabulary.size, int(lengths.sum())).astype(np.int32)
    tokens[tokens == reader.vocabulary.padding] = reader.vocabulary.unknown
    tokens[0] = reader.vocabulary.unknown
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    part = Part(tokens, offsets, np.zeros(0, np.int32), np.zeros(documents + 1, np.int64))
    rows = Documents(part, reader.text, reader.layout, None, reader.vocabulary.padding, reader.width)
    return rows[np.arange(documents)]
