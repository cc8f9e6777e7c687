"""TF-IDF and one-vs-rest linear SVMs, as scores that `xmtc.enhance` and `xmtc.ensemble` can use.

    python experiments/examples/linear_scores.py FOLDER dataset=eurlex57k [--folds 3] [--jobs 2]
    python -m xmtc.enhance scores=FOLDER/train.npz validation_scores=FOLDER/predictions_validation.npz \
        test_scores=FOLDER/predictions.npz output=FOLDER/enhanced scale=probability
    python -m xmtc.ensemble RUN FOLDER --output BOTH

Writes labels.tsv, predictions.npz, predictions_validation.npz and train.npz: the 100 best labels of each document and
its true ones. Scores of training documents are cross-validated: each comes from machines that have not seen the
document. Margins become probabilities by one logistic map fitted on those. Settings: sublinear TF-IDF, L2-normalised,
squared hinge, C = 1, tolerance 0.1 (LibMultiLabel's `-s 1 -B 1 -e 0.1`). Cost: folds + 1 fits of every label.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from omegaconf import OmegaConf
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from xmtc.config import compose_checked
from xmtc.config.make import make
from xmtc.data.batch import Labels
from xmtc.data.lists import Lists
from xmtc.enhancing.scores import Scores, fit_scale

KEPT, BLOCK = 100, 256  # labels of a document; labels fitted at a time


def machine(features, positive: np.ndarray) -> np.ndarray:
    """Weights and bias (V + 1,) of one label; a label of no or of all documents has only a bias."""
    if positive.all() or not positive.any():
        return np.append(np.zeros(features.shape[1], np.float32), 1.0 if positive.all() else -1.0).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = LinearSVC(C=1.0, tol=0.1).fit(features, positive)
    return np.append(fitted.coef_[0], fitted.intercept_).astype(np.float32)


def best_margins(train, gold: list[np.ndarray], num_labels: int, asked: list, jobs: int) -> list[tuple]:
    """Trains every label on `train` and gives, for each matrix in `asked`, labels (N, K) and margins (N, K)."""
    k = min(KEPT, num_labels)
    held = [(np.zeros((m.shape[0], 0), np.int64), np.zeros((m.shape[0], 0), np.float32)) for m in asked]
    owners: dict[int, list[int]] = {}
    for document, labels in enumerate(gold):
        for label in labels[labels < num_labels]:
            owners.setdefault(int(label), []).append(document)
    started = time.monotonic()
    for start in range(0, num_labels, BLOCK):
        stop = min(start + BLOCK, num_labels)
        targets = np.zeros((stop - start, train.shape[0]), bool)
        for label in range(start, stop):
            targets[label - start, owners.get(label, [])] = True
        weights = np.stack(Parallel(jobs)(delayed(machine)(train, row) for row in targets))
        for place, matrix in enumerate(asked):
            margins = matrix @ weights[:, :-1].T + weights[:, -1]
            names = np.broadcast_to(np.arange(start, stop), margins.shape)
            labels, values = (np.concatenate(pair, axis=1) for pair in zip(held[place], (names, margins), strict=True))
            order = np.argsort(-values, axis=1, kind="stable")[:, :k]
            held[place] = np.take_along_axis(labels, order, 1), np.take_along_axis(values, order, 1)
        print(f"{stop} of {num_labels} labels, {time.monotonic() - started:.0f} s", file=sys.stderr)
    return held


def as_labels(gold: list[np.ndarray]) -> Labels:
    offsets = np.cumsum([0, *map(len, gold)])
    return Labels(torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *gold])), torch.from_numpy(offsets))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("overrides", nargs="+", metavar="dataset=NAME", help="as for xmtc.run")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args(argv)
    config = OmegaConf.to_container(compose_checked(given.overrides).dataset, resolve=True)
    source = make(config["source"])
    parts = {part: list(source.documents(part)) for part in ("train", "validation", "test")}
    known = sorted({label for part in ("train", "validation") for _, labels in parts[part] for label in labels})
    unseen = sorted({label for _, labels in parts["test"] for label in labels} - set(known))
    index = {label: i for i, label in enumerate(known + unseen)}
    gold = {part: [np.array(sorted({index[label] for label in labels}), np.int64) for _, labels in documents]
            for part, documents in parts.items()}  # fmt: skip
    vectorizer = TfidfVectorizer(sublinear_tf=True, dtype=np.float32)
    features = {"train": vectorizer.fit_transform(text for text, _ in parts["train"])}
    for part in ("validation", "test"):
        features[part] = vectorizer.transform(text for text, _ in parts[part])
    whole, L = features["train"], len(known)
    found = dict(zip(("predictions_validation", "predictions"),
                     best_margins(whole, gold["train"], L, [features["validation"], features["test"]], given.jobs),
                     strict=True))  # fmt: skip
    fold = np.random.default_rng(0).permutation(whole.shape[0]) % given.folds
    k = min(KEPT, L)
    labels, margins = np.zeros((whole.shape[0], k), np.int64), np.zeros((whole.shape[0], k), np.float32)
    for number in range(given.folds):
        inside, outside = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        seen = [gold["train"][i] for i in inside]
        ((labels[outside], margins[outside]),) = best_margins(whole[inside], seen, L, [whole[outside]], given.jobs)
    found["train"] = labels, margins
    true = {"train": gold["train"], "predictions_validation": gold["validation"], "predictions": gold["test"]}
    counts = np.full(len(labels), k)
    stored = Scores(L, None, labels.ravel(), margins.ravel(), np.concatenate([[0], np.cumsum(counts)]))
    scale = fit_scale(stored, as_labels(gold["train"]), "margin", None)
    (given.folder / "text").mkdir(parents=True, exist_ok=True)
    for name, (own, values) in found.items():
        scores = (1 / (1 + np.exp(-scale(values).astype(np.float64)))).astype(np.float32)
        Lists(own, scores, as_labels(true[name]), unseen).save(given.folder / f"{name}.npz")
    names, frequency = source.label_names(), np.bincount(np.concatenate(gold["train"]), minlength=L)
    rows = (f"{i}\t{label}\t{names.get(label, label)}\t{frequency[i]}\n" for i, label in enumerate(known))
    (given.folder / "labels.tsv").write_text("".join(rows), encoding="utf-8")
    (given.folder / "text" / "meta.json").write_text(json.dumps({"num_documents": len(parts["train"])}))


if __name__ == "__main__":
    main()
