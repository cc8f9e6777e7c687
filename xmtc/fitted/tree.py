"""A probabilistic label tree over TF-IDF (Jasinska et al., ICML 2016; Parabel's balanced tree, Prabhu et al., WWW
2018), by napkinXC in C++: for label sets at which one machine a label takes too long.

Labels are split in two again and again by balanced k-means of their mean documents; each node has a logistic model of
"is one of my labels true", trained on the documents that reach it. P(label) is the product along its path, and the k
best are found exactly, without visiting every label. Fitting costs about log2(L) models a document instead of L.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from xmtc.bounds import Bounds, Count, Natural, NotNegative, Positive
from xmtc.errors import InputError
from xmtc.fitted.base import FittedModel

SMALLEST = 1e-7  # probability of labels that the search did not reach


class LabelTree(FittedModel):
    """arity: children of a node. leaves: labels under the lowest split. trees: an average of so many, differently
    seeded. c: cost of a training error. threads: null for one a core."""

    def __init__(
        self,
        text,
        arity: Annotated[int, Bounds(least=2)] = 2,
        leaves: Annotated[int, Bounds(least=2)] = 100,
        trees: Count = 1,
        c: Positive = 10.0,
        tolerance: Positive = 0.1,
        prune: NotNegative = 0.1,
        threads: Count | None = None,
        seed: int = 0,
        min_documents: Natural = 1,
        bigrams: bool = False,
    ):
        super().__init__(text, min_documents, bigrams)
        if min(arity, leaves) < 2 or trees < 1:
            raise InputError("encoder: expected arity and leaves of at least 2 and trees of at least 1")
        if importlib.util.find_spec("napkinxc") is None:
            raise InputError("encoder=tree: needs the package napkinxc (pip install 'xmtc[tree]')")
        self.settings = {
            "arity": arity, "max_leaves": leaves, "ensemble": trees if trees > 1 else 0, "liblinear_c": c,
            "liblinear_eps": tolerance, "weights_threshold": prune, "threads": threads or 0, "seed": seed,
        }  # fmt: skip
        self._folder = tempfile.TemporaryDirectory(prefix="xmtc-tree-")  # napkinXC reads and writes files
        self._model = self.num_labels = None

    def _fresh(self):
        from napkinxc.models import PLT

        # rows are of length 1 already; without `norm` version 0.7.2 dies of a segmentation fault
        return PLT(self._folder.name, norm=True, loss="log", **self.settings)

    def fit(self, features_NV: csr_matrix, targets_NL: csr_matrix) -> None:
        if not targets_NL.nnz:  # of which the library dies
            raise InputError("encoder=tree: none of the training documents has a label, so there is no tree to grow")
        self.num_labels = targets_NL.shape[1]
        labels = np.split(targets_NL.indices, targets_NL.indptr[1:-1])
        self._model = self._fresh()
        self._model.fit(features_NV, [row.tolist() for row in labels])
        self._model.load()

    def topk(self, features_NV: csr_matrix, k: int) -> tuple[np.ndarray, np.ndarray]:
        N = features_NV.shape[0]
        probabilities, labels = np.full((N, k), SMALLEST), np.full((N, k), -1, np.int64)
        answers = self._model.predict_proba(features_NV, top_k=k) if N else []
        for row, answer in enumerate(answers):
            # several trees that know fewer labels than k fill up with label 0, again and again
            best = dict(sorted(answer, key=lambda pair: pair[1]))
            answer = sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))
            count = len(answer)
            labels[row, :count] = [label for label, _ in answer]
            probabilities[row, :count] = [p for _, p in answer]
            if count < k:  # labels that no training document has are in no tree
                rest = np.setdiff1d(np.arange(self.num_labels), labels[row, :count])
                labels[row, count:] = rest[: k - count]
        probabilities = probabilities.clip(SMALLEST, 1 - SMALLEST)
        return np.log(probabilities / (1 - probabilities)).astype(np.float32), labels

    def num_parameters(self) -> None:
        return None

    def state(self) -> dict[str, Tensor]:
        """The library's files, byte for byte."""
        files = sorted(path for path in Path(self._folder.name).rglob("*") if path.is_file())
        named = {str(path.relative_to(self._folder.name)): path for path in files}
        held = {f"file/{name}": torch.from_numpy(np.fromfile(path, np.uint8)) for name, path in named.items()}
        return super().state() | held | {"labels": torch.tensor(self.num_labels)}

    def load(self, state: dict[str, Tensor]) -> None:
        super().load(state)
        self.num_labels = int(state["labels"])
        root = Path(self._folder.name).resolve()
        for name, content in state.items():
            if name.startswith("file/"):
                path = (root / name.removeprefix("file/")).resolve()
                if root not in path.parents:  # of a checkpoint that somebody made up
                    raise InputError(f"checkpoints/best.ckpt: holds a file outside its folder: {name}")
                os.makedirs(path.parent, exist_ok=True)
                content.numpy().tofile(path)
        self._model = self._fresh()
        self._model.load()
