"""Labels as a sequence: an LSTM over what was emitted so far that attends to a text and emits each label once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xmtc.data.batch import Labels


def label_sequences(labels: Labels, rank_L: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Labels of every document by ascending rank, then the end, whose number is L: (B, S) int64, filled up with ends;
    and how many of them count (B,). A document keeps its first `most` labels, and has then no end."""
    L = len(rank_L)
    rows, ids = labels.inside(0, L)
    order = (rows * L + rank_L[ids]).argsort()
    ids = ids[order]  # the rows were in order
    counts_B = torch.bincount(rows, minlength=len(labels))
    places = torch.arange(len(rows), device=rows.device) - (counts_B.cumsum(0) - counts_B)[rows]
    steps_B = (counts_B + 1).clamp(max=most)
    sequences_BS = torch.full((len(labels), int(steps_B.max())), L, device=rows.device)
    kept = places < sequences_BS.shape[1]
    sequences_BS[rows[kept], places[kept]] = ids[kept]
    return sequences_BS, steps_B


@dataclass
class Source:
    """A text as the decoder reads it: states (B, T, D), mask (B, T), and the decoder's first hidden state (B, D)."""

    states: Tensor
    mask: Tensor
    first: Tensor


class SequenceDecoder(nn.Module):
    """Distributions over L labels and the end, number L.

    size: D, of its states and of the text's. label_size: E, of a label's vector. mixed: whether a step is fed the gated
    mix of the label before and of all labels by their probabilities there; else that label alone.
    A step costs 2BTD + 2B(L + 1)D for the answer and, mixed, 2BLE for the mix; training keeps its (B, L) numbers.
    """

    def __init__(self, num_labels: int, size: int, label_size: int, layers: int, mixed: bool, dropout: float):
        super().__init__()
        self.num_labels = num_labels
        self.labels = nn.Embedding(num_labels, label_size)
        self.start = nn.Parameter(torch.randn(label_size))
        self.gate = nn.Linear(2 * label_size, label_size) if mixed else None
        self.cells = nn.ModuleList(nn.LSTMCell(size if i else label_size, size) for i in range(layers))
        self.query, self.join = nn.Linear(size, size, bias=False), nn.Linear(2 * size, size)
        self.output, self.end = nn.Linear(size, num_labels), nn.Linear(size, 1)
        self.dropout = nn.Dropout(dropout)

    def log_likelihood(self, source: Source, sequences_BS: Tensor, steps_B: Tensor) -> Tensor:
        """(B,) of the first steps_B of the given sequences, each step knowing the true labels before it."""
        total_B, walk = 0.0, self._begin(source)
        for step, true_B in enumerate(sequences_BS.unbind(1)):
            log_probabilities, walk = self._step(source, walk)
            total_B = total_B + log_probabilities.gather(1, true_B[:, None]).squeeze(1) * (step < steps_B)
            walk = self._emit(walk, log_probabilities, true_B)
        return total_B

    def greedy(self, source: Source, most: int) -> Tensor:
        """(B, L) logits of the sequences of most probable labels, until all ended or are `most` labels long.

        An emitted label's is its probability when it was emitted plus the number of labels emitted after it: above 0,
        in the order of emission. Another's is the logarithm of its best probability in its document's steps: below 0,
        for some other answer was at least as probable.
        """
        L, walk, best_BL, emitted, values = self.num_labels, self._begin(source), None, [], []
        alive_B = torch.ones(len(source.states), dtype=torch.bool, device=source.states.device)
        for _ in range(min(most, L + 1)):
            log_probabilities, walk = self._step(source, walk)
            value_B, label_B = log_probabilities.max(1)
            label_B = label_B.where(alive_B, L)
            if best_BL is None:
                best_BL = log_probabilities
            else:  # what comes behind the end, while others go on, is nobody's
                best_BL = torch.maximum(best_BL, log_probabilities).where(alive_B[:, None], best_BL)
            emitted.append(label_B)
            values.append(value_B)
            alive_B = alive_B & (label_B < L)
            if not alive_B.any():
                break
            walk = self._emit(walk, log_probabilities, label_B)
        emitted_BS, values_BS = torch.stack(emitted, 1), torch.stack(values, 1)
        later_BS = (emitted_BS < L).sum(1, keepdim=True) - 1 - torch.arange(len(emitted), device=emitted_BS.device)
        return best_BL.scatter(1, emitted_BS, later_BS + values_BS.exp())[:, :L]

    def _begin(self, source: Source) -> _Walk:
        hidden = [source.first] * len(self.cells)
        memory = [torch.zeros_like(source.first)] * len(self.cells)
        gone = torch.zeros(len(source.first), self.num_labels + 1, dtype=torch.bool, device=source.first.device)
        return _Walk(hidden, memory, self.start.expand(len(source.first), -1), gone)

    def _step(self, source: Source, walk: _Walk) -> tuple[Tensor, _Walk]:
        """Log probabilities (B, L + 1) in at least float32, those of labels that were emitted -inf."""
        x, hidden, memory = walk.fed, [], []
        for i, cell in enumerate(self.cells):
            x, c = cell(self.dropout(x) if i else x, (walk.hidden[i], walk.memory[i]))
            hidden.append(x)
            memory.append(c)
        scores_BT = (source.states @ self.query(x)[:, :, None]).squeeze(2).masked_fill(~source.mask, float("-inf"))
        weights_BT = torch.softmax(scores_BT, 1, dtype=torch.promote_types(scores_BT.dtype, torch.float32))
        context_BD = (weights_BT.to(source.states.dtype)[:, None] @ source.states).squeeze(1)
        answer_BD = self.dropout(torch.tanh(self.join(torch.cat([context_BD, x], 1))))
        logits = torch.cat([self.output(answer_BD), self.end(answer_BD)], 1).masked_fill(walk.gone, float("-inf"))
        log_probabilities = torch.log_softmax(logits, 1, dtype=torch.promote_types(logits.dtype, torch.float32))
        return log_probabilities, _Walk(hidden, memory, walk.fed, walk.gone)

    def _emit(self, walk: _Walk, log_probabilities: Tensor, label_B: Tensor) -> _Walk:
        """After label_B; after an end anything may follow. The end's share of the mix is the zero vector."""
        L = self.num_labels
        fed_BE = self.labels(label_B.clamp(max=L - 1))
        if self.gate is not None:
            mix_BE = log_probabilities[:, :L].exp().to(fed_BE.dtype) @ self.labels.weight
            share_BE = torch.sigmoid(self.gate(torch.cat([fed_BE, mix_BE], 1)))
            fed_BE = (1 - share_BE) * fed_BE + share_BE * mix_BE
        gone = walk.gone.scatter(1, label_B[:, None], label_B[:, None] < L)
        return _Walk(walk.hidden, walk.memory, fed_BE, gone)


@dataclass
class _Walk:
    """Between two steps: hidden and memory (B, D) of each layer, what is fed next (B, E), which labels are gone."""

    hidden: list[Tensor]
    memory: list[Tensor]
    fed: Tensor
    gone: Tensor
