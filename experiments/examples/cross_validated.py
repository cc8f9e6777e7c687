"""Scores of the training documents of a fitted run (`encoder=br` or `bonsai`), each by a model that has not seen it.

    python -m xmtc.run encoder=br dataset=eurlex57k hydra.run.dir=RUN
    python experiments/examples/cross_validated.py RUN [--folds 3]
    python -m xmtc.enhance scores=RUN/train.npz validation_scores=RUN/predictions_validation.npz \
        test_scores=RUN/predictions.npz output=ENHANCED scale=sigmoid

A head that learns from scores of documents which the other system was trained on learns that they are always right.
Writes train.npz beside the run's predictions: the 100 best labels of each training document and its true ones. Cost:
`folds` fits, each on the other folds; what a finished fold has answered is kept, so that a stopped command goes on.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from xmtc.config.make import make
from xmtc.data.datamodule import XMTCData
from xmtc.data.files import replaced
from xmtc.data.lists import Lists
from xmtc.entry import ended
from xmtc.errors import InputError
from xmtc.fitted.base import FittedModel, is_fitted
from xmtc.parsing import read_yaml
from xmtc.training.build import open_store
from xmtc.training.fitted import features, targets
from xmtc.training.results import KEPT


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run", type=Path, help="a run directory of encoder=br or encoder=bonsai")
    parser.add_argument("--folds", type=int, default=3)
    given = parser.parse_args(argv)
    config = read_yaml(given.run / "config.yaml", dict)
    if not is_fitted(config.get("encoder")):
        raise InputError(f"{given.run}: expected a run of encoder=br or encoder=bonsai")
    if given.folds < 2:
        raise InputError(f"--folds: expected at least 2, got {given.folds}")
    model: FittedModel = make(config["encoder"])
    store = open_store(config, model.text)
    train = XMTCData(store, model.text, "bag", config["seed"], **config["data"]).train
    model.learn_features(train, store.vocabulary)
    matrix, gold = features(model, train, store), train.gold()
    wanted, k = targets(gold, store.num_labels), min(KEPT, store.num_labels)
    fold = np.random.default_rng(0).permutation(len(train)) % given.folds
    labels, scores = np.zeros((len(train), k), np.int64), np.zeros((len(train), k), np.float32)
    for number in range(given.folds):
        inside, outside = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        kept, started = given.run / f"fold-{number}-of-{given.folds}.npz", time.monotonic()
        if not kept.exists():
            model = make(config["encoder"])
            model.fit(matrix[inside], wanted[inside])
            margins, own = model.topk(matrix[outside], k)
            with replaced(kept) as temporary, open(temporary, "wb") as file:
                np.savez(file, margins=margins, labels=own)
        held = np.load(kept)
        scores[outside], labels[outside] = 1 / (1 + np.exp(-held["margins"].astype(np.float64))), held["labels"]
        print(f"fold {number + 1} of {given.folds}, {time.monotonic() - started:.0f} s", file=sys.stderr)
    Lists(labels, scores, gold).save(given.run / "train.npz")
    for number in range(given.folds):
        (given.run / f"fold-{number}-of-{given.folds}.npz").unlink()


if __name__ == "__main__":
    raise SystemExit(ended("cross_validated", main))
