"""Loaders that draw no random numbers from the model's generator."""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader


class Loader(DataLoader):
    """Whole batches of documents. torch's loader draws a seed for its workers each round, by default from the generator
    that dropout uses: a run with another number of evaluations would then see other masks."""

    def __init__(self, documents, sampler, workers: int = 0, pin: bool = False):
        super().__init__(
            documents,
            batch_size=None,
            sampler=sampler,
            pin_memory=pin,
            num_workers=workers,
            persistent_workers=workers > 0,
            generator=torch.Generator().manual_seed(0),
        )
