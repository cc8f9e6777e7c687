"""One run from its configuration to its run directory: train, choose the best weights, test, write down."""

from __future__ import annotations

import logging
import signal
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import SIGTERMException
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from xmtc.errors import InputError
from xmtc.estimating.run import Needs, needs
from xmtc.estimating.shortage import answer
from xmtc.execution.base import Execution
from xmtc.execution.chunked import Chunked
from xmtc.execution.shortlist import Shortlist
from xmtc.fitted.base import is_fitted
from xmtc.shortage import is_shortage
from xmtc.training.averaging import RunningMean
from xmtc.training.build import Built, build, dense_tables, ranking_metrics
from xmtc.training.checkpoints import Checkpoints
from xmtc.training.choices import keep_choices, keep_words, refuse_other_corpus, refuse_other_monitor, with_choices
from xmtc.training.fitted import fitted_session
from xmtc.training.heap import memory_kept
from xmtc.training.history import History
from xmtc.training.kept import newest
from xmtc.training.predictions import Predictions
from xmtc.training.provenance import device_name, provenance
from xmtc.training.ranks import Ranks
from xmtc.training.record import Record, peak_memory_bytes
from xmtc.training.results import KEPT, describe, floor, list_inputs, monitor, set_scores, write_json, write_text
from xmtc.training.start_from import keep_origin, start_from, with_origin
from xmtc.training.stopping import error as stop_error
from xmtc.training.stopping import restored
from xmtc.training.tracking import finish, summarise
from xmtc.training.trainer import check_interval, make_trainer

log = logging.getLogger(__name__)


def session(config: dict, folder: Path, names: dict, words: Sequence[str] = ()) -> dict:
    """Trains and tests; returns what metrics.json holds. names: what each group chose, for the provenance. words: the
    overrides, kept once a run that is continued is known to be able to.

    A folder that holds checkpoints/last.ckpt is continued when `resume` names it.
    """
    if is_fitted(config["encoder"]):
        return fitted_session(config, folder, names)
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    born = provenance(names)  # now: the checkout may have changed by the time the numbers are there
    told = config | {"names": names}
    if config["resume"]:
        config = with_choices(config, folder)
    built = build(config)
    history = History(born)
    resumed = newest(folder / "checkpoints") if config["resume"] else None
    if resumed:
        refuse_other_corpus(folder, built.store)
        refuse_other_monitor(folder, config)
    if config["init_from"] and not resumed:  # then the weights are in the checkpoint, and that run may be gone
        start_from(Path(config["init_from"]), built)
        keep_origin(Path(config["init_from"]), folder)
    parameters = sum(p.numel() for p in built.module.parameters())
    record = Record(folder / "curves.csv")
    checkpoints = Checkpoints(folder / "checkpoints", monitor(config), **config["checkpoints"])
    ranks = Ranks(folder, **config["ranks"])
    trainer = make_trainer(config, folder, record, checkpoints, ranks, history)
    check_interval(config["trainer"], built.data, trainer.world_size)
    fit_execution(built.module.execution, config, trainer.world_size)
    if trainer.world_size > 1:
        dense_tables(built.module)
    parameters_text = f"{parameters:,} parameters; {built.module.execution.describe()} execution"
    describe(config, built.data, built.store, parameters_text)
    expected = _estimated(built, config, trainer)
    if config["resume"] and words:
        keep_words(folder, words, told)
    write_inputs(folder, built)
    keep_choices(config, built.module.execution, folder)
    try:
        with ranks:
            with restored(), memory_kept(trainer.strategy.root_device):
                trainer.fit(built.module, datamodule=built.data, ckpt_path=resumed and str(resumed), weights_only=True)
            if trainer.world_size == 1 and checkpoints.stopping.signal:  # it came within the last step
                raise stop_error(checkpoints.stopping.signal)
            steps = trainer.global_step
            if not _validated_at(record, steps):
                trainer.validate(built.module, datamodule=built.data, verbose=False, weights_only=True)
            result = _score(config, folder, built, trainer, checkpoints)
        facts = {
            "train_seconds": round(record.seconds, 2),
            "checkpoint_seconds": round(checkpoints.seconds, 2),
            "documents_per_second": round(record.documents_per_second, 1),
            "peak_memory_bytes": peak_memory_bytes(),
            "estimated_memory_bytes": expected and expected.peak,
            "parameters": parameters,
            "steps": steps,
        }
        summarise(trainer.loggers, result, facts)
    except SIGTERMException:  # of Lightning, while it is not ours to listen: before the first step, in an evaluation
        raise stop_error(signal.SIGTERM) from None
    except SystemExit:
        if trainer.interrupted:  # Lightning turns Ctrl-C into exit code 1
            raise KeyboardInterrupt from None
        raise
    except (RuntimeError, MemoryError) as error:
        if is_shortage(error):
            raise answer(error, expected, built, config, trainer.world_size) from error
        raise
    finally:
        for logger in trainer.loggers:
            logger.finalize("finished")
        finish(config["logger"])
    result |= facts
    born = history.provenance(born)
    if config["init_from"]:
        born = with_origin(born, folder)
    result["provenance"] = born | {
        "device": device_name(trainer.strategy.root_device),
        "dataset": config["dataset"]["name"],
        "dataset_sha256": built.store.meta["dataset_sha256"],
        "seed": config["seed"],
        "world_size": trainer.world_size,
        "execution": built.module.execution.describe(),
        "precision": trainer.precision,
    }
    write_json(folder / "metrics.json", result)
    return result


def fit_execution(execution: Execution, config: dict, world_size: int) -> None:
    """Refuses by name what shards, and an update within the last sweep, cannot be combined with."""
    execution.clipping = bool(config["recipe"]["clipping"])
    if execution.collective and world_size > 1 and not execution.decoder.label_parameters():
        raise InputError(
            "execution=sharded: this encoder makes the logits of all labels itself, so no label rows can be shared out;"
            " use execution=dense or chunked"
        )
    precision = str(config["trainer"].get("precision"))
    in_sweeps = isinstance(execution, Chunked) and not isinstance(execution, Shortlist)
    if in_sweeps and precision in ("16-true", "bf16-true"):
        raise InputError(f"trainer.precision={precision}: only with execution=dense or shortlist; use bf16-mixed")
    update = getattr(execution, "update", None)
    if not update:
        return
    if precision.startswith("64"):
        raise InputError(f"execution.update={update}: not with trainer.precision={precision}, its states are float32")
    if config["recipe"]["averaging"]:
        raise InputError(f"execution.update={update}: not with recipe.averaging, which would copy every label row")
    if config["trainer"]["accumulate_grad_batches"] != 1:
        raise InputError(
            f"execution.update={update}: every backward pass is a step, so trainer.accumulate_grad_batches must be 1;"
            " use a larger data.batch_size, with data.micro_batch to encode a part of it at a time"
        )
    if world_size > 1 and not execution.collective:
        raise InputError(f"execution.update={update}: with {world_size} processes use execution=sharded")


def _score(config: dict, folder: Path, built: Built, trainer, checkpoints: Checkpoints) -> dict:
    """Validation and test with the best weights, predictions kept. The test set is read here and nowhere else."""
    for callback in trainer.callbacks:
        if isinstance(callback, (RunningMean, Checkpoints, Record)):
            callback.enabled = False
    best = checkpoints.load_best(trainer, built.module)
    module, data, store = built.module, built.data, built.store
    module.k = min(KEPT, store.num_labels)
    module.collector = held = Predictions(len(data.validation), module.k)
    trainer.validate(module, datamodule=data, verbose=False, weights_only=True)
    validation = module.scores
    held.gather()
    result = {"test": None, "validation": validation, "best": best}
    scored = [("validation", held, data.validation)]
    if config["test"]:
        module.collector = tested = Predictions(len(data.test), module.k)
        trainer.test(module, datamodule=data, verbose=False, weights_only=True)
        result["test"] = module.scores
        tested.gather()
        scored.append(("test", tested, data.test))
        result["floor"] = floor(ranking_metrics(store, config), data)
    set_scores(result, scored, store, folder, trainer.is_global_zero)
    return result


def _validated_at(record: Record, step: int) -> bool:
    return bool(record._rows) and record._rows[-1]["step"] == step


def _estimated(built: Built, config: dict, trainer) -> Needs | None:
    """What the run will need, in one line, on the first process. None elsewhere."""
    if not trainer.is_global_zero:
        return None
    try:
        found = needs(built, config, trainer.world_size)
    except (RuntimeError, MemoryError) as error:
        if not is_shortage(error):
            raise
        log.warning("no estimate: not even a step with a few labels fits into the memory")
        return None
    log.info("%s", found.line())
    return found


@rank_zero_only
def write_inputs(folder: Path, built: Built) -> None:
    """labels.tsv and text/: what a run needs to be used without its corpus."""
    write_text(folder, built.store, built.data.width)
    built.module.encoder.keep(folder / "text")
    list_inputs(folder)
