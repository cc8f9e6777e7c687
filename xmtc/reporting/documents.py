"""Scores of each single document from predictions.npz, for tests that pair documents.

The definitions are those of xmtc/metrics/ranking.py, whose values are the means of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xmtc.data.files import read_npz
from xmtc.errors import InputError
from xmtc.labels import LabelTable
from xmtc.reporting.runs import Run

METRICS = ("P@1", "P@3", "P@5", "nDCG@3", "nDCG@5")
DEPTH = 5
Bins = tuple[list[str], np.ndarray]


@dataclass(frozen=True, eq=False)
class Truth:
    """The true labels of all documents, by which two runs may be paired: by their ids where both tell them, for models
    whose lists of labels differ, else by their numbers."""

    numbers: bytes
    ids: bytes | None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Truth):
            return NotImplemented
        return self.ids == other.ids if self.ids and other.ids else self.numbers == other.numbers


def scores_of(run: Run, by_bin: bool = False) -> tuple[dict[str, np.ndarray], Truth] | None:
    """`document_scores` of a run, or of a kept row whose true labels a run says; None where predictions were not kept.
    by_bin: with nDCG@5 by label frequency. Imports torch if so, which takes a second or two."""
    known = run.truth or run.folder
    path = known / "predictions.npz"
    if not path.is_file():
        return None
    return document_scores(path, label_bins(known / "labels.tsv") if by_bin else None, run.lists)


def document_scores(
    path: Path, bins: Bins | None = None, lists: Path | None = None
) -> tuple[dict[str, np.ndarray], Truth]:
    """({metric: (N,) float64 in corpus order}, the true labels).

    bins: of `label_bins`; adds nDCG@5/BIN, NaN for documents without a true label in the bin. lists: a file with other
    ranked lists of the same documents and labels to score in place of those of `path`.
    Costs O(N K + P log P), and a read of labels.tsv. InputError: not a readable file of predictions."""
    try:
        held = read_npz(path)
        labels = (read_npz(lists) if lists else held)["labels"][:, :DEPTH].astype(np.int64)
        gold, offsets = held["gold_indices"].astype(np.int64), held["gold_offsets"].astype(np.int64)
        unseen = held["unseen_labels"].tolist() if "unseen_labels" in held else []
    except (ValueError, LookupError) as error:
        raise InputError(f"{path}: not a readable file of predictions ({error})") from error
    sizes = np.diff(offsets)
    found = hits(labels, gold, sizes)
    scores = ranking(found, sizes)
    if bins:
        scores |= by_frequency(found, labels, gold, sizes, *bins)
    numbers, ids = gold.tobytes(), _ids(path.with_name("labels.tsv"), gold, sizes, unseen)
    return scores, Truth(numbers + offsets.tobytes(), ids and ids + offsets.tobytes())


def _ids(table: Path, gold: np.ndarray, sizes: np.ndarray, unseen: list[str]) -> bytes | None:
    """The true labels by their ids. None if there is no such table, or a label that is not told."""
    known = LabelTable(table) if table.is_file() else []
    if not len(known) or gold.max(initial=-1) >= len(known) + len(unseen):
        return None
    met, places = np.unique(gold, return_inverse=True)
    ids = [known[i].id if i < len(known) else unseen[i - len(known)] for i in met.tolist()]
    rank = np.argsort(sorted(range(len(ids)), key=ids.__getitem__))[places]
    order = np.lexsort((rank, np.repeat(np.arange(len(sizes)), sizes)))
    return "\n".join(sorted(ids)).encode() + rank[order].tobytes()


def label_bins(table: Path) -> Bins | None:
    """Names of the bins of label frequency and each label's bin, (L + 1,), of a labels.tsv; the last stands for labels
    unknown to the model. None if there is no such file. Imports torch."""
    if not table.is_file():
        return None
    import torch

    from xmtc.metrics.frequency_bins import frequency_bins

    names, bin_of_label = frequency_bins(torch.from_numpy(LabelTable(table).frequency))
    return names, bin_of_label.numpy()


def by_frequency(
    found: np.ndarray,
    labels: np.ndarray,
    gold: np.ndarray,
    sizes: np.ndarray,
    names: list[str],
    bin_of_label: np.ndarray,
) -> dict[str, np.ndarray]:
    """nDCG@5/BIN of each document: hits and true labels of the bin alone, at the ranks of the whole list."""
    last = len(bin_of_label) - 1
    place = bin_of_label[np.clip(labels, 0, last)]
    place = np.pad(place, ((0, 0), (0, DEPTH - place.shape[1])), constant_values=-1)
    of_gold, rows = bin_of_label[np.minimum(gold, last)], np.repeat(np.arange(len(sizes)), sizes)
    scores = {}
    for number, name in enumerate(names):
        size = np.bincount(rows[of_gold == number], minlength=len(sizes))
        score = ranking(found & (place == number), size)["nDCG@5"]
        scores[f"nDCG@5/{name}"] = np.where(size > 0, score, np.nan)
    return scores


def hits(labels: np.ndarray, gold: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(N, 5) bool: is the label at that rank a true one. Missing ranks (fewer labels, negative ids) are misses."""
    width = int(max(labels.max(initial=0), gold.max(initial=0))) + 1
    rows = np.arange(len(sizes))
    true = np.repeat(rows, sizes) * width + gold
    found = np.isin(rows[:, None] * width + labels, true) & (labels >= 0)
    return np.pad(found, ((0, 0), (0, DEPTH - found.shape[1])))


def ranking(found: np.ndarray, sizes: np.ndarray) -> dict[str, np.ndarray]:
    """P@k and nDCG@k of each document; 0 where it has no true label."""
    discount = 1 / np.log2(np.arange(DEPTH) + 2.0)
    ideal = np.concatenate([[1.0], discount.cumsum()])  # by the number of true labels; no hits to divide at 0
    scores = {}
    for metric in METRICS:
        name, k = metric.split("@")
        k = int(k)
        if name == "P":
            scores[metric] = found[:, :k].sum(1) / k
        else:
            scores[metric] = (found[:, :k] * discount[:k]).sum(1) / ideal[np.minimum(sizes, k)]
    return scores


def mean_over_runs(runs: Sequence[Run]) -> tuple[dict[str, np.ndarray], Truth] | None:
    """Each document's scores, averaged over the runs (seeds) that kept predictions; None if none did."""
    held = [found for run in runs if run.complete and (found := scores_of(run))]
    if not held:
        return None
    if any(truth != held[0][1] for _, truth in held):
        raise InputError(f"{runs[0].folder}: its seeds were tested on different documents or labels")
    return {metric: np.mean([scores[metric] for scores, _ in held], axis=0) for metric in METRICS}, held[0][1]
