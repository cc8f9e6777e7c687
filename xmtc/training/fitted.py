"""One run of a system that is fitted at once: the same files, the same metrics, no gradient steps."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from scipy.sparse import csr_matrix

from xmtc.config.make import make
from xmtc.config.outside import starter
from xmtc.data.batch import Labels
from xmtc.data.collate import Documents
from xmtc.data.datamodule import XMTCData
from xmtc.data.store import Store
from xmtc.errors import InputError
from xmtc.fitted.base import FittedModel
from xmtc.parsing import read_yaml
from xmtc.training.build import open_store, ranking_metrics
from xmtc.training.kept import BEST, save_tensors, write
from xmtc.training.predictions import Predictions
from xmtc.training.provenance import provenance
from xmtc.training.record import COLUMNS, peak_memory_bytes, write_curve
from xmtc.training.results import KEPT, MONITOR, describe, floor, list_inputs, set_scores, write_json, write_text

log = logging.getLogger(__name__)
BLOCK = 4096  # documents whose features are made at a time
STEPS = ("execution", "objective", "recipe.", "checkpoints.")
OF_TEXT = ("text_style", "prefer_words", "fixed_length")  # what a recipe says of the words


def fitted_session(config: dict, folder: Path, names: dict) -> dict:
    """Fits, scores validation and test, and returns what metrics.json holds."""
    _refuse(config, names)
    if idle := without_effect(folder):
        log.warning("encoder=%s is fitted without gradients; without effect: %s", names.get("encoder"), " ".join(idle))
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    born = provenance(names)
    model: FittedModel = make(config["encoder"])
    model.check_can_fit()
    store = open_store(config, model.text)
    data = XMTCData(store, model.text, "bag", config["seed"], **config["data"])
    describe(config, data, store, "a fitted model")
    write_text(folder, store, 1)
    list_inputs(folder)
    started = time.monotonic()
    model.learn_features(data.train, store.vocabulary)
    model.fit(features(model, data.train, store), targets(data.train.gold(), store.num_labels))
    seconds = time.monotonic() - started
    content = {"state_dict": model.state(), "step": 0, "monitor": MONITOR}
    result: dict = {"test": None}
    scored = []
    parts = [("validation", data.validation)] + ([("test", data.test)] if config["test"] else [])
    for name, documents in parts:
        k = min(KEPT, store.num_labels)
        held, metrics = Predictions(len(documents), k), ranking_metrics(store, config)
        for start in range(0, len(documents), BLOCK):
            rows = np.arange(start, min(start + BLOCK, len(documents)))
            logits, labels = model.topk(model.features(documents, rows, store.vocabulary), k)
            held.add(torch.from_numpy(rows), torch.from_numpy(labels), torch.from_numpy(logits))
            metrics.update(torch.from_numpy(labels), documents.gold(rows))
        result[name] = metrics.compute()
        scored.append((name, held, documents))
    content["score"] = result["validation"]["nDCG@5"]
    write(folder / "checkpoints" / BEST, lambda path: save_tensors(content, path))
    result["best"] = {key: content[key] for key in ("step", "score", "monitor")}
    if config["test"]:
        result["floor"] = floor(ranking_metrics(store, config), data)
    set_scores(result, scored, store, folder)
    row = dict(zip(COLUMNS, (0, 0, round(seconds, 2), ""), strict=True))  # of the only evaluation there is
    write_curve(folder / "curves.csv", [row | {f"val/{name}": value for name, value in result["validation"].items()}])
    result |= {
        "train_seconds": round(seconds, 2),
        "documents_per_second": round(len(data.train) / max(seconds, 1e-9), 1),
        "peak_memory_bytes": peak_memory_bytes(),
        "parameters": model.num_parameters(),
        "steps": 0,
    }
    result["provenance"] = born | {
        "dataset": config["dataset"]["name"],
        "dataset_sha256": store.meta["dataset_sha256"],
        "seed": config["seed"],
        "world_size": 1,
        "execution": "none",
        "precision": None,  # its own, whatever trainer.precision says
        "resumed_from_step": None,
    }
    write_json(folder / "metrics.json", result)
    return result


def _refuse(config: dict, names: dict) -> None:
    if not config["head"]["_target_"].endswith(".NoHead"):
        raise InputError(
            f"head={names.get('head')}: encoder={names.get('encoder')} is fitted without gradients and takes head=none;"
            " python -m xmtc.enhance puts a head on its scores"
        )
    if config["trainer"].get("devices", 1) not in (1, "auto"):
        log.warning("encoder=%s is fitted in one process: trainer.devices is not used", names.get("encoder"))
    if starter():
        raise InputError(f"encoder={names.get('encoder')} is fitted in one process: start it without {starter()}")
    for key in ("resume", "init_from"):
        if config[key]:
            raise InputError(f"{key}: encoder={names.get('encoder')} is fitted at once and goes on from no other run")


def without_effect(folder: Path) -> list[str]:
    """The words of the run's own command that set gradient steps, of which there are none."""
    path = folder / "overrides.yaml"
    words = read_yaml(path) if path.is_file() else []
    keys = [str(word).lstrip("+~").partition("=")[0] for word in words]
    pairs = zip(words, keys, strict=True)
    return [word for word, key in pairs if key.startswith(STEPS) and key.removeprefix("recipe.") not in OF_TEXT]


def targets(gold: Labels, num_labels: int) -> csr_matrix:
    """(N, L) bool; labels beyond L are left out."""
    ids, offsets = gold.ids.numpy(), gold.offsets.numpy()
    keep = ids < num_labels
    offsets = np.concatenate([[0], np.cumsum(keep)])[offsets]
    return csr_matrix((np.ones(keep.sum(), bool), ids[keep], offsets), shape=(len(gold), num_labels))


def features(model: FittedModel, documents: Documents, store: Store) -> csr_matrix:
    """Of a part of the store."""
    from scipy.sparse import vstack

    blocks = np.split(np.arange(len(documents)), np.arange(BLOCK, len(documents), BLOCK))
    return vstack([model.features(documents, rows, store.vocabulary) for rows in blocks], format="csr")
