"""A model of a few hundred weights, its documents and a trainer, for tests of what happens along training."""

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch.utils.data import DataLoader

from xmtc.data.embedding import Random
from xmtc.encoders.bow import BagOfWords
from xmtc.execution.dense import Dense
from xmtc.heads.lcenet import LCENet
from xmtc.metrics.ranking import RankingMetrics
from xmtc.training.checkpoints import DirectIO
from xmtc.training.module import XMTCModule
from xmtc.training.objectives import Objective
from xmtc.training.optimizers import AdamW
from xmtc.training.schedules import Schedule

L = 4


class Steps(pl.Callback):
    """The raw weights before training and after every optimiser step: `weights[step][name]`."""

    def __init__(self):
        self.weights, self.evaluated = {}, {}

    def keep(self, trainer, module):
        self.weights[trainer.global_step] = {k: v.detach().clone() for k, v in module.named_parameters()}

    def on_train_start(self, trainer, module):
        self.keep(trainer, module)

    def on_train_batch_end(self, trainer, module, *_):
        self.keep(trainer, module)

    def on_validation_epoch_end(self, trainer, module):
        self.evaluated[trainer.global_step] = {k: v.detach().clone() for k, v in module.named_parameters()}


@pytest.fixture
def make_module(make_vocabulary):
    """`make_module(freeze=True)`: a bag-of-words model with a head of one block; the same weights every time.
    execution: (decoder, head, objective) -> execution."""

    def make(freeze=False, lr=0.05, weight_decay=0.0, head_lr_factor=1.0, execution=Dense):
        torch.manual_seed(7)
        encoder = BagOfWords(make_vocabulary(8), None, Random(3, trainable=not freeze), dropout=0.0, word_dropout=0.0)
        decoder, head = encoder.make_decoder(L), LCENet(L, rank=2, blocks=1)
        metrics = RankingMetrics(L, torch.arange(1, L + 1), 10)
        return XMTCModule(
            encoder, decoder, head, execution(decoder, head, Objective()), metrics,
            lambda groups: AdamW(groups, lr=lr, weight_decay=weight_decay), Schedule("constant"), head_lr_factor,
        )  # fmt: skip

    return make


@pytest.fixture
def batches(bag_batch):
    """Five batches of two documents."""
    made = [
        bag_batch([{2 + i % 5: 1, 3: 1 + i}, {4: 1, 5 + i % 3: 2}], [[i % L], [0, 3]]) for i in range(5)
    ]  # fmt: skip
    for i, batch in enumerate(made):
        batch.documents = batch.documents + 2 * i
    return made


class Batches(pl.LightningDataModule):
    """Goes on in the middle of an epoch, as XMTCData does."""

    def __init__(self, train, validation):
        super().__init__()
        self.train, self.validation, self.done = train, validation, 0

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=None, sampler=self)

    def __iter__(self):
        done, self.done = self.done, 0
        yield from range(done, len(self.train))

    def __len__(self):
        return len(self.train)

    def val_dataloader(self):
        return DataLoader(self.validation, batch_size=None) if self.validation else []

    def state_dict(self):
        return {"done": self.trainer.fit_loop.epoch_loop.batch_progress.current.completed % len(self.train)}

    def load_state_dict(self, state):
        self.done = state["done"]


@pytest.fixture
def fit(batches, tmp_path):
    """`fit(module, *callbacks, max_epochs=2)`: trains on `batches` and validates on the first two."""

    def run(module, *callbacks, ckpt_path=None, validate=True, **options):
        defaults = {"max_epochs": 2, "val_check_interval": 2, "check_val_every_n_epoch": None} if validate else {}
        trainer = pl.Trainer(
            **{"max_epochs": 2} | defaults | options,
            accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
            enable_checkpointing=any(isinstance(c, Checkpoint) for c in callbacks), num_sanity_val_steps=0,
            default_root_dir=tmp_path, callbacks=[*callbacks], plugins=[DirectIO()],
        )  # fmt: skip
        data = Batches(batches, batches[:2] if validate else [])
        trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
        return trainer

    return run


@pytest.fixture
def steps():
    return Steps()
