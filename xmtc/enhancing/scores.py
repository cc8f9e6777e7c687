"""Stored scores of another system, as rows of logits.

| file | what it holds |
|---|---|
| `.npy` | (N, L) numbers, read from disk row by row |
| `.npz` of `scipy.sparse.save_npz` | CSR (N, L); what is not stored is outside the shortlist |
| `.npz` with `labels` (N, K) and `scores` (N, K) | top-k lists, as a run's predictions.npz; negative: padding |

Labels outside the shortlist have no score. They all get one logit, `outside`: by default the log odds, on the training
documents, that a label outside is true. The head may lift them into the list from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from xmtc.data.batch import Labels
from xmtc.data.collate import ranges
from xmtc.data.files import read_npz
from xmtc.data.lists import Lists, read_lists, sorted_labels, take_labels
from xmtc.errors import InputError

ROWS = 256  # of a dense matrix that are looked at together


@dataclass
class Scores:
    """N documents. Either dense (N, L), or CSR: labels `ids` and `values` behind `offsets` (N + 1,).

    gold: true labels that the same file held. lists: the file's own top-k lists.
    """

    num_labels: int
    dense: np.ndarray | None = None
    ids: np.ndarray | None = None
    values: np.ndarray | None = None
    offsets: np.ndarray | None = None
    gold: Labels | None = None
    unseen: list[str] | None = None

    def __len__(self) -> int:
        return len(self.dense) if self.dense is not None else len(self.offsets) - 1

    def rows(self, numbers: np.ndarray, scale: Scale) -> Tensor:
        """(B, L) float32 logits."""
        if self.dense is not None:
            return torch.from_numpy(scale(np.asarray(self.dense[numbers], np.float32)))
        counts = self.offsets[numbers + 1] - self.offsets[numbers]
        places = ranges(self.offsets[numbers], counts)
        logits = np.full((len(numbers), self.num_labels), scale.outside, np.float32)
        logits[np.repeat(np.arange(len(numbers)), counts), self.ids[places]] = scale(self.values[places])
        return torch.from_numpy(logits)

    def check_finite(self, name: str) -> None:
        """InputError: a score is no number, and would be the best or the worst by chance. Cost: reads all of them."""
        stored, size = (self.values, 1 << 26) if self.dense is None else (self.dense, ROWS)
        if not all(np.isfinite(stored[i : i + size]).all() for i in range(0, len(stored), size)):
            raise InputError(f"{name}: expected finite numbers, found some that are not")

    def pairs(self, gold: Labels, most: int = 2_000_000) -> tuple[np.ndarray, np.ndarray]:
        """Stored values and whether each is of a true label, of as many documents as make `most` pairs."""
        width = self.num_labels if self.dense is not None else max(1, len(self.values) // max(len(self), 1))
        count = max(1, min(len(self), most // width))
        numbers = np.random.default_rng(0).permutation(len(self))[:count]
        numbers.sort()
        true = take_labels(gold, numbers)
        known = true.ids < self.num_labels
        wanted = (true.rows() * self.num_labels + true.ids)[known].numpy()
        if self.dense is not None:
            hit = np.zeros(count * self.num_labels, bool)
            hit[wanted] = True
            return np.asarray(self.dense[numbers], np.float32).ravel(), hit
        counts = self.offsets[numbers + 1] - self.offsets[numbers]
        places = ranges(self.offsets[numbers], counts)
        stored = np.repeat(np.arange(count), counts) * self.num_labels + self.ids[places]
        return self.values[places], np.isin(stored, wanted)


@dataclass
class Scale:
    """Stored value -> logit: slope x + shift, x = logit(p) of probabilities. Of margins, and of probabilities that are
    no more than squashed margins, slope and shift are fitted on training documents (Platt 1999); else they are 1 and 0.

    outside: logit of a label outside the shortlist.
    """

    probabilities: bool
    slope: float = 1.0
    shift: float = 0.0
    outside: float = -10.0

    def __call__(self, values: np.ndarray) -> np.ndarray:
        if self.probabilities:
            p = np.clip(np.asarray(values, np.float64), 1e-7, 1 - 1e-7)
            values = (np.log(p) - np.log1p(-p)).astype(np.float32)
        return (self.slope * values + self.shift).astype(np.float32)


def fit_scale(scores: Scores, gold: Labels, kind: str, outside: float | None) -> Scale:
    """kind: probability, logit (as they are), margin (fitted), sigmoid (of a margin, fitted), or auto: probability
    where all lie in [0, 1], else margin."""
    values, true = scores.pairs(gold)
    if kind == "auto":
        kind = "probability" if len(values) and values.min() >= 0 and values.max() <= 1 else "margin"
    scale = Scale(kind in ("probability", "sigmoid"))
    if kind in ("margin", "sigmoid"):
        from sklearn.linear_model import LogisticRegression

        if true.all() or not true.any():
            raise InputError("scores: the labels of the training documents are all or never among their scores")
        fitted = LogisticRegression(C=1e6).fit(scale(values)[:, None], true)
        scale.slope, scale.shift = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
        if scale.slope <= 0:
            raise InputError("scores: higher scores go with wrong labels; are scores and labels of the same documents?")
    scale.outside = _log_odds_outside(scores, gold) if outside is None else outside
    return scale


def _log_odds_outside(scores: Scores, gold: Labels) -> float:
    if scores.dense is not None:
        return 0.0  # nothing is outside
    stored = np.repeat(np.arange(len(scores)), np.diff(scores.offsets)) * scores.num_labels + scores.ids
    known = gold.ids.numpy() < scores.num_labels
    wanted = (gold.rows().numpy() * scores.num_labels + gold.ids.numpy())[known]
    missed = len(wanted) - int(np.isin(wanted, stored).sum()) + 0.5
    outside = len(scores) * scores.num_labels - len(stored) + 1
    return float(np.log(missed / max(outside - missed, 1)))


def read_scores(path: str, num_labels: int | None = None) -> Scores:
    """A file of scores. num_labels: L, where the file does not say (top-k lists). InputError: not such a file."""
    place = Path(path)
    if not place.is_file():
        raise InputError(f"{path}: there is no such file")
    try:
        if place.suffix == ".npy":
            dense = np.load(place, mmap_mode="r", allow_pickle=False)
            if dense.ndim != 2 or dense.dtype.kind != "f":
                raise InputError(f"{path}: expected (N, L) numbers, found {dense.dtype} {dense.shape}")
            return Scores(dense.shape[1], dense=dense)
        held = read_npz(place)
        names = set(held)
        if {"data", "indices", "indptr", "shape"} <= names:
            if b"csr" not in held["format"].tobytes():
                raise InputError(f"{path}: expected a CSR matrix, found {held['format']}")
            ids, offsets = _csr(held)
            return Scores(int(held["shape"][1]), None, ids, held["data"].astype(np.float32), offsets)
        lists = {name: held[name] for name in ("labels", "scores") if name in names}
    except (OSError, ValueError, EOFError, LookupError, TypeError) as error:
        raise InputError(f"{path}: not a readable .npy or .npz file ({str(error).splitlines()[0]})") from None
    if len(lists) < 2:
        raise InputError(f"{path}: expected a CSR matrix or arrays labels and scores, found {', '.join(sorted(names))}")
    return _of_lists(path, lists, names, num_labels)


def _csr(held: dict) -> tuple[np.ndarray, np.ndarray]:
    """Columns and row offsets, int64. ValueError: they do not fit together, or a column is not in the matrix."""
    parts = held["data"], held["indices"].astype(np.int64), held["indptr"].astype(np.int64)
    csr_matrix(parts, shape=tuple(held["shape"])).check_format(full_check=True)
    return parts[1], parts[2]


def _of_lists(path: str, arrays: dict, names: set[str], num_labels: int | None) -> Scores:
    if "gold_indices" in names:
        lists = read_lists(Path(path))
    else:
        empty = Labels(torch.zeros(0, dtype=torch.int64), torch.zeros(len(arrays["labels"]) + 1, dtype=torch.int64))
        lists = Lists(arrays["labels"].astype(np.int64), arrays["scores"].astype(np.float32), empty)
    if lists.labels.shape != lists.scores.shape or lists.labels.ndim != 2:
        raise InputError(f"{path}: expected labels and scores of one shape (N, K)")
    least = int(lists.labels.max(initial=-1)) + 1
    if least > (num_labels or least):
        raise InputError(f"{path}: label {least - 1} is not among the {num_labels} labels")
    if num_labels is None:
        raise InputError(f"{path}: top-k lists do not say how many labels there are: set label_table or num_labels")
    real = lists.labels >= 0
    offsets = np.concatenate([[0], np.cumsum(real.sum(1))])
    gold = lists.gold if "gold_indices" in names else None
    return Scores(num_labels, None, lists.labels[real], lists.scores[real], offsets, gold, lists.unseen)


def read_gold(path: str) -> Labels:
    """True labels: a CSR .npz (what is stored and not zero is true) or a predictions.npz."""
    place = Path(path)
    if not place.is_file():
        raise InputError(f"{path}: there is no such file")
    try:
        held = read_npz(place)
        names = set(held)
        if {"gold_indices", "gold_offsets"} <= names:
            ids, offsets = held["gold_indices"].astype(np.int64), held["gold_offsets"].astype(np.int64)
        elif {"data", "indices", "indptr", "shape"} <= names:
            ids, offsets = _csr(held)
            keep = held["data"] != 0
            ids, offsets = ids[keep], np.concatenate([[0], np.cumsum(keep)])[offsets]
        else:
            raise InputError(f"{path}: expected a CSR matrix or gold_indices, found {', '.join(sorted(names))}")
    except (ValueError, TypeError, LookupError) as error:
        raise InputError(f"{path}: not a readable .npz file ({str(error).splitlines()[0]})") from None
    return sorted_labels(ids, offsets)
