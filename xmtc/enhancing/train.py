"""Training of a head on stored scores: logits in, logits out, no encoder."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator

import numpy as np
import torch

from xmtc.data.batch import Labels
from xmtc.data.lists import take_labels
from xmtc.enhancing.scores import Scale, Scores
from xmtc.execution.topk import best
from xmtc.heads.block import CorrelationHead
from xmtc.metrics.ranking import RankingMetrics
from xmtc.training.objectives import Objective

log = logging.getLogger("xmtc.enhance")
LOGITS = 1 << 26  # numbers in one (B, L) tensor: 256 MiB


class HeadTraining:
    """Binary cross-entropy, summed over labels; AdamW with a linear decay to zero; the epoch that is best on validation
    (nDCG@5) is kept, the start, which changes no score, included.

    metrics: makes the metrics of one evaluation. Memory: about six (B, L) tensors a block of the head.
    """

    def __init__(
        self, head: CorrelationHead, scale: Scale, metrics: Callable[[], RankingMetrics], batch_size: int, seed: int
    ):
        self.head, self.scale, self.metrics, self.seed = head, scale, metrics, seed
        self.batch_size, self.objective = batch_size, Objective()

    def fit(self, scores: Scores, gold: Labels, train: np.ndarray, held: tuple, epochs: int, lr: float, decay: float):
        """held: (scores, gold, rows) of the validation documents. Returns their nDCG@5 at the start and after each
        epoch."""
        size = self._size(scores)
        random = np.random.default_rng(self.seed)
        optimizer = torch.optim.AdamW(self.head.parameters(), lr=lr, weight_decay=decay)
        steps = epochs * -(-len(train) // size)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, 1 - step / max(steps, 1)))
        seen = [self.score(*held)["nDCG@5"]]
        kept = copy.deepcopy(self.head.state_dict())
        log.info("validation nDCG@5 %.2f before", 100 * seen[0])
        for epoch in range(epochs):
            self.head.train()
            total = 0.0
            for rows in _batches(train[random.permutation(len(train))], size):
                loss = self.objective(self.head(scores.rows(rows, self.scale)), take_labels(gold, rows))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                total += loss.item() * len(rows)
            seen.append(self.score(*held)["nDCG@5"])
            if seen[-1] > max(seen[:-1]):
                kept = copy.deepcopy(self.head.state_dict())
            log.info("epoch %d: loss %.4f, validation nDCG@5 %.2f", epoch + 1, total / len(train), 100 * seen[-1])
        self.head.load_state_dict(kept)
        return seen

    def score(self, scores: Scores, gold: Labels, rows: np.ndarray, raw: bool = False) -> dict[str, float]:
        metrics = self.metrics()
        for part, labels, _ in self.rankings(scores, rows, metrics.max_k, raw):
            metrics.update(torch.from_numpy(labels), take_labels(gold, part))
        return metrics.compute()

    def rankings(self, scores: Scores, rows: np.ndarray, k: int, raw: bool = False) -> Iterator[tuple]:
        """(documents, labels (B, k), logits (B, k)) of one batch after another; raw: without the head."""
        self.head.eval()
        for part in _batches(rows, self._size(scores)):
            with torch.inference_mode():
                logits = scores.rows(part, self.scale)
                values, labels = best(logits if raw else self.head(logits), k)
            yield part, labels.numpy(), values.numpy()

    def _size(self, scores: Scores) -> int:
        return max(1, min(self.batch_size, LOGITS // scores.num_labels))


def _batches(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return np.split(rows, np.arange(size, len(rows), size)) if len(rows) else []
