"""LACO's auxiliary tasks on label vectors: do two labels occur together (PLCP), and which follow from some (CLCP)?

Both draw anew every time a document is seen, from uniform random numbers that are given, so a seed repeats them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmtc.data.batch import Labels


def draw_pairs(labels: Labels, num_labels: int, uniform_BK4: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """K pairs of different labels for each document that has a label: documents (p,), first (p,), second (p,) and
    whether both are true (p,) bool.

    A pair is of two true labels with probability 1/3, else of a true and a false one (one to two, as LACO's candidate
    sets); a document with one label has no true pair, one with every label no false one, and one of one label among
    one neither. In random order, so that the order tells nothing. uniform: numbers in [0, 1).
    """
    count_B, K = labels.offsets.diff(), uniform_BK4.shape[1]
    together = uniform_BK4[:, :, 0] < 1 / 3
    together = (together & (count_B[:, None] > 1)) | (count_B[:, None] >= num_labels)
    usable_B = (count_B > 0) & (num_labels > 1)
    documents = torch.arange(len(labels), device=count_B.device)[usable_B].repeat_interleave(K)
    u, together = uniform_BK4[usable_B].flatten(0, 1), together[usable_B].flatten()
    count, start = count_B[documents], labels.offsets[documents]

    def below(u: Tensor, limit: Tensor) -> Tensor:
        """Whole numbers from 0 to limit - 1 (limit at least 1)."""
        limit = limit.clamp(min=1)
        return torch.minimum((u * limit).long(), limit - 1)

    one = below(u[:, 1], count)
    other = (one + 1 + below(u[:, 2], count - 1)) % count
    first, second = labels.ids[start + one], labels.ids[start + other]
    second = torch.where(together, second, _false(labels, documents, below(u[:, 2], num_labels - count)))
    swap = u[:, 3] < 0.5
    return documents, torch.where(swap, second, first), torch.where(swap, first, second), together


def _false(labels: Labels, documents: Tensor, number: Tensor) -> Tensor:
    """The label that is number `number` among those a document has not. Where it has all: any, which nobody reads."""
    rows = labels.rows()
    # true label at place q has ids[q] - q false ones before it; that many of them are at most `number` lie before
    before = labels.ids - (torch.arange(len(rows), device=rows.device) - labels.offsets[rows])
    stride = 1 << 32
    found = torch.searchsorted(rows * stride + before, documents * stride + number, right=True)
    return number + found - labels.offsets[documents]


def draw_given(labels: Labels, num_labels: int, size_B: Tensor, uniform_P: Tensor) -> Tensor:
    """(B, n) bool: for each document size_B of its true labels, any with equal chance (all if it has no more)."""
    rows = labels.rows()
    order = (rows + uniform_P.double()).argsort()  # within a document by the random number
    place = torch.arange(len(rows), device=rows.device) - labels.offsets[rows]
    chosen = order[place < size_B[rows]]
    given = torch.zeros(len(labels), num_labels, dtype=torch.bool, device=rows.device)
    given[rows[chosen], labels.ids[chosen]] = True
    return given


class PairTask(nn.Module):
    """PLCP: one logit of [h_i ; h_j]. pairs: drawn for each document and step."""

    def __init__(self, size: int, dropout: float = 0.1, pairs: int = 1):
        super().__init__()
        self.dropout, self.linear, self.pairs = nn.Dropout(dropout), nn.Linear(2 * size, 1), pairs

    def forward(self, labels_BnD: Tensor, labels: Labels, uniform_BK4: Tensor) -> Tensor:
        """Mean binary cross-entropy over the pairs; 0 without any."""
        documents, first, second, together = draw_pairs(labels, labels_BnD.shape[1], uniform_BK4)
        pair = torch.cat([labels_BnD[documents, first], labels_BnD[documents, second]], -1)
        logits = self.linear(self.dropout(pair)).squeeze(-1)
        loss = F.binary_cross_entropy_with_logits(logits, together.to(logits.dtype), reduction="sum")
        return loss / max(len(documents), 1)


class ConditionalTask(nn.Module):
    """CLCP: for every label y not given, one logit of [f(h_y) ; mean of g(h) over the given]; f and g are Linear, GELU,
    layer normalisation. The same for all labels."""

    def __init__(self, size: int):
        super().__init__()
        self.label, self.given = (nn.Sequential(nn.Linear(size, size), nn.GELU(), nn.LayerNorm(size)) for _ in range(2))
        self.linear = nn.Linear(2 * size, 1)

    def forward(self, labels_BnD: Tensor, labels: Labels, given_Bn: Tensor) -> Tensor:
        """Mean binary cross-entropy over the labels not given of documents with a given one; 0 without any."""
        count_B = given_Bn.sum(1)
        weights_Bn = given_Bn.to(labels_BnD.dtype) / count_B.clamp(min=1)[:, None]
        known_BD = (weights_Bn[:, None] @ self.given(labels_BnD)).squeeze(1)
        # [a ; b] W = a W1 + b W2: the pairs (B, n, 2D) are never built
        of_label, of_given = self.linear.weight.chunk(2, dim=1)
        logits_Bn = F.linear(self.label(labels_BnD), of_label).squeeze(-1) + F.linear(known_BD, of_given)
        logits_Bn = logits_Bn + self.linear.bias
        asked_Bn = ~given_Bn & (count_B > 0)[:, None]
        rows, columns = labels.inside(0, labels_BnD.shape[1])
        keep = asked_Bn[rows, columns]
        loss = (F.softplus(logits_Bn) * asked_Bn).sum() - logits_Bn[rows[keep], columns[keep]].sum()
        return loss / asked_Bn.sum().clamp(min=1)
