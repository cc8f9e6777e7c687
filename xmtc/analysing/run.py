"""Everything that the test documents of one run tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from xmtc.analysing.dependencies import distance
from xmtc.analysing.rerank import frequency_subsets, oracle, reranked
from xmtc.analysing.sets import diversity, group_f1, set_matrices, set_metrics
from xmtc.data.lists import read_lists, take_labels
from xmtc.errors import InputError
from xmtc.labels import LabelTable
from xmtc.metrics.ranking import RankingMetrics
from xmtc.reporting.runs import Run

RANKED = ("P@1", "P@3", "P@5", "nDCG@3", "nDCG@5")


def analyse_run(
    run: Run,
    threshold: float | None = None,
    shares: Sequence[float] = (0.25, 0.25, 0.25),
    epsilon: float = 1e-6,
    cases: int = 3,
) -> dict:
    """Everything about the test documents of one run, as plain values. threshold: None for the run's own, which was
    chosen on validation."""
    labels, lists = LabelTable(run.folder / "labels.tsv"), read_lists(run.folder / "predictions.npz")
    frequency = np.array([label.frequency for label in labels], np.int64)
    if threshold is None:
        threshold = run.facts.get("threshold")
        if threshold is None:
            raise InputError(f"{run.folder}: metrics.json has no threshold; give one with --threshold")
    predicted, gold = set_matrices(lists, threshold, len(labels))
    # as the metrics of a run: propensities are not among what is shown, so their document count does not matter
    ranking = {"": _ranking(lists.labels, lists.gold, frequency)}
    ranking["oracle of the best 10"] = _ranking(reranked(lists, oracle), lists.gold, frequency)
    subsets = {"": len(lists), "oracle of the best 10": len(lists)}
    for name, rows in frequency_subsets(lists.gold, frequency).items():
        ranking[name] = _ranking(lists.labels[rows], take_labels(lists.gold, rows), frequency)
        subsets[name] = len(rows)
    return {
        "name": run.name,
        "dataset": run.dataset,
        "folder": str(run.folder),
        "threshold": threshold,
        "sets": set_metrics(predicted, gold, len(labels)),
        "dependencies": distance(gold, predicted, epsilon),
        "diversity": {"predicted": diversity(predicted), "gold": diversity(gold)},
        "groups": group_f1(predicted, gold, frequency, shares),
        "ranking": ranking,
        "documents": subsets,
        "cases": _cases(lists, labels, cases),
    }


def _ranking(lists_NK: np.ndarray, gold, frequency: np.ndarray) -> dict[str, float]:
    metrics = RankingMetrics(len(frequency), torch.from_numpy(frequency), max(int(frequency.max()), 1) + 1)
    metrics.update(torch.from_numpy(np.ascontiguousarray(lists_NK)), gold)
    values = metrics.compute()
    return {name: values[name] for name in RANKED}


def _cases(lists, labels: LabelTable, count: int) -> list[dict]:
    """The first documents: true labels and the five best answers."""
    held = []
    for row in range(min(count, len(lists))):
        start, stop = lists.gold.offsets[row : row + 2].tolist()
        ids = lists.gold.ids[start:stop].tolist()
        true = [labels[i].name if i < len(labels) else lists.unseen[i - len(labels)] for i in ids]
        best = zip(lists.labels[row, :5].tolist(), lists.scores[row].tolist(), strict=False)
        answers = [(labels[i].name, round(score, 4)) for i, score in best if i >= 0]  # below: padding
        held.append({"document": row, "true": true, "answers": answers})
    return held
