"""Which documents each step sees. No sampler pads, so no document is ever counted twice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class TrainingSampler(Sampler):
    """Shuffled batches, the same for any number of processes: step s of W processes of batch B takes the documents that
    one process of batch W B would take. The last, shorter batch is kept unless it has fewer documents than processes.

    lengths: given, batches hold documents of similar length (sorted within a window of `window` batches), which saves
    padding; the order of batches stays random. The order depends on (seed, epoch) alone.
    """

    def __init__(self, size, batch_size, seed, rank=0, world_size=1, lengths: np.ndarray | None = None, window=50):
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.rank, self.world_size, self.lengths, self.window = rank, world_size, lengths, window
        self.epoch = self.done = 0

    def begin(self, epoch: int, steps: int) -> None:
        """The next round goes on behind the first `steps` steps of that epoch; behind its last, with the next epoch."""
        self.epoch, self.done = (epoch, steps) if steps < len(self) else (epoch + 1, 0)

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        together = self.batch_size * self.world_size
        rest = self.size % together
        return self.size // together + (rest >= self.world_size)

    def __iter__(self) -> Iterator[np.ndarray]:
        random = np.random.default_rng([self.seed, self.epoch])
        order = random.permutation(self.size)
        together = self.batch_size * self.world_size
        steps = np.arange(-(-self.size // together))
        if self.lengths is not None:
            window = together * self.window
            for start in range(0, self.size, window):
                piece = order[start : start + window]
                order[start : start + window] = piece[np.argsort(self.lengths[piece], kind="stable")]
            random.shuffle(steps)
        done, self.done = self.done, 0
        for step in steps[steps < len(self)][done:]:
            batch = order[step * together : (step + 1) * together]
            yield np.array_split(batch, self.world_size)[self.rank]


class EvaluationSampler(Sampler):
    """Every document once, in order. Each process takes one run of neighbours; all take the same number of steps, the
    last ones possibly on an empty batch, so that collectives never wait for a process that has finished."""

    def __init__(self, size, batch_size, rank=0, world_size=1):
        self.mine = np.array_split(np.arange(size), world_size)[rank]
        self.batch_size = batch_size
        self.steps = -(-(-(-size // world_size)) // batch_size)

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[np.ndarray]:
        for step in range(self.steps):
            yield self.mine[step * self.batch_size : (step + 1) * self.batch_size]
