"""The top-k lists of an evaluation and the file they are kept in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.distributed
from torch import Tensor

from xmtc.data.batch import Labels
from xmtc.data.lists import Lists


class Predictions:
    """labels (N, K) int64, best first; scores (N, K) float32, probabilities. Never an (N, L) array."""

    def __init__(self, documents: int, k: int):
        self.labels = np.zeros((documents, k), np.int64)
        self.scores = np.zeros((documents, k), np.float32)
        self._seen = np.zeros(documents, bool)

    def add(self, documents: Tensor, labels: Tensor, logits: Tensor) -> None:
        rows = documents.cpu().numpy()
        self.labels[rows] = labels.cpu().numpy()
        self.scores[rows] = torch.sigmoid(logits).cpu().numpy()
        self._seen[rows] = True

    def gather(self) -> None:
        """Brings the lists of all processes together, on every process."""
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return
        mine = np.flatnonzero(self._seen)
        pieces = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(pieces, (mine, self.labels[mine], self.scores[mine]))
        for rows, labels, scores in pieces:
            self.labels[rows], self.scores[rows] = labels, scores

    def save(self, path: Path, gold: Labels, unseen: list[str]) -> None:
        Lists(self.labels, self.scores, gold, unseen).save(path)
