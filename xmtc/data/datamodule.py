"""A store's parts as Lightning dataloaders."""

from __future__ import annotations

import logging
import math
from fractions import Fraction

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from xmtc.data.collate import Documents, Layout
from xmtc.data.sampler import EvaluationSampler, TrainingSampler
from xmtc.data.store import Store
from xmtc.data.text import Text
from xmtc.errors import InputError

log = logging.getLogger(__name__)
SPLIT_SEED = 1240  # the validation split of the papers' code


class XMTCData(pl.LightningDataModule):
    """Batches of a store.

    batch_size, evaluation_batch_size: documents a process. validation_size: documents (or, below 1, the share) taken
    from train when the corpus has no validation part, always the same ones. bucketing: batches of similar length.
    micro_batch: documents that the encoder takes at a time in training (training/micro_batches.py), null for all.
    workers: loader processes a process. limit: documents kept of each part, null for all (`debug=fast`). fraction:
    share of the training documents that is trained on, always the same ones, a larger share holding every smaller one;
    what the store knows of them all (vocabulary, labels, frequencies for metrics) stays, as do validation and test.
    reads_padding: of the encoder; evaluation then pads every batch to `width`, so that neither the size of a batch nor
    the number of processes changes a score. distinct: of the encoder, see `Documents`.
    """

    def __init__(
        self,
        store: Store,
        text: Text,
        layout: Layout,
        seed: int,
        batch_size: int = 64,
        evaluation_batch_size: int | None = None,
        validation_size: int | float = 1000,
        bucketing: bool = False,
        workers: int = 0,
        limit: int | None = None,
        fraction: float = 1.0,
        reads_padding: bool = False,
        micro_batch: int | None = None,
        distinct: bool = False,
    ):
        super().__init__()
        self.store, self.text, self.seed = store, text, seed
        self.batch_size, self.micro_batch = batch_size, micro_batch
        self.evaluation_batch_size = evaluation_batch_size or batch_size
        self.bucketing, self.workers = bucketing, workers
        self._resumed: dict | None = None  # where in which epoch a checkpoint was written
        train, validation = split(store, validation_size)
        if "validation" not in store.parts:
            log.info("validation: %d documents split off train (seed %d)", len(validation), SPLIT_SEED)
            if len(validation) > len(train):
                log.warning("%d documents are left to train on; dataset.validation_size sets how many are split off",
                            len(train))  # fmt: skip
        train = share_of(train, fraction)
        parts = store.parts
        held = parts["validation"] if "validation" in parts else parts["train"]
        padding = store.vocabulary.padding
        self.train = Documents(parts["train"], text, layout, train[:limit], padding, distinct=distinct)
        # the longest of all training documents, whatever `limit` keeps
        self.width = int(Documents(parts["train"], text, layout).lengths().max()) if reads_padding else 1
        self.validation = Documents(held, text, layout, validation[:limit], padding, self.width, distinct)
        tested = np.arange(len(parts["test"]))[:limit]
        self.test = Documents(parts["test"], text, layout, tested, padding, self.width, distinct)

    def train_label_counts(self) -> np.ndarray:
        """(L,) int64: training documents of each label, validation documents left out."""
        return np.bincount(self.train.gold().ids.numpy(), minlength=self.store.num_labels)

    def _loader(self, documents: Documents, sampler) -> DataLoader:
        """Of whole batches. torch's loader draws a seed for its workers each round, by default from the generator that
        dropout uses: a run with another number of evaluations would then see other masks."""
        return DataLoader(
            documents,
            batch_size=None,
            sampler=sampler,
            pin_memory=self.trainer is not None and type(self.trainer.accelerator).__name__ == "CUDAAccelerator",
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            generator=torch.Generator().manual_seed(0),
        )

    def _place(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def train_dataloader(self) -> DataLoader:
        lengths = self.train.lengths() if self.bucketing else None
        rank, processes = self._place()
        if len(self.train) < processes:
            raise InputError(f"trainer.devices: {processes} processes for {len(self.train)} training documents")
        self._order = TrainingSampler(len(self.train), self.batch_size, self.seed, rank, processes, lengths)
        if self._resumed:
            self._order.begin(**self._resumed)
            self._resumed = None
        return self._loader(self.train, self._order)

    def state_dict(self) -> dict:
        """Lightning saves it with the checkpoint. Steps that the loop has done: those fetched ahead do not count. An
        epoch may end before all documents were seen (trainer.limit_train_batches)."""
        done = self.trainer.fit_loop.epoch_loop.batch_progress.current.completed
        ended = done >= self.trainer.num_training_batches
        return {"epoch": self._order.epoch + ended, "steps": 0 if ended else done}

    def load_state_dict(self, state: dict) -> None:
        self._resumed = state

    def _evaluation(self, documents: Documents) -> DataLoader:
        return self._loader(documents, EvaluationSampler(len(documents), self.evaluation_batch_size, *self._place()))

    def val_dataloader(self) -> DataLoader:
        return self._evaluation(self.validation)

    def test_dataloader(self) -> DataLoader:
        return self._evaluation(self.test)


def share_of(numbers: np.ndarray, fraction: float) -> np.ndarray:
    """The first documents of one fixed random order, in corpus order: `count_of` them."""
    order = np.random.default_rng(SPLIT_SEED).permutation(len(numbers))
    return numbers[np.sort(order[: count_of(fraction, len(numbers))])]


def count_of(fraction: float, documents: int) -> int:
    """ceil(fraction N), of the decimal number that was written: as floats 0.07 * 100 is more than 7."""
    return math.ceil(Fraction(str(fraction)) * documents)


def split(store: Store, validation_size: int | float) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the training and of the validation documents, each in its part of the store: a corpus without a
    validation part gives some of its training documents. InputError: not that many are there."""
    size = len(store.parts["train"])
    everything = np.arange(size)
    if "validation" in store.parts:
        return everything, np.arange(len(store.parts["validation"]))
    share = isinstance(validation_size, float) and validation_size < 1
    count = math.ceil(validation_size * size) if share else validation_size  # as scikit-learn rounds
    if not 0 < count < size or count != int(count):
        raise InputError(
            f"dataset.validation_size: expected 1 to {size - 1} of {size} documents, got {validation_size}"
        )
    from sklearn.model_selection import train_test_split

    train, validation = train_test_split(everything, test_size=int(count), random_state=SPLIT_SEED)
    return np.sort(train), np.sort(validation)


def trained_on(store: Store, data: dict) -> np.ndarray:
    """Numbers of the documents of the store's training part that a run with these settings of `data` learns from."""
    train, _ = split(store, data["validation_size"])
    return share_of(train, data.get("fraction", 1.0))[: data.get("limit")]
