"""What every run writes, however it was trained: scores of label sets, lists, text and labels, metrics.json."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from xmtc.data.checksums import list_files
from xmtc.data.files import replace_text
from xmtc.data.store import Store
from xmtc.metrics.label_sets import LabelSetMetrics, best_threshold
from xmtc.metrics.ranking import RankingMetrics

log = logging.getLogger("xmtc.training.session")
KEPT = 100  # labels of each document in predictions.npz
MONITOR = "val/nDCG@5"  # unless the recipe says otherwise
SETS = ("micro-F1", "macro-F1")  # of the labels with a probability of one half


def monitor(config: dict) -> str:
    """The logged name of the validation metric that chooses the weights."""
    return f"val/{config['recipe']['validation'].get('monitor', MONITOR.removeprefix('val/'))}"


def set_scores(result: dict, scored: list[tuple], store: Store, folder: Path, writes: bool = True) -> None:
    """Chooses the threshold on validation, adds label-set metrics to `result` and keeps the lists.

    scored: (name, Predictions, Documents), validation first.
    """
    held, gold = scored[0][1], scored[0][2].gold()
    threshold = best_threshold(torch.from_numpy(held.scores), torch.from_numpy(held.labels), gold)
    result["threshold"] = threshold
    for name, predictions, documents in scored:
        # every process holds all documents here, so nothing is summed over processes
        sets = LabelSetMetrics(store.num_labels, threshold, sync_on_compute=False)
        sets.update(torch.from_numpy(predictions.labels), torch.from_numpy(predictions.scores), documents.gold())
        result[name] |= sets.compute()
        file = "predictions.npz" if name == "test" else "predictions_validation.npz"
        if writes:
            predictions.save(folder / file, documents.gold(), store.unseen_labels)


def floor(metrics: RankingMetrics, data) -> dict:
    """What the most frequent training labels score on test, the same for every document."""
    counts = torch.from_numpy(data.train_label_counts())
    metrics.sync_on_compute = False
    frequent = counts.argsort(descending=True, stable=True)[: max(metrics.ks)]
    metrics.update(frequent.expand(len(data.test), -1), data.test.gold())
    return metrics.compute()


def describe(config: dict, data, store: Store, model: str) -> None:
    """One log line: the documents and labels, and what is trained on them. Labels a document show whether the cells of
    a table were taken apart as they should be. A second one where documents are not read to their end."""
    each = data.train_label_counts().sum() / max(len(data.train), 1)
    log.info(
        "%s: %d train, %d validation, %d test documents, %d labels, %.2f a training document; %s",
        config["dataset"]["name"], len(data.train), len(data.validation), len(data.test), store.num_labels, each, model,
    )  # fmt: skip
    if cut := data.train.cut():
        log.info(
            "of %d training documents (%.1f %%) the first %d tokens are read, and no more (dataset.length)",
            cut, 100 * cut / len(data.train), data.train.text.length,
        )  # fmt: skip


@rank_zero_only
def write_text(folder: Path, store: Store, width: int) -> None:
    """labels.tsv and text/. width: tokens to which evaluation batches are padded at least."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(store.folder / "labels.tsv", folder / "labels.tsv")
    shutil.copytree(store.folder / "text", folder / "text", dirs_exist_ok=True)
    vocabulary = store.vocabulary
    facts = {"padding": vocabulary.padding, "unknown": vocabulary.unknown, "num_documents": vocabulary.num_documents}
    facts |= {"width": width, "splitter": store.meta["text"].get("splitter")}
    facts |= {"dataset_sha256": store.meta["dataset_sha256"]}
    write_json(folder / "text" / "meta.json", {"format": 1} | facts)


@rank_zero_only
def list_inputs(folder: Path) -> None:
    """Checksums of what a run needs to be used or continued, once that is all there."""
    text = sorted(path.relative_to(folder).as_posix() for path in (folder / "text").rglob("*") if path.is_file())
    list_files(folder, ["config.yaml", "overrides.yaml", "labels.tsv", *text])


@rank_zero_only
def write_json(path: Path, content: dict) -> None:
    replace_text(path, json.dumps(content, indent=1))
