"""One command of `xmtc.evaluate`: its parameters are the keys of `conf/command/evaluate.yaml`."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from xmtc.bounds import Count
from xmtc.data.batch import Labels
from xmtc.data.lists import Lists
from xmtc.data.reading import recorded_documents
from xmtc.errors import InputError
from xmtc.metrics.label_sets import LabelSetMetrics
from xmtc.metrics.propensity import constants
from xmtc.metrics.ranking import RankingMetrics
from xmtc.parsing import read_json
from xmtc.predicting.as_trained import as_trained, columns_as_trained
from xmtc.predicting.evaluated import digest, new_folder, write
from xmtc.predicting.gold import Labelled, read_gold, restricted
from xmtc.predicting.inputs import FORMATS, format_of
from xmtc.tagger import MOST, Tagger

log = logging.getLogger("xmtc.evaluate")
BLOCK, NUMBERS = 1024, 1 << 25  # documents, and ranked labels, that are held at a time
TELL = 10  # seconds between lines of progress


def evaluate_file(
    checkpoint: str,
    input: str,
    labels: str | None = None,
    label_column: str | None = None,
    label_separator: str | None = None,
    match: Literal["exact", "caseless"] = "exact",
    candidates: Literal["all", "shared"] = "all",
    ks: Sequence[Count] = (1, 3, 5),
    threshold: float | None = None,
    output: str | None = None,
    name: str | None = None,
    format: Literal["auto", "text", "jsonl", "csv", "parquet"] = "auto",
    text_column: str | Sequence[str] | None = None,
    metadata_columns: Sequence[str] | None = None,
    delimiter: str | None = None,
    quote: str | None = None,
    batch_size: Count | None = None,
    raw: bool = False,
    device: str = "cpu",
    execution: str | None = None,
) -> dict:
    """Scores a model on the documents and labels of a file; returns what metrics.json holds.

    Frequencies, and with them propensities and frequency bins, are those of the model's training. A label of the file
    that the model does not have can only be missed, as a test label that no training document has. With
    `candidates=shared` both sides are cut to the labels that the model and the file have in common, as where a model
    meets a corpus of another set of labels; it ranks all L labels of a block of documents to do so.
    Memory: the file's labels and 100 answers a document. InputError: one line for anything that cannot be used.
    """
    kind = _kind(input, labels, label_separator, format, {"delimiter": delimiter, "quote": quote})
    if not list(ks):
        raise InputError("ks: expected at least one cut-off")
    import xmtc

    with new_folder(output) as folder:
        model = xmtc.load(checkpoint, device, execution)
        model.calibration = None  # as in the run's own scores, and as its threshold was chosen
        corpus = model.config["dataset"]
        column = (label_column or corpus.get("label_column") or "labels") if kind in FORMATS[2:] else None
        columns = columns_as_trained(corpus, text_column, metadata_columns, label_column=column)
        separator = as_trained(corpus, input, kind, "label_separator", label_separator)
        marks = (as_trained(corpus, input, kind, *mark) for mark in (("delimiter", delimiter), ("quote", quote)))
        labelled = Labelled(input, kind, labels, columns, separator or (";" if kind == "csv" else " "), *marks)
        least = model.threshold(_facts(model.folder).get("threshold") if threshold is None else threshold)
        if least is None:
            raise InputError(f"threshold: {model.folder} has chosen none; give one")
        gold, unseen = read_gold(labelled, model.labels, match)
        kept = _found(model, labelled, gold, unseen)
        missed = int((gold.ids >= model.num_labels).sum())
        shared: list[str] = []
        if candidates == "shared":
            gold, unseen = restricted(gold, kept, model.num_labels, len(unseen)), []
            shared = [model.labels[int(place)].id for place in kept]
        else:
            kept = np.arange(model.num_labels)
        lists = Lists(*_ranked(model, labelled, kept, max(MOST, *ks), raw, batch_size), gold, unseen)
        frequency = torch.from_numpy(model.labels.frequency[kept])
        documents = recorded_documents(model.folder)
        if documents is None:
            raise InputError(f"{model.folder}: does not say how many training documents there were")
        result: dict = {"test": scores_of(lists, frequency, documents, ks, least, model.config)}
        result |= {"threshold": least, "documents": len(gold), "missed": missed, "candidates": len(kept)}
        if folder is not None:
            facts = {
                "dataset": name or Path(input).name.split(".")[0],
                "dataset_sha256": digest(labelled, match, shared),
            }
            write(folder, result, lists, model, kept, facts, {"threshold": threshold}, labelled, raw, device)
    if output is not None:
        log.info("wrote %s", output)
    return result


def _found(model: Tagger, labelled: Labelled, gold: Labels, unseen: list[str]) -> np.ndarray:
    """The model's labels that a document has, ascending. InputError: none. Tells how many there are."""
    kept = np.unique(gold.ids.numpy())
    kept = kept[kept < model.num_labels]
    example = repr(unseen[0]) if unseen else "none at all"
    if not len(kept):
        raise InputError(
            f"{labelled.labels or labelled.input}: has no label of the model; it has {example}, the model "
            f"{model.labels[0].id!r}"
        )
    log.info(
        "%d documents, %d labels of the model's %d; %d true labels (%d different ones%s) are not the model's",
        len(gold), len(kept), model.num_labels, int((gold.ids >= model.num_labels).sum()), len(unseen),
        f", such as {example}" if unseen else "",
    )  # fmt: skip
    return kept


def scores_of(
    lists: Lists, frequency: torch.Tensor, train_documents: int, ks: Sequence[int], least: float, config: dict
) -> dict:
    """Ranking and label-set metrics of stored lists."""
    ranking = RankingMetrics(len(frequency), frequency, train_documents, list(ks), **constants(config["dataset"]))
    sets = LabelSetMetrics(len(frequency), least)
    ranking.update(torch.from_numpy(lists.labels), lists.gold)
    sets.update(torch.from_numpy(lists.labels), torch.from_numpy(lists.scores), lists.gold)
    return ranking.compute() | sets.compute()


def _kind(input: str, labels: str | None, separator: str | None, format: str, of_csv: dict[str, str | None]) -> str:
    """How the file is read. InputError: what cannot be, before the model is loaded."""
    kind = format_of(input, format)
    if input == "-":
        raise InputError("input: expected a file, which is read twice; standard input can be read once")
    for key, path in (("input", input), ("labels", labels)):
        if path is not None and not Path(path).is_file():  # it is read more than once, which a pipe cannot be
            found = "is no file that could be read twice" if Path(path).exists() else "is not there"
            raise InputError(f"{key}: {path} {found}")
    if kind == "text" and labels is None:
        raise InputError(f"labels: {input} is read as text, a document a line; name the file of their labels")
    if kind != "text" and labels is not None:
        raise InputError(f"labels: {input} is read as {kind}, whose labels are in a column; set label_column")
    for key, given in of_csv.items():
        if given is not None and kind != "csv":
            raise InputError(f"{key}: {input} is read as {kind}, which has none; set format to csv")
    if separator == "":
        raise InputError("label_separator: expected at least one character")
    return kind


def _ranked(
    model: Tagger, labelled: Labelled, kept: np.ndarray, most: int, raw: bool, batch_size: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """(N, K) labels as places in `kept`, best first, and their probabilities."""
    whole = len(kept) == model.num_labels
    depth = min(most, len(kept))
    new = np.full(model.num_labels, -1, np.int64)
    new[kept] = np.arange(len(kept))
    size = BLOCK if whole else max(1, min(BLOCK, NUMBERS // model.num_labels))
    parts, done, begun, told = [], 0, time.monotonic(), time.monotonic()
    for texts in _blocks(labelled, size):
        logits, indices = model.predict_batch(texts, depth if whole else model.num_labels, raw, batch_size)
        places = new[indices]
        if not whole:  # those that are kept come first, in their order
            order = np.argsort(places < 0, axis=1, kind="stable")[:, :depth]
            logits, indices, places = (np.take_along_axis(x, order, 1) for x in (logits, indices, places))
        parts.append((places, model.probabilities(logits, indices, raw)))
        done += len(texts)
        if (now := time.monotonic()) - told > TELL:
            told = now
            log.info("%d documents, %.0f documents/s", done, done / (now - begun))
    return np.concatenate([p for p, _ in parts]), np.concatenate([s for _, s in parts]).astype(np.float32)


def _blocks(labelled: Labelled, size: int) -> Iterator[list[str]]:
    block: list[str] = []
    for text, _ in labelled.documents():
        block.append(text)
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block


def _facts(folder: Path) -> dict:
    path = folder / "metrics.json"
    return read_json(path, dict) if path.is_file() else {}
