"""The LightningModule: encoder, decoder and head under one objective, scored from top-k lists."""

from __future__ import annotations

from collections.abc import Callable

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from xmtc.data.batch import Batch, placeholder
from xmtc.decoders.base import LabelDecoder
from xmtc.encoders.base import Encoded, Encoder
from xmtc.errors import InputError
from xmtc.heads.block import CorrelationHead
from xmtc.metrics.label_sets import LabelSetMetrics
from xmtc.metrics.ranking import RankingMetrics
from xmtc.training.label_state import own_checkpoint, whole_checkpoint
from xmtc.training.micro_batches import encode
from xmtc.training.optimizers import parameter_groups, scaled
from xmtc.training.results import KEPT, SETS


def _share(batch: Batch) -> Tensor | float:
    """W n / N for n of the N documents that W processes take in this step: DDP averages gradients over processes, and
    the last batch of an epoch may not be the same size in all of them. Stays on the device, a GPU is not waited for."""
    if not (dist.is_available() and dist.is_initialized()):
        return 1.0
    together = torch.full((), float(len(batch)), device=batch.documents.device)  # filled there, not copied
    dist.all_reduce(together)
    return dist.get_world_size() * len(batch) / together


class XMTCModule(pl.LightningModule):
    """Asks the execution for `loss` and `topk` only.

    optimizer: parameter groups -> optimizer. schedule: optimizer, total steps -> factor of the learning rate per step.
    k: labels kept of each document in evaluation. collector: where a full evaluation leaves its top-k lists.
    head_lr_factor: of the optimiser's learning rate, for the head's parameters. sets: in validation also micro- and
    macro-F1 of the labels with a probability of at least one half, among the KEPT best.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: LabelDecoder,
        head: CorrelationHead,
        execution,
        metrics: RankingMetrics,
        optimizer: Callable,
        schedule: Callable,
        head_lr_factor: float = 1.0,
        sets: bool = False,
    ):
        super().__init__()
        self.encoder, self.decoder, self.head = encoder, decoder, head
        self.execution, self.metrics = execution, metrics
        self.make_optimizer, self.make_schedule = optimizer, schedule
        self.head_lr_factor = execution.head_lr_factor = head_lr_factor
        self.raw_metrics = metrics.clone() if len(head.blocks) else None  # of the logits before the head
        # a logit of 0 is a probability of one half
        self.set_metrics = LabelSetMetrics(decoder.num_labels, threshold=0.0) if sets else None
        self.k = max(metrics.ks)
        self.collector = None
        self.micro_batch: int | None = None  # documents that are encoded at a time in training; null: all
        self.scores: dict[str, float] = {}  # of the last evaluation

    def training_step(self, batch: Batch, _: int) -> Tensor:
        share = _share(batch)
        encoded = encode(self.encoder, batch, self.micro_batch)
        loss = encoded.main_weight * self.execution.loss(encoded, batch.labels.repeated(encoded.readings))
        loss = loss if self.execution.collective else share * loss
        for name, auxiliary in (encoded.auxiliary | self.decoder.auxiliary(encoded)).items():
            loss = loss + share * auxiliary
            self.log(f"train/{name}", auxiliary.detach(), batch_size=len(batch))
        return loss

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None) -> None:
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        # Lightning would keep them through the next forward pass and every evaluation
        self.zero_grad()

    def _evaluate(
        self, batch: Batch, raw_metrics: RankingMetrics | None = None, set_metrics: LabelSetMetrics | None = None
    ) -> None:
        if len(batch) == 0 and not self.execution.collective:
            return
        encoded = self.encoder(batch) if len(batch) else self._nothing()  # another process still has documents
        k = self.k if set_metrics is None else max(self.k, min(KEPT, set_metrics.num_labels))
        if raw_metrics is None:
            scores, labels = self.execution.topk(encoded, k)
        else:
            width = max(raw_metrics.ks)
            (_, raw), (scores, labels) = self.execution.raw_and_enhanced_topk(encoded, width, k)
        if len(batch) == 0:
            return
        self.metrics.update(labels[:, : max(self.metrics.ks)], batch.labels)
        if raw_metrics is not None:
            raw_metrics.update(raw, batch.labels)
        if set_metrics is not None:
            set_metrics.update(labels, scores, batch.labels)
        if self.collector is not None:
            self.collector.add(batch.documents, labels, scores)

    def _nothing(self) -> Encoded:
        """Features of no document, in the shape that the encoder gives them."""
        encoded = self.encoder(placeholder(self.device))
        mask = None if encoded.mask is None else encoded.mask[:0]
        return Encoded(encoded.features[:0], mask)

    def on_validation_epoch_start(self) -> None:
        self.execution.rest()
        self.metrics.reset()
        if self.raw_metrics is not None:
            self.raw_metrics.reset()
        if self.set_metrics is not None:
            self.set_metrics.reset()

    def validation_step(self, batch: Batch, _: int) -> None:
        self._evaluate(batch, self.raw_metrics, self.set_metrics)

    def on_validation_epoch_end(self) -> None:
        self._report("val")
        if self.raw_metrics is not None:  # beside the curves of the enhanced logits, to see what the head does
            raw = self.raw_metrics.compute()
            chosen = {f"{name}@{k}" for name in ("P", "nDCG") for k in self.metrics.ks}
            self.log_dict({f"val/raw/{name}": raw[name] for name in chosen}, sync_dist=False)
        if self.set_metrics is not None:
            sets = self.set_metrics.compute()
            self.log_dict({f"val/{name}": sets[name] for name in SETS}, sync_dist=False)

    def _report(self, prefix: str) -> None:
        """Keeps the scores in full precision (Lightning logs float32). Every process holds the same sums, so nothing is
        left to synchronise."""
        self.scores = self.metrics.compute()
        self.log_dict({f"{prefix}/{name}": value for name, value in self.scores.items()}, sync_dist=False)

    def on_test_epoch_start(self) -> None:
        self.metrics.reset()

    def test_step(self, batch: Batch, _: int) -> None:
        self._evaluate(batch)

    def on_test_epoch_end(self) -> None:
        self._report("test")

    def configure_model(self) -> None:
        """The processes are known now: label rows may be shared out, or taken over by an update in the sweeps."""
        own = {id(tensor) for tensor in self.execution.start()}
        if own and not any(p.requires_grad for p in self.parameters() if id(p) not in own):  # DDP would refuse it
            raise InputError(
                "execution=sharded: all weights but label rows are frozen, so nothing is left that processes share;"
                " unfreeze the encoder, take a head, or use execution=dense or chunked"
            )
        tensors = [*self.named_parameters(), *self.named_buffers()]
        names = [name for name, tensor in tensors if id(tensor) in own]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self, names)

    def _apply(self, fn, recurse=True):
        """Of `to`, `cuda`, `cpu`. The execution may own states of label rows, and is no module itself."""
        super()._apply(fn, recurse)
        self.execution.move(next(self.parameters()).device)
        return self

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        whole_checkpoint(self, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        own_checkpoint(self, checkpoint)

    def learning_rate_factors(self) -> dict[torch.nn.Parameter, float]:
        """Of the head; parts of the model may name more of their own, and all are multiplied."""
        return dict.fromkeys(self.head.parameters(), self.head_lr_factor)

    def configure_optimizers(self):
        groups = parameter_groups(self)
        if not groups:
            raise InputError(
                "nothing is left to the optimiser: all weights are frozen but label rows that execution.update trains;"
                " unfreeze the encoder, or set execution.update=null"
            )
        optimizer = scaled(self.make_optimizer(groups))
        self.execution.follow(optimizer)
        total = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.make_schedule(step, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
