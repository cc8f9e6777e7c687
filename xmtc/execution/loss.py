"""The sweeps as one function for autograd: the loss forward, every gradient backward, all rows' gradients in place."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from xmtc.data.batch import Labels
from xmtc.decoders.product import Place
from xmtc.execution.sweeps import Sweeps


class LossOfSweeps(torch.autograd.Function):
    """Sweeps 1..n+1 forward, the others backward. Gradients of parameters go to autograd as usual, so that DDP's hooks
    and any optimiser see them, unless the execution updates the rows itself."""

    @staticmethod
    def forward(ctx, sweeps: Sweeps, labels: Labels, execution, features: Tensor, *parameters: Tensor):
        sweeps.gather()
        ctx.sweeps, ctx.execution = sweeps, execution
        loss = sweeps.loss(labels)
        if execution.updater is not None:  # before the last sweep touches a weight
            execution.watch(loss)
        return loss

    @staticmethod
    def backward(ctx, grad: Tensor):
        sweeps, execution = ctx.sweeps, ctx.execution
        if sweeps is None:
            raise RuntimeError("a second backward pass of one loss: what the sweeps kept is overwritten by the first")
        ctx.sweeps = None
        rows = sweeps.side.row_parameters()
        grads: dict[Tensor, Tensor] = {}
        if execution.updater is None:
            alone = execution.collective or not (dist.is_available() and dist.is_initialized())
            sink = FullGradients(rows, in_place=alone)
            features, shared = execution.last_sweep(sweeps, grad, sink)
            grads = sink.grads
        elif execution.clipping:
            features, shared = execution.hold_step(sweeps, grad)
        else:
            features, shared = execution.take_step(sweeps, grad)
        features = features.to(sweeps.encoded.features.dtype)
        return None, None, None, features, *(grads.get(p) for p in rows), *shared


class FullGradients:
    """Gradients of all rows, each chunk's written to its place.

    in_place: where a parameter has a gradient already (accumulation), chunks are added to it directly, so that no
    second gradient of its size exists; autograd then gets none for it. Not under DDP, whose hooks wait for it.
    """

    def __init__(self, parameters: list[Tensor], in_place: bool):
        wanted = [p for p in parameters if p.requires_grad]
        self.grads = {p: torch.empty_like(p) for p in wanted if not in_place or p.grad is None}

    def __call__(self, parameter: Tensor, chunk: slice) -> Place | None:
        if parameter in self.grads:
            return Place(self.grads[parameter][chunk])
        return Place(parameter.grad[chunk], add=True) if parameter.requires_grad else None

    def finish(self, chunk: slice) -> None:
        pass
