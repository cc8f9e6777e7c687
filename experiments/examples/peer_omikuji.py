"""omikuji's Parabel and Bonsai on the features of a run, as one more run directory for the report.

    pip install omikuji
    export PYTHONPATH=experiments/examples
    python -m xmtc.run --config-dir experiments/examples/conf encoder=omikuji head=none dataset=yso
    python -m xmtc.run encoder=bonsai head=none dataset=yso

Words, TF-IDF, scores and metrics are ours, trees and machines omikuji's, with its defaults (squared hinge, C = 1,
tolerance 0.1, weights from 0.1 on) where none is named. Its random numbers have no seed. The model is measured and
not kept: such a run cannot predict.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from xmtc.errors import InputError
from xmtc.fitted.base import FittedModel
from xmtc.fitted.bonsai import filled
from xmtc.fitted.evidence import SMALLEST, log_odds


class Omikuji(FittedModel):
    def __init__(
        self,
        text,
        balanced: bool = False,
        arity: int = 100,
        depth: int = 3,
        trees: int = 3,
        beam: int = 10,
        threads: int | None = None,
        min_documents: int = 1,
        bigrams: bool = False,
    ):
        super().__init__(text, min_documents, bigrams)
        self.settings = {"cluster_balanced": balanced, "cluster_k": arity, "max_depth": depth, "n_trees": trees}
        self.beam, self.threads = beam, threads or os.cpu_count()

    def fit(self, features_NV, targets_NL):
        import omikuji

        told = omikuji.Model.default_hyper_param()
        for name, value in self.settings.items():
            setattr(told, name, value)
        self.num_labels = targets_NL.shape[1]
        rows = np.flatnonzero((np.diff(features_NV.indptr) > 0) & (np.diff(targets_NL.indptr) > 0))  # others it refuses
        features_NV, targets_NL = features_NV[rows], targets_NL[rows]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "train.txt"
            with open(path, "w") as file:
                file.write(f"{len(rows)} {features_NV.shape[1]} {self.num_labels}\n")
                words = zip(
                    _lists(features_NV.indices, features_NV), _lists(features_NV.data, features_NV), strict=True
                )
                for labels, (own, values) in zip(_lists(targets_NL.indices, targets_NL), words, strict=True):
                    pairs = " ".join(f"{word}:{value:.7g}" for word, value in zip(own, values, strict=True))
                    file.write(f"{','.join(map(str, labels))} {pairs}\n")
            self.model = omikuji.Model.train_on_data(str(path), told, n_threads=self.threads)

    def topk(self, features_NV, k):
        labels = np.full((features_NV.shape[0], k), -1, np.int64)
        chances = np.full(labels.shape, SMALLEST)
        features_NV.sort_indices()
        pairs = zip(_lists(features_NV.indices, features_NV), _lists(features_NV.data, features_NV), strict=True)
        for row, (words, values) in enumerate(pairs):
            answer = self.model.predict(list(zip(words, values, strict=True)), self.beam, k)
            answer = sorted(answer, key=lambda pair: (-pair[1], pair[0]))
            labels[row, : len(answer)] = [label for label, _ in answer]
            chances[row, : len(answer)] = [chance for _, chance in answer]
        return log_odds(chances).astype(np.float32), filled(labels, self.num_labels)

    def num_parameters(self):
        return 0

    def load(self, state):
        raise InputError("encoder=omikuji: is measured and not kept, so it cannot be used again")


def _lists(values: np.ndarray, rows) -> list[list]:
    return [each.tolist() for each in np.split(values, rows.indptr[1:-1])]
