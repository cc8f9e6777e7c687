"""One run from its configuration to its run directory: train, choose the best weights, test, write down."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from xmtc.errors import InputError
from xmtc.execution.base import Execution
from xmtc.metrics.label_sets import LabelSetMetrics, best_threshold
from xmtc.metrics.ranking import RankingMetrics
from xmtc.training.averaging import Averaging
from xmtc.training.build import Built, build, dense_tables, make, ranking_metrics
from xmtc.training.checkpoints import Checkpoints, load_best
from xmtc.training.kept import newest
from xmtc.training.predictions import Predictions
from xmtc.training.progress import Progress
from xmtc.training.provenance import provenance
from xmtc.training.random_state import RandomState
from xmtc.training.record import Record, peak_memory_bytes
from xmtc.training.start_from import start_from
from xmtc.training.tracking import finish, make_logger, summarise

log = logging.getLogger(__name__)
KEPT = 100  # labels of each document in predictions.npz
MONITOR = "val/nDCG@5"


def session(config: dict, folder: Path, names: dict) -> dict:
    """Trains and tests; returns what metrics.json holds. names: what each group chose, for the provenance.

    A folder that holds checkpoints/last.ckpt is continued when `resume` names it.
    """
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    born = provenance(names)  # now: the checkout may have changed by the time the numbers are there
    built = build(config)
    if config["init_from"]:
        start_from(Path(config["init_from"]), built)
    resumed = newest(folder / "checkpoints") if config["resume"] else None
    parameters = sum(p.numel() for p in built.module.parameters())
    record = Record(folder / "curves.csv")
    checkpoints = Checkpoints(folder / "checkpoints", MONITOR, **config["checkpoints"])
    trainer = _trainer(config, folder, record, checkpoints)
    fit_execution(built.module.execution, config, trainer.world_size)
    if trainer.world_size > 1:
        dense_tables(built.module)
    _describe(built, config)
    write_inputs(folder, built)
    before = _resumed_steps(folder) if resumed else []
    started = _step_of(resumed) if resumed else None
    try:
        with checkpoints.stopping.listening():
            trainer.fit(built.module, datamodule=built.data, ckpt_path=resumed and str(resumed), weights_only=True)
        steps = trainer.global_step
        if not _validated_at(record, steps):
            trainer.validate(built.module, datamodule=built.data, verbose=False, weights_only=True)
        result = _score(config, folder, built, trainer, checkpoints)
        facts = {
            "train_seconds": round(record.seconds, 2),
            "documents_per_second": round(record.documents_per_second, 1),
            "peak_memory_bytes": peak_memory_bytes(),
            "parameters": parameters,
            "steps": steps,
        }
        summarise(trainer.loggers, result, facts)
    except SystemExit:
        if trainer.interrupted:  # Lightning turns Ctrl-C into exit code 1
            raise KeyboardInterrupt from None
        raise
    finally:
        for logger in trainer.loggers:
            logger.finalize("finished")
        finish(config["logger"])
    result |= facts
    result["provenance"] = born | {
        "dataset": config["dataset"]["name"],
        "dataset_sha256": built.store.meta["dataset_sha256"],
        "seed": config["seed"],
        "world_size": trainer.world_size,
        "execution": built.module.execution.describe(),
        "resumed_from_step": before + [started] if resumed else None,
    }
    _write_json(folder / "metrics.json", result)
    return result


def fit_execution(execution: Execution, config: dict, world_size: int) -> None:
    """Refuses by name what an update within the last sweep cannot be combined with."""
    execution.clipping = bool(config["recipe"]["clipping"])
    update = getattr(execution, "update", None)
    if not update:
        return
    if config["recipe"]["averaging"]:
        raise InputError(f"execution.update={update}: not with recipe.averaging, which would copy every label row")
    if config["trainer"]["accumulate_grad_batches"] != 1:
        raise InputError(
            f"execution.update={update}: every backward pass is a step, so trainer.accumulate_grad_batches must be 1;"
            " use a larger data.batch_size"
        )
    if world_size > 1 and not execution.collective:
        raise InputError(f"execution.update={update}: with {world_size} processes use execution=sharded")


def _trainer(config: dict, folder: Path, record: Record, checkpoints: Checkpoints) -> pl.Trainer:
    recipe = config["recipe"]
    patience = recipe["validation"]["patience"]
    callbacks = [record, checkpoints, RandomState()]
    for part in ("clipping", "averaging"):
        if recipe[part]:
            callbacks.append(make(recipe[part]))
    if patience is not None:
        # checked where the metric is made: a run resumed at the end of an epoch has none yet
        stopping = {"mode": "max", "patience": patience, "check_finite": False, "check_on_train_epoch_end": False}
        callbacks.append(EarlyStopping(MONITOR, **stopping))
    if os.environ.get("XMTC_PROGRESS", "auto") != "off" and os.isatty(2):
        callbacks.append(Progress())
    logger = make_logger(config["logger"], folder)
    options = dict(config["trainer"])
    options["enable_progress_bar"] = any(isinstance(c, Progress) for c in callbacks)
    if options["accelerator"] in ("gpu", "cuda") and not torch.cuda.is_available():
        raise InputError(f"trainer.accelerator={options['accelerator']}: no GPU is visible here; use trainer=cpu")
    return make(options, logger=logger, callbacks=callbacks, default_root_dir=str(folder))


def _score(config: dict, folder: Path, built: Built, trainer, checkpoints: Checkpoints) -> dict:
    """Validation and test with the best weights, predictions kept. The test set is read here and nowhere else."""
    for callback in trainer.callbacks:
        if isinstance(callback, (Averaging, Checkpoints, Record)):
            callback.enabled = False
    best = load_best(folder / "checkpoints", built.module)
    module, data, store = built.module, built.data, built.store
    module.k = min(KEPT, store.num_labels)
    module.collector = held = Predictions(len(data.validation), module.k)
    trainer.validate(module, datamodule=data, verbose=False, weights_only=True)
    validation = module.scores
    held.gather()
    gold = data.validation.gold()
    threshold = best_threshold(torch.from_numpy(held.scores), torch.from_numpy(held.labels), gold)
    result = {"test": None, "validation": validation, "threshold": threshold, "best": best}
    scored = [("validation", held, data.validation)]
    if config["test"]:
        module.collector = tested = Predictions(len(data.test), module.k)
        trainer.test(module, datamodule=data, verbose=False, weights_only=True)
        result["test"] = module.scores
        tested.gather()
        scored.append(("test", tested, data.test))
        result["floor"] = floor(ranking_metrics(store, config), data)
    for name, predictions, documents in scored:
        # every process holds all documents here, so nothing is summed over processes
        sets = LabelSetMetrics(store.num_labels, threshold, sync_on_compute=False)
        sets.update(torch.from_numpy(predictions.labels), torch.from_numpy(predictions.scores), documents.gold())
        result[name] |= sets.compute()
        file = "predictions.npz" if name == "test" else "predictions_validation.npz"
        if trainer.is_global_zero:
            predictions.save(folder / file, documents.gold(), store.unseen_labels)
    return result


def floor(metrics: RankingMetrics, data) -> dict:
    """What the most frequent training labels score on test, the same for every document."""
    counts = torch.from_numpy(data.train_label_counts())
    metrics.sync_on_compute = False
    frequent = counts.argsort(descending=True, stable=True)[: max(metrics.ks)]
    metrics.update(frequent.expand(len(data.test), -1), data.test.gold())
    return metrics.compute()


def _validated_at(record: Record, step: int) -> bool:
    return bool(record._rows) and record._rows[-1]["step"] == step


def _step_of(checkpoint: Path) -> int:
    return int(torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["global_step"])


def _resumed_steps(folder: Path) -> list[int]:
    path = folder / "metrics.json"
    if not path.exists():
        return []
    return json.loads(path.read_text())["provenance"]["resumed_from_step"] or []


def _describe(built: Built, config: dict) -> None:
    total = sum(p.numel() for p in built.module.parameters())
    log.info(
        "%s: %d train, %d validation, %d test documents, %d labels; %s parameters; %s execution",
        config["dataset"]["name"], len(built.data.train), len(built.data.validation), len(built.data.test),
        built.store.num_labels, f"{total:,}", built.module.execution.describe(),
    )  # fmt: skip


@rank_zero_only
def write_inputs(folder: Path, built: Built) -> None:
    """labels.tsv and text/: what a run needs to be used without its corpus."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(built.store.folder / "labels.tsv", folder / "labels.tsv")
    shutil.copytree(built.store.folder / "text", folder / "text", dirs_exist_ok=True)
    vocabulary = built.store.vocabulary
    facts = {"padding": vocabulary.padding, "unknown": vocabulary.unknown, "num_documents": vocabulary.num_documents}
    facts |= {"width": built.data.width, "splitter": built.store.meta["text"].get("splitter")}
    _write_json(folder / "text" / "meta.json", {"format": 1} | facts)


@rank_zero_only
def _write_json(path: Path, content: dict) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=1))
    os.replace(temporary, path)
