"""One command of `xmtc.enhance`: its parameters are the keys of `conf/command/enhance.yaml`."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import yaml

from xmtc.attach import HEADS, start_as_identity
from xmtc.bounds import Count, Natural, NotNegative
from xmtc.calibration.file import NAME as CALIBRATION
from xmtc.config.check import check_node
from xmtc.data.batch import Labels
from xmtc.data.files import replace_text, replaced, writing_to
from xmtc.data.lists import Lists, take_labels
from xmtc.data.reading import recorded_documents
from xmtc.enhancing.scores import Scores, fit_scale, read_gold, read_scores
from xmtc.enhancing.train import HeadTraining
from xmtc.errors import InputError
from xmtc.labels import LabelTable
from xmtc.metrics.ranking import RankingMetrics
from xmtc.parsing import read_yaml

log = logging.getLogger("xmtc.enhance")
KEPT = 100
SETTINGS = "enhance.yaml"


def enhance_scores(
    scores: str,
    output: str,
    labels: str | None = None,
    test_scores: str | None = None,
    test_labels: str | None = None,
    validation_scores: str | None = None,
    validation_labels: str | None = None,
    validation_size: float = 0.1,
    label_table: str | None = None,
    num_labels: Count | None = None,
    scale: Literal["auto", "probability", "logit", "margin", "sigmoid"] = "auto",
    outside: float | None = None,
    head: Literal["lcenet", "cornet"] = "lcenet",
    rank: Count = 512,
    blocks: Count = 1,
    epochs: Natural = 10,
    lr: NotNegative = 1e-3,
    weight_decay: NotNegative = 0.0,
    batch_size: Count = 256,
    seed: Natural = 0,
) -> dict:
    """Trains a head on stored scores and writes what it makes of the test scores into the folder `output`.

    predictions.npz (test), predictions_validation.npz, metrics.json ({"before": …, "after": …} of validation and test),
    labels.tsv, head.pt and enhance.yaml. The folder can be calibrated and be a member of an ensemble.
    """
    given = {name: _plain(value) for name, value in locals().items()}
    check_node({"_target_": f"{__name__}.enhance_scores", **given}, "")
    folder = _place(Path(output))
    beside = Path(scores).parent / "labels.tsv"
    if label_table is None and num_labels is None and beside.exists():
        label_table = str(beside)
    table = LabelTable(Path(label_table)) if label_table else None
    if table is not None and num_labels not in (None, len(table)):
        raise InputError(f"num_labels={num_labels}: {label_table} has {len(table)} labels")
    num_labels = len(table) if table is not None else num_labels
    train, gold = _documents("scores", scores, "labels", labels, num_labels)
    L = train.num_labels
    everything = np.arange(len(train))
    if validation_scores:
        held_scores, held_gold = _documents("validation_scores", validation_scores, "validation_labels",
                                            validation_labels, L)  # fmt: skip
        rows, held_rows = everything, np.arange(len(held_scores))
    else:
        if not 0 < validation_size < 1 or len(train) < 2:
            raise InputError(f"validation_size: expected a share between 0 and 1 of {len(train)} documents")
        count = min(max(1, round(validation_size * len(train))), len(train) - 1)
        mixed = np.random.default_rng(seed).permutation(len(train))
        held_scores, held_gold = train, gold
        rows, held_rows = np.sort(mixed[count:]), np.sort(mixed[:count])
    tested = _documents("test_scores", test_scores, "test_labels", test_labels, L, True) if test_scores else None
    for name, other in (("validation_scores", held_scores), ("test_scores", tested and tested[0])):
        if other is not None and other.num_labels != L:
            raise InputError(f"{name}: {other.num_labels} labels, expected the {L} of the training scores")
    fitted = fit_scale(train, gold, scale, outside)
    log.info("%d documents, %d labels; %s; labels outside a shortlist start at logit %.2f", len(rows), L,
             f"logit = {fitted.slope:.3g} {'logit(score)' if fitted.probabilities else 'score'} + {fitted.shift:.3g}",
             fitted.outside)  # fmt: skip
    torch.manual_seed(seed)
    made = HEADS[head](L, rank=rank, blocks=blocks)
    start_as_identity(made)
    known = gold.ids[gold.ids < L]
    frequency = torch.bincount(known, minlength=L) if table is None else torch.from_numpy(table.frequency)
    propensity = {"num_train_documents": len(train)} | (_propensity(Path(label_table).parent) if table else {})
    training = HeadTraining(made, fitted, lambda: RankingMetrics(L, frequency, **propensity), batch_size, seed)
    held = (held_scores, held_gold, held_rows)
    with writing_to(folder, "keeping the enhancement", None):  # a folder that cannot be is told before the work
        folder.mkdir(parents=True, exist_ok=True)
    curve = training.fit(train, gold, rows, held, epochs, lr, weight_decay)
    result = {"validation": {"before": training.score(*held, raw=True), "after": training.score(*held)}, "test": None}
    with writing_to(folder, "keeping the enhancement", None):
        for name in (CALIBRATION, "predictions.npz"):  # of an earlier enhancement there
            (folder / name).unlink(missing_ok=True)
        settings = yaml.safe_dump(given | {"fitted_scale": vars(fitted)})
        replace_text(folder / SETTINGS, settings)  # first: the folder is ours
        _lists(training, *held).save(folder / "predictions_validation.npz")
        if tested is not None:
            every = np.arange(len(tested[0]))
            true = tested[1]
            if true is None:
                true = Labels(torch.zeros(0, dtype=torch.int64), torch.zeros(len(every) + 1, dtype=torch.int64))
            else:
                result["test"] = {"before": training.score(tested[0], true, every, raw=True),
                                  "after": training.score(tested[0], true, every)}  # fmt: skip
            _lists(training, tested[0], true, every).save(folder / "predictions.npz")
        result |= {"curve": curve, "parameters": sum(p.numel() for p in made.parameters()), "settings": given}
        replace_text(folder / "metrics.json", json.dumps(result, indent=1))
        names = [(one.id, one.name) for one in table] if table else [(str(i), str(i)) for i in range(L)]
        lines = (f"{i}\t{a}\t{b}\t{n}\n" for i, ((a, b), n) in enumerate(zip(names, frequency.tolist(), strict=True)))
        replace_text(folder / "labels.tsv", "".join(lines))
        with replaced(folder / "head.pt") as temporary:
            torch.save(made.state_dict(), temporary)
    return result


def _propensity(folder: Path) -> dict:
    """What a run's folder says of the documents behind the frequencies in its labels.tsv, and of the corpus' constants:
    with them PSP@k is that of the run. Nothing of what it does not say."""
    count, config = recorded_documents(folder), folder / "config.yaml"
    said: dict = {} if count is None else {"num_train_documents": count}
    dataset = read_yaml(config, dict).get("dataset") if config.is_file() else None
    constants = dataset.get("propensity") if isinstance(dataset, dict) else None
    if isinstance(constants, dict) and all(isinstance(constants.get(key), int | float) for key in "ab"):
        said |= {f"propensity_{key}": constants[key] for key in "ab"}
    return said


def _plain(value):
    """What a file of settings can hold: of numpy's numbers and of paths, Python's and their text."""
    if isinstance(value, np.generic):
        return value.item()
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _place(folder: Path) -> Path:
    """The folder to write into, which holds nothing, or an earlier enhancement; a run would lose its own answers."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output: {folder} is a file")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / SETTINGS).exists():
        raise InputError(f"output: {folder} is there and is no enhancement; choose another folder")
    return folder


def _documents(key: str, path: str, gold_key: str, gold_path: str | None, num_labels: int | None, optional=False):
    """Scores and true labels of one part."""
    scores = read_scores(path, num_labels)
    gold = read_gold(gold_path) if gold_path else scores.gold
    if gold is None and not optional:
        raise InputError(f"{gold_key}: {path} holds no true labels: name a file of them")
    if gold is not None and len(gold) != len(scores):
        raise InputError(f"{gold_key}: {len(gold)} documents, {key} has {len(scores)}")
    if not len(scores):
        raise InputError(f"{key}: {path} has no documents")
    scores.check_finite(key)
    return scores, gold


def _lists(training: HeadTraining, scores: Scores, gold: Labels, rows: np.ndarray) -> Lists:
    k = min(KEPT, scores.num_labels)
    labels, values = np.zeros((len(rows), k), np.int64), np.zeros((len(rows), k), np.float32)
    start = 0
    for part, found, logits in training.rankings(scores, rows, k):
        labels[start : start + len(part)] = found
        values[start : start + len(part)] = 1 / (1 + np.exp(-logits.astype(np.float64)))
        start += len(part)
    return Lists(labels, values, take_labels(gold, rows), scores.unseen or [])
