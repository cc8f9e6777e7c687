"""Chunked execution: the label side in sweeps over label chunks; memory O(B chunk + B R), exact (sweeps.py)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from xmtc.bounds import Count, Probability
from xmtc.data.batch import Labels
from xmtc.decoders.base import LabelDecoder
from xmtc.encoders.base import Encoded
from xmtc.errors import InputError
from xmtc.execution.base import Execution, on_host
from xmtc.execution.loss import LossOfSweeps
from xmtc.execution.side import LabelSide
from xmtc.execution.sweeps import Sweeps
from xmtc.execution.topk import best
from xmtc.execution.updates import SGD, Adam, Norms, Update, corrected_eps
from xmtc.heads.block import CorrelationHead, FullBlock

# numbers of one (B, chunk) tensor: on a CPU one mebibyte, measured best of 1/4, 1/2 and 1 (experiments/LOG.md): few
# operators, and the handful of tensors of a chunk stay in a cache; on a GPU 32 MiB, so that launches do not count
# (unmeasured)
CHUNK_NUMBERS = {"cpu": 2**18, "cuda": 2**23}
SMALLEST, MULTIPLE = 512, 256
CHECK = 50  # steps on a GPU after which the loss is read


def chunk_size(documents: int, num_labels: int, device: str) -> int:
    """Labels a chunk: a multiple of 256, at least 512, at most L."""
    size = CHUNK_NUMBERS.get(device, CHUNK_NUMBERS["cuda"]) // max(documents, 1) // MULTIPLE * MULTIPLE
    return min(max(size, SMALLEST), max(num_labels, 1))


def kept(share: float) -> str:
    words = {0.0: "raw logits recomputed", 1.0: "raw logits kept"}
    return words.get(share, f"{share:.0%} of the raw logits kept")


class Chunked(Execution):
    """Same answers as Dense, in sweeps.

    chunk: labels a chunk; null: by `chunk_size` from the batch and the device. keep_raw: share of the labels whose raw
    logits (B L numbers in all) are held during a training step; those of the rest are computed in every sweep. true is
    1, false 0. Somewhat over three quarters stay below a tenth of dense's memory (experiments/LOG.md).

    update: null returns gradients to autograd, for the run's optimiser. adam or sgd change the label rows within the
    last sweep, with states of their own (updates.py), so that no gradient of all labels exists; `weights` and
    `rounding` belong to sgd, `lr_factor` to both. One backward pass is then one step.
    Raises InputError for an L x L head, which couples every label with every other, for heads of other blocks, and for
    float16 autocast, whose small derivatives would vanish before they are scaled.
    """

    def __init__(
        self,
        decoder: LabelDecoder,
        head: CorrelationHead,
        objective,
        chunk: Count | None = None,
        keep_raw: bool | Probability = 0.78,
        update: Literal["adam", "sgd"] | None = None,
        lr_factor: float = 1.0,
        weights: Literal["fp32", "bf16"] = "fp32",
        rounding: Literal["stochastic", "kahan"] = "stochastic",
    ):
        if any(isinstance(block, FullBlock) for block in head.blocks):
            raise InputError("head.bottleneck=false: an L x L head runs with execution=dense only")
        if not head.in_slices():
            raise InputError(
                f"head: {type(head).__name__} runs with execution=dense only: chunks of labels are for the stack of"
                " CorrelationBlock that a CorrelationHead is"
            )
        if weights == "bf16" and update != "sgd":
            raise InputError("execution.weights=bf16: only with execution.update=sgd, which rounds them properly")
        super().__init__(decoder, head, objective)
        self.chunk, self.keep_raw = chunk, float(keep_raw)
        self.update, self.lr_factor, self.weights, self.rounding = update, lr_factor, weights, rounding
        self.updater: Update | None = None
        self._optimizer = self._held = None
        self._loss, self._losses = None, 0
        self.store: Tensor | None = None  # where a step that is over held its raw logits, for the next one

    def side(self, documents: int, device: str) -> LabelSide:
        labels = self.decoder.num_labels
        chunk = min(self.chunk or chunk_size(documents, labels, device), max(labels, 1))
        blocks = list(self.head.blocks)
        return LabelSide(self.decoder, blocks, self.objective, self.head.raw_loss_weight, chunk, labels)

    def sweeps(self, encoded: Encoded, keep: float = 0.0) -> Sweeps:
        features = encoded.features
        if torch.is_autocast_enabled(features.device.type) and (
            torch.get_autocast_dtype(features.device.type) is torch.float16
        ):
            raise InputError("trainer.precision=16-mixed: only with execution=dense; use bf16-mixed")
        store, self.store = (self.store, None) if keep else (None, self.store)
        return Sweeps(self.side(len(features), features.device.type), encoded, keep, store)

    def loss(self, encoded: Encoded, labels: Labels) -> Tensor:
        sweeps = self.sweeps(encoded, self.keep_raw)
        parameters = sweeps.side.row_parameters() + sweeps.side.shared_parameters()
        return LossOfSweeps.apply(sweeps, labels, self, encoded.features, *parameters)

    def describe(self) -> str:
        update = f", {self.update} within the last sweep" if self.update else ""
        return f"{type(self).__name__.lower()} ({kept(self.keep_raw)}{update})"

    def start(self) -> list[nn.Parameter]:
        """Takes the label rows away from autograd, the optimiser and DDP if an update of its own is asked for."""
        if self.update and self.updater is None:
            parameters = self.side(1, "cpu").row_parameters()
            frozen = [p for p in parameters if not p.requires_grad]
            if frozen:
                raise InputError("execution.update: the label rows are frozen, so there is nothing to update")
            for parameter in parameters:
                parameter.requires_grad_(False)
            if self.update == "adam":
                self.updater = Adam(parameters, self.lr_factor)
            else:
                self.updater = SGD(parameters, self.lr_factor, self.weights, self.rounding)
            heads = [p for block in self.head.blocks for p in block.label_parameters().values()]
            self.updater.factors = dict.fromkeys(heads, self.head_lr_factor)
        return []

    def move(self, device: torch.device) -> None:
        if self.updater is not None:
            self.updater.move(device)

    def follow(self, optimizer) -> None:
        if self.update and not any(group.get("lr_factor", 1.0) for group in optimizer.param_groups):
            raise InputError(
                "execution.update takes the rate of weights that have one; head_lr_factor=0 or pretrained_lr_factor=0"
                " leaves none: freeze those weights instead, or set execution.update=null"
            )
        self._optimizer = optimizer

    def watch(self, loss: Tensor) -> None:
        """Told of every loss before an update. Raises InputError for one that is not finite: on a CPU at once, on a GPU
        every `CHECK` steps and before anything is saved, so that no row it has spoilt reaches a checkpoint."""
        self._loss = loss.detach() if self._loss is None else torch.where(self._loss.isfinite(), loss, self._loss)
        self._losses += 1
        if on_host(loss) or self._losses % CHECK == 0:
            self._refuse_infinite()

    def _refuse_infinite(self) -> None:
        value, self._loss = self._loss, None
        if value is not None and not value.isfinite():
            raise InputError(
                f"the loss is {float(value)}: lower recipe.optimizer.lr or execution.lr_factor, or set recipe.clipping"
            )

    def take_step(self, sweeps: Sweeps, scale: Tensor, factor: float | Tensor | None = None):
        """The last sweep with its update. Returns what `Sweeps.backward` returns."""
        groups = self._optimizer.param_groups
        group = max(groups, key=lambda group: group.get("lr_factor", 1.0))
        settings = dict(corrected_eps(self._optimizer, group, self.updater.steps + 1))
        settings["lr"] /= settings.get("lr_factor", 1.0)  # an encoder may want another rate than its labels
        # nor need its groups be decayed: where an encoder is frozen they may be biases alone
        settings["weight_decay"] = self._optimizer.defaults.get("weight_decay", 0.0)
        self.updater.begin(settings, factor)
        return self.last_sweep(sweeps, scale, self.updater)

    def last_sweep(self, sweeps: Sweeps, scale: Tensor, sink):
        answer = sweeps.backward(scale, sink)
        self.store = sweeps.store
        return answer

    def hold_step(self, sweeps: Sweeps, scale: Tensor):
        """A last sweep that only measures, for clipping by the exact norm; `finish_step` makes it again and updates."""
        norms = Norms(self.updater.parameters)
        answer = sweeps.backward(scale, norms, again=True)
        self._held = sweeps, scale, norms.total
        return answer

    def squared_norm(self, grads):
        total = super().squared_norm(grads)
        return total + self._held[2].to(total.dtype) if self._held else total

    def finish_step(self, factor: float | Tensor) -> None:
        if self._held:
            sweeps, scale, _ = self._held
            self._held = None
            self.take_step(sweeps, scale, factor)

    def rest(self) -> None:
        self.store = None

    def state_dict(self) -> dict:
        if self.updater is None:
            return {}
        self._refuse_infinite()
        return {"update": self.update, "steps": self.updater.steps, **self.updater.tensors()}

    def load_state_dict(self, state: dict) -> None:
        mine = self.state_dict()
        if state.get("update") != self.update or set(state) != set(mine):
            raise InputError(
                f"execution.update={self.update}: the checkpoint's label side was updated with {state.get('update')}"
            )
        if self.updater is not None:
            self.updater.steps = state["steps"]
            for name, tensors in self.updater.tensors().items():
                for tensor, loaded in zip(tensors, state[name], strict=True):
                    tensor.copy_(loaded)

    @torch.no_grad()
    def topk(self, encoded: Encoded, k: int) -> tuple[Tensor, Tensor]:
        """Enhanced logits (B, k) float32 and labels (B, k) int64, best first. n + 1 sweeps, memory B (l + k)."""
        sweeps = self.sweeps(encoded)
        sweeps.gather()
        documents, device = len(encoded.features), encoded.features.device
        scores = torch.empty(documents, 0, device=device)
        labels = torch.empty(documents, 0, dtype=torch.int64, device=device)
        with sweeps.autocast():
            for chunk in sweeps.side.chunks():
                logits = sweeps.last(chunk, len(self.head.blocks))
                found, places = best(logits, k)
                # the ones so far have lower numbers and come first: equal scores stay in the order of labels
                scores, order = best(torch.cat([scores, found.float()], dim=1), k)
                labels = torch.cat([labels, places + chunk.start], dim=1).gather(1, order)
        return scores, labels

    def logits(self, encoded: Encoded, labels: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Raw and enhanced logits (B, l) of a slice of labels, without gradients."""
        sweeps = self.sweeps(encoded)
        sweeps.gather()
        chosen = slice(*labels.indices(self.decoder.num_labels)[:2])
        with torch.no_grad(), sweeps.autocast():
            values = sweeps.inputs(chosen, len(self.head.blocks))
        return values[0], values[-1]
