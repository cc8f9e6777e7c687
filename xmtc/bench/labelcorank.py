"""LabelCoRank's choice of labels for a batch: sparse sums and one top-k, against a loop over documents and labels.

The training step around it: `labelcorank-step`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xmtc.bench.compare import Bench
from xmtc.encoders.cooccurrence import expand

ALPHA = 0.3


def partner_lists(ids_LM: Tensor, values_LM: Tensor) -> list[list[tuple[int, float]]]:
    """Of each label its partners and what it gives them, as the released code reads them."""
    return [list(zip(*row, strict=True)) for row in zip(ids_LM.tolist(), values_LM.tolist(), strict=True)]


def one_by_one(probabilities_BL: Tensor, lists: list[list[tuple[int, float]]], gamma: int, alpha: float) -> Tensor:
    """(B, gamma): `expand` as a loop, which does not fill up where partners run out."""
    chosen = []
    for document in probabilities_BL:
        p = document.tolist()
        first = sorted((i for i in range(len(p)) if p[i] > alpha), key=lambda i: (-p[i], i))
        if not first:
            first = sorted(range(len(p)), key=lambda i: (-p[i], i))[:5]
        first, scores = first[:gamma], {}
        for label in first:
            for other, value in lists[label]:
                scores[other] = scores.get(other, 0.0) + value
        ranked = sorted((i for i in scores if i not in first), key=lambda i: (-scores[i], i))
        chosen.append([*first, *ranked][:gamma])
    return torch.tensor(chosen)


def labelcorank(documents: int = 16, labels: int = 15_808, partners: int = 100, gamma: int = 35) -> Bench:
    """MAG-CS sizes of the paper. The baseline goes label by label as the released code does: for every label above
    alpha it walks its list of partners, adds up in a dictionary and sorts. Both start from (B, L) probabilities of
    which three labels a document exceed alpha; both answers are compared."""
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(documents, labels, generator=generator) * 0.2
    probabilities.scatter_(1, torch.randint(labels, (documents, 3), generator=generator), 0.9)
    ids = torch.randint(labels, (labels, partners), generator=generator)
    values = torch.rand(labels, partners, generator=generator).sort(1, descending=True).values
    lists = partner_lists(ids, values)

    def ours():
        return expand(probabilities, ids, values, gamma, ALPHA)

    def baseline():
        return one_by_one(probabilities, lists, gamma, ALPHA)

    same = bool((ours() == baseline()).all())
    facts = {"documents": documents, "labels": labels, "gamma": gamma, "same_answer": same}
    return Bench(baseline, ours, facts)
