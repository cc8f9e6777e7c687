"""Everything that the test documents of one run tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from xmtc.analysing.cases import case_studies
from xmtc.analysing.dependencies import distance
from xmtc.analysing.documents import test_texts
from xmtc.analysing.rerank import Reranker, oracle, reranked, reranker_of
from xmtc.analysing.sets import diversity, group_f1, set_matrices
from xmtc.analysing.subsets import frequency_subsets
from xmtc.data.lists import read_lists, take_labels
from xmtc.errors import InputError
from xmtc.labels import LabelTable
from xmtc.metrics.label_sets import LabelSetMetrics
from xmtc.metrics.ranking import RankingMetrics
from xmtc.reporting.runs import Run

RANKED = ("P@1", "P@3", "P@5", "nDCG@3", "nDCG@5")


def analyse_run(
    run: Run,
    threshold: float | None = None,
    shares: Sequence[float] = (0.25, 0.25, 0.25),
    epsilon: float = 1e-6,
    cases: int = 3,
    documents: Sequence[int] = (),
    most_changed: bool = False,
    head_share: float = 0.1,
    max_head_labels: int = 2,
    rerank: str | Reranker | None = None,
) -> dict:
    """Everything about the test documents of one run, as plain values.

    threshold: None for the run's own, which was chosen on validation. shares: of the groups (sets.py). cases,
    documents, most_changed: the case studies (cases.py). head_share, max_head_labels: what head and tail documents are
    (subsets.py). rerank: a function, or `module:function`, that orders the best labels anew (rerank.py); needs the
    corpus.
    """
    labels, lists = LabelTable(run.folder / "labels.tsv"), read_lists(run.folder / "predictions.npz")
    frequency = labels.frequency
    if threshold is None:
        threshold = run.facts.get("threshold")
        if threshold is None:
            raise InputError(f"{run.folder}: metrics.json has no threshold; give one with --threshold")
    predicted, gold = set_matrices(lists, threshold, len(labels))
    sets = LabelSetMetrics(len(labels), threshold)
    sets.update(torch.from_numpy(lists.labels), torch.from_numpy(lists.scores), lists.gold)
    orders = {"": lists.labels, "oracle of the best 10": oracle(lists)}
    if rerank is not None:
        chosen = reranker_of(rerank) if isinstance(rerank, str) else rerank
        name = rerank if isinstance(rerank, str) else getattr(rerank, "__name__", type(rerank).__name__)
        orders[f"the best 10 by {name}"] = reranked(lists, labels, test_texts(run, lists, labels), chosen)
    ranking = {name: _ranking(order, lists.gold, frequency) for name, order in orders.items()}
    counts = dict.fromkeys(orders, len(lists))
    for name, rows in frequency_subsets(lists.gold, frequency, head_share, max_head_labels).items():
        ranking[name] = _ranking(lists.labels[rows], take_labels(lists.gold, rows), frequency)
        counts[name] = len(rows)
    studied, note = case_studies(run, lists, labels, cases, documents, most_changed)
    return {
        "name": run.name,
        "dataset": _data(run),
        "folder": str(run.folder),
        "threshold": threshold,
        "sets": sets.compute(),
        "dependencies": distance(gold, predicted, epsilon),
        "diversity": {"predicted": diversity(predicted), "gold": diversity(gold)},
        "groups": group_f1(predicted, gold, frequency, shares),
        "ranking": ranking,
        "documents": counts,
        "head_share": head_share,
        "max_head_labels": max_head_labels,
        "cases": studied,
        "cases_note": note,
    }


def _data(run: Run) -> str:
    """The dataset, and which part of it the run itself was about, by the names of LabelCoRank's two readings."""
    keep, parts = run.settings.get("dataset.subset"), run.settings.get("dataset.subset_parts") or ()
    if not keep:
        return run.dataset
    return f"{run.dataset}, {keep} documents ({'subset_retrain' if 'train' in parts else 'subset_of_test'})"


def _ranking(lists_NK: np.ndarray, gold, frequency: np.ndarray) -> dict[str, float | None]:
    """As the metrics of a run: propensities are not among what is shown, so their document count does not matter. None
    where there is no document."""
    if not len(lists_NK):
        return dict.fromkeys(RANKED)
    metrics = RankingMetrics(len(frequency), torch.from_numpy(frequency), max(int(frequency.max()), 1) + 1)
    metrics.update(torch.from_numpy(np.ascontiguousarray(lists_NK)), gold)
    values = metrics.compute()
    return {name: values[name] for name in RANKED}
