"""Top 100 and all ranking metrics of many documents: on tensors in batches, against one document after the other."""

from __future__ import annotations

import numpy as np
import scipy.sparse
import torch

from xmtc.bench.compare import Bench
from xmtc.data.batch import Labels
from xmtc.execution.topk import best
from xmtc.metrics.propensity import inverse_propensities
from xmtc.metrics.ranking import RankingMetrics

KS, BATCH, KEPT = (1, 3, 5), 256, 100


def evaluation(documents: int = 20_000, labels: int = 3_956, gold: int = 5) -> Bench:
    """EUR-Lex's number of labels. Both start from the (N, L) scores. The other way ranks a document with NumPy and
    looks its labels up in a scipy matrix. facts.difference: largest between the values that both compute."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(documents, labels, generator=generator)
    ids = torch.rand(documents, labels, generator=generator).topk(gold, dim=1).indices.sort(dim=1).values
    frequency = torch.bincount(ids.flatten(), minlength=labels)

    def ours() -> dict[str, float]:
        metrics = RankingMetrics(labels, frequency, documents, ks=KS, sync_on_compute=False)
        for start in range(0, documents, BATCH):
            part = ids[start : start + BATCH]
            _, found = best(scores[start : start + BATCH], KEPT)
            metrics.update(found, Labels(part.flatten(), torch.arange(len(part) + 1) * gold))
        return metrics.compute()

    weights = inverse_propensities(frequency, documents, 0.55, 1.5)
    places = np.repeat(np.arange(documents), gold)
    truth = scipy.sparse.csr_matrix((np.ones(len(places)), (places, ids.flatten().numpy())), (documents, labels))

    def baseline() -> dict[str, float]:
        return _one_by_one(scores.numpy(), truth, np.asarray(weights), np.asarray(frequency))

    mine, theirs = ours(), baseline()
    difference = max(abs(mine[name] - theirs[name]) for name in theirs)
    facts = {"documents": documents, "labels": labels, "compared": len(theirs), "of": len(mine)}
    return Bench(baseline, ours, facts | {"difference": difference})


def _one_by_one(scores: np.ndarray, truth: scipy.sparse.csr_matrix, weights: np.ndarray, frequency: np.ndarray) -> dict:
    """P@k, nDCG@k, R@k, R-precision@k, PSP@k and PSnDCG@k, a document at a time, as evaluation scripts do."""
    count, sums, discount = len(scores), {}, 1 / np.log2(np.arange(max(KS)) + 2)
    for document in range(count):
        order = np.argsort(-scores[document])[:KEPT]
        row = truth[document]
        hits = np.isin(order, row.indices)
        relevant = row.nnz
        gains = weights[order] * hits
        ideal = np.sort(weights[row.indices])[::-1]
        for k in KS:
            first, best_possible = hits[:k], min(k, relevant)
            found = {
                f"P@{k}": first.sum() / k,
                f"nDCG@{k}": (first * discount[:k]).sum() / discount[:best_possible].sum(),
                f"R@{k}": first.sum() / relevant,
                f"R-precision@{k}": first.sum() / best_possible,
                f"PSP@{k}": gains[:k].sum(),
                f"PSP@{k} at best": ideal[:k].sum(),
                f"PSnDCG@{k}": (gains[:k] * discount[:k]).sum(),
                f"PSnDCG@{k} at best": (ideal[:k] * discount[: len(ideal[:k])]).sum(),
            }
            for name, value in found.items():
                sums[name] = sums.get(name, 0.0) + value
    result = {}
    for name, value in sums.items():
        if not name.endswith("at best"):
            result[name] = value / sums.get(f"{name} at best", count)
    return result
