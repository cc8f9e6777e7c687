"""LabelCoRank's choice of labels for a batch: sparse sums and one top-k, against a loop over documents and labels."""

from __future__ import annotations

import torch

from xmtc.bench.compare import Bench
from xmtc.encoders.cooccurrence import expand

ALPHA = 0.3


def labelcorank(documents: int = 16, labels: int = 15_808, partners: int = 100, gamma: int = 35) -> Bench:
    """MAG-CS sizes of the paper. The baseline goes label by label as the released code does: for every label above
    alpha it walks its list of partners, adds up in a dictionary and sorts. Both start from (B, L) probabilities of
    which three labels a document exceed alpha; both answers are compared."""
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(documents, labels, generator=generator) * 0.2
    probabilities.scatter_(1, torch.randint(labels, (documents, 3), generator=generator), 0.9)
    ids = torch.randint(labels, (labels, partners), generator=generator)
    values = torch.rand(labels, partners, generator=generator).sort(1, descending=True).values
    lists = [list(zip(row, own, strict=True)) for row, own in zip(ids.tolist(), values.tolist(), strict=True)]

    def ours():
        return expand(probabilities, ids, values, gamma, ALPHA)

    def baseline():
        chosen = []
        for document in probabilities:
            p = document.tolist()
            first = sorted((i for i in range(labels) if p[i] > ALPHA), key=lambda i: (-p[i], i))
            if not first:
                first = sorted(range(labels), key=lambda i: (-p[i], i))[:5]
            first, scores = first[:gamma], {}
            for label in first:
                for other, value in lists[label]:
                    scores[other] = scores.get(other, 0.0) + value
            ranked = sorted((i for i in scores if i not in first), key=lambda i: (-scores[i], i))
            chosen.append([*first, *ranked][:gamma])
        return torch.tensor(chosen)

    same = bool((ours() == baseline()).all())
    facts = {"documents": documents, "labels": labels, "gamma": gamma, "same_answer": same}
    return Bench(baseline, ours, facts)
