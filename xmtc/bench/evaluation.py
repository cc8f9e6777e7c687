"""Top 100 and all ranking metrics of many documents: on tensors in batches, against one document after the other."""

from __future__ import annotations

import numpy as np
import scipy.sparse
import torch

from xmtc.bench.compare import Bench
from xmtc.data.batch import Labels
from xmtc.execution.topk import best
from xmtc.metrics.frequency_bins import frequency_bins
from xmtc.metrics.propensity import inverse_propensities
from xmtc.metrics.ranking import RankingMetrics

KS, BATCH, KEPT = (1, 3, 5), 1024, 100


def evaluation(documents: int = 20_000, labels: int = 3_956, gold: int = 5) -> Bench:
    """EUR-Lex's number of labels. Both start from the (N, L) scores. The other way ranks a document with NumPy and
    looks its labels up in a scipy matrix. One thread each. facts.difference: the largest between the values of both."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(documents, labels, generator=generator)
    ids = torch.rand(documents, labels, generator=generator).topk(gold, dim=1).indices.sort(dim=1).values
    frequency = torch.bincount(ids.flatten(), minlength=labels)

    def ours() -> dict[str, float]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as many as the other way has
        try:
            return scored()
        finally:
            torch.set_num_threads(threads)

    def scored() -> dict[str, float]:
        metrics = RankingMetrics(labels, frequency, documents, ks=KS, sync_on_compute=False)
        for start in range(0, documents, BATCH):
            part = ids[start : start + BATCH]
            _, found = best(scores[start : start + BATCH], KEPT)
            metrics.update(found, Labels(part.flatten(), torch.arange(len(part) + 1) * gold))
        return metrics.compute()

    weights = inverse_propensities(frequency, documents, 0.55, 1.5)
    names, bins = frequency_bins(frequency)
    members = {name: bins[:labels].numpy() == number for number, name in enumerate(names)}
    places = np.repeat(np.arange(documents), gold)
    truth = scipy.sparse.csr_matrix((np.ones(len(places)), (places, ids.flatten().numpy())), (documents, labels))

    def baseline() -> dict[str, float]:
        return _one_by_one(scores.numpy(), truth, np.asarray(weights), members)

    mine, theirs = ours(), baseline()
    difference = max(abs(mine[name] - theirs[name]) for name in mine.keys() | theirs.keys())
    facts = {"documents": documents, "labels": labels, "metrics": len(mine)}
    return Bench(baseline, ours, facts | {"difference": difference})


def _one_by_one(scores: np.ndarray, truth: scipy.sparse.csr_matrix, weights: np.ndarray, members: dict) -> dict:
    """All metrics, a document at a time, as evaluation scripts do it. members: (L,) bool by bin of label frequency."""
    count, sums, discount = len(scores), {}, 1 / np.log2(np.arange(max(KS)) + 2)
    found_in = dict.fromkeys(members, 0)  # documents with a true label in the bin

    def add(name: str, value: float) -> None:
        sums[name] = sums.get(name, 0.0) + value

    for document in range(count):
        order = np.argsort(-scores[document])[:KEPT]
        true = truth[document].indices
        hits = np.isin(order, true)
        gains, ideal = weights[order] * hits, np.sort(weights[true])[::-1]
        for k in KS:
            add(f"P@{k}", hits[:k].sum() / k)
            add(f"nDCG@{k}", (hits[:k] * discount[:k]).sum() / discount[: min(k, len(true))].sum())
            add(f"R@{k}", hits[:k].sum() / len(true))
            add(f"R-precision@{k}", hits[:k].sum() / min(k, len(true)))
            add(f"PSP@{k}", gains[:k].sum())
            add(f"PSP@{k} at best", ideal[:k].sum())
            add(f"PSnDCG@{k}", (gains[:k] * discount[:k]).sum())
            add(f"PSnDCG@{k} at best", (ideal[:k] * discount[: len(ideal[:k])]).sum())
        for name, inside in members.items():
            relevant = int(inside[true].sum())
            if relevant == 0:
                continue
            found_in[name] += 1
            hits_inside = hits & inside[order]
            for k in KS:
                add(f"P@{k}/{name}", hits_inside[:k].sum() / k)
                dcg = (hits_inside[:k] * discount[:k]).sum()
                add(f"nDCG@{k}/{name}", dcg / discount[: min(k, relevant)].sum())
                add(f"R@{k}/{name}", hits_inside[:k].sum() / relevant)
    result = {}
    for name, value in sums.items():
        metric, _, inside = name.partition("/")
        if not name.endswith("at best"):
            documents = found_in[inside] if inside and not metric.startswith("P@") else count
            result[name] = value / sums.get(f"{name} at best", documents)
    return result
