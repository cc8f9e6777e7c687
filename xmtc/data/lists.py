"""Stored predictions: the K best labels of each document beside its true ones, as every run directory keeps them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from xmtc.data.batch import Labels
from xmtc.data.collate import ranges
from xmtc.data.files import read_npz, replaced
from xmtc.errors import InputError

ARRAYS = ("labels", "scores", "gold_indices", "gold_offsets", "unseen_labels")


@dataclass
class Lists:
    """labels (N, K) int64, best first, negative: none; scores (N, K) float32, probabilities in a run directory.

    gold: true labels, ids >= L are labels unseen in training, whose own ids are in `unseen`.
    """

    labels: np.ndarray
    scores: np.ndarray
    gold: Labels
    unseen: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> Lists:
        """The documents `rows`, in that order."""
        return Lists(self.labels[rows], self.scores[rows], take_labels(self.gold, rows), self.unseen)

    def save(self, path: Path) -> None:
        """Written beside its place and renamed."""
        with replaced(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(
                file,
                labels=self.labels,
                scores=self.scores,
                gold_indices=self.gold.ids.numpy(),
                gold_offsets=self.gold.offsets.numpy(),
                unseen_labels=np.array(self.unseen, dtype=np.str_),
            )


def take_labels(gold: Labels, rows: np.ndarray) -> Labels:
    """True labels of the documents `rows`, in that order."""
    offsets = gold.offsets.numpy()
    counts = offsets[rows + 1] - offsets[rows]
    ids = gold.ids.numpy()[ranges(offsets[rows], counts)]
    return Labels(torch.from_numpy(ids), torch.from_numpy(np.concatenate([[0], np.cumsum(counts)])))


def sorted_labels(ids: np.ndarray, offsets: np.ndarray) -> Labels:
    """Labels whose ids need not ascend within a document."""
    rows: np.ndarray = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    return Labels(torch.from_numpy(ids[np.lexsort((ids, rows))]), torch.from_numpy(offsets))


def read_lists(path: Path) -> Lists:
    """A predictions.npz. InputError: not there, damaged, or arrays that do not fit together."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; a finished run has it")
    held = read_npz(path)
    # without unseen labels it is an older file or somebody else's: then an array of another name may be theirs, damaged
    wanted = ARRAYS if set(held) - set(ARRAYS) else ARRAYS[:4]
    if missing := [name for name in wanted if name not in held]:
        raise InputError(f"{path}: expected labels, scores and gold labels, found no {missing[0]}")
    if wrong := [name for name in ARRAYS[:4] if held[name].dtype.kind not in "iuf"]:
        raise InputError(f"{path}: {wrong[0]}: expected numbers, found {held[wrong[0]].dtype}")
    labels: np.ndarray = held["labels"].astype(np.int64)
    scores: np.ndarray = held["scores"].astype(np.float32)
    ids: np.ndarray = held["gold_indices"].astype(np.int64)
    offsets: np.ndarray = held["gold_offsets"].astype(np.int64)
    unseen = held["unseen_labels"].tolist() if "unseen_labels" in held else []
    fits = labels.ndim == 2 and labels.shape == scores.shape and offsets.shape == (len(labels) + 1,) and ids.ndim == 1
    if not fits or offsets[0] != 0 or offsets[-1] != len(ids) or (np.diff(offsets) < 0).any() or (ids < 0).any():
        raise InputError(
            f"{path}: expected labels and scores of one shape (N, K) and N + 1 gold offsets, found "
            f"{labels.shape}, {scores.shape} and {offsets.shape}"
        )
    return Lists(labels, scores, Labels(torch.from_numpy(ids), torch.from_numpy(offsets)), unseen)
