"""Updates of label rows inside the last sweep, so that no gradient of all labels ever exists.

Adam: float32 states, the same trajectory as the ordinary step of `xmtc.training.optimizers.AdamW`; 8 bytes of state a
weight. SGD: no momentum; with bfloat16 weights, where a step is often smaller than half the distance of two
neighbouring numbers, it rounds stochastically (right on average) or keeps what rounding lost (Kahan; 2 bytes more).

Both follow the optimiser of the other weights: its learning rate of the moment times `lr_factor`, its betas, eps and
decay (of matrices, not of biases).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from xmtc.decoders.product import Place


class Update:
    """Base. A sink for `Sweeps.backward`: gradients of a chunk go to scratch memory and are used at its end.

    lr_factor: of the optimiser's learning rate. parameters: the label rows it owns.
    """

    def __init__(self, parameters: list[nn.Parameter], lr_factor: float = 1.0):
        self.parameters, self.lr_factor = parameters, lr_factor
        self.factors: dict[nn.Parameter, float] = {}  # of the rate, for single parameters; the others' is 1
        self.steps = 0
        self.group: dict = {}  # the optimiser's settings of this moment
        self._factor: float | Tensor | None = None
        self._scratch: dict[nn.Parameter, Tensor] = {}

    def begin(self, group: dict, factor: float | Tensor | None = None) -> None:
        """Before the sweep. factor: of all gradients (clipping); null: 1."""
        self.group, self._factor = group, factor
        self.steps += 1

    def __call__(self, parameter: nn.Parameter, chunk: slice) -> Place:
        return Place(self.scratch(parameter, chunk))

    def scratch(self, parameter: nn.Parameter, chunk: slice) -> Tensor:
        """(l, ...) memory for the gradient of one chunk's rows, used again by the next."""
        size = chunk.stop - chunk.start
        held = self._scratch.get(parameter)
        if held is None or len(held) < size:
            held = torch.empty(size, *parameter.shape[1:], dtype=torch.float32, device=parameter.device)
            if parameter.dtype == torch.float64:
                held = held.double()
            self._scratch[parameter] = held
        return held[:size]

    def finish(self, chunk: slice) -> None:
        for parameter in self.parameters:
            grad = self.scratch(parameter, chunk)
            if self._factor is not None:
                grad.mul_(self._factor)
            decay = self.group["weight_decay"] if parameter.ndim > 1 else 0.0
            rate = self.group["lr"] * self.lr_factor * self.factors.get(parameter, 1.0)
            self.update(parameter, chunk, grad, rate, decay)

    def update(self, parameter: nn.Parameter, chunk: slice, grad: Tensor, lr: float, decay: float) -> None:
        raise NotImplementedError

    def tensors(self) -> dict[str, list[Tensor]]:
        """State with one tensor a parameter, rows by label."""
        return {}

    def move(self, device: torch.device) -> None:
        """To where the rows are now."""
        self._scratch.clear()
        for tensors in self.tensors().values():
            tensors[:] = [tensor.to(device) for tensor in tensors]


class Adam(Update):
    def __init__(self, parameters, lr_factor=1.0):
        super().__init__(parameters, lr_factor)
        self.first = [torch.zeros_like(p) for p in parameters]
        self.second = [torch.zeros_like(p) for p in parameters]
        self._place = {p: i for i, p in enumerate(parameters)}

    def update(self, parameter, chunk, grad, lr, decay):
        i, group = self._place[parameter], self.group
        beta1, beta2 = group["betas"]
        adamw(
            [parameter.data[chunk]], [grad], [self.first[i][chunk]], [self.second[i][chunk]], [],
            [torch.full((), float(self.steps - 1), device=parameter.device)], fused=True, amsgrad=False,
            beta1=beta1, beta2=beta2, lr=lr, weight_decay=decay, eps=group["eps"], maximize=False,
        )  # fmt: skip

    def tensors(self):
        return {"first": self.first, "second": self.second}


class SGD(Update):
    """weights: bf16 stores the rows in bfloat16. rounding: what happens to digits that do not fit; the random numbers
    depend on (step, parameter, first label of the chunk) alone."""

    def __init__(
        self,
        parameters,
        lr_factor=1.0,
        weights: Literal["fp32", "bf16"] = "bf16",
        rounding: Literal["stochastic", "kahan"] = "stochastic",
    ):
        super().__init__(parameters, lr_factor)
        self.rounding = rounding
        if weights == "bf16":
            for parameter in parameters:
                parameter.data = parameter.data.bfloat16()
        kahan = weights == "bf16" and rounding == "kahan"
        self.lost = [torch.zeros_like(p) for p in parameters] if kahan else []
        self._place = {p: i for i, p in enumerate(parameters)}

    def update(self, parameter, chunk, grad, lr, decay):
        rows, i = parameter.data[chunk], self._place[parameter]
        new = rows.float()
        if self.lost:
            new += self.lost[i][chunk]
        new.mul_(1 - lr * decay).sub_(grad, alpha=lr)
        if rows.dtype != torch.bfloat16:
            rows.copy_(new)
        elif self.lost:
            rows.copy_(new)
            self.lost[i][chunk] = new.sub_(rows)
        else:
            generator = torch.Generator(rows.device).manual_seed(
                ((self.steps * 1009 + i) * 2_147_483_647 + chunk.start) % 2**63
            )
            rows.copy_(stochastic_bfloat16(new, generator))

    def tensors(self):
        return {"lost": self.lost} if self.lost else {}


def stochastic_bfloat16(values: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """float32 -> one of the two bfloat16 neighbours, the nearer one with the higher chance: right on average.

    The low 16 bits are what bfloat16 lacks; a random number of 16 bits carries into the rest in proportion to them.
    """
    bits = values.contiguous().view(torch.int32)
    noise = torch.empty_like(bits).random_(0, 2**16, generator=generator)
    return (bits + noise).bitwise_and_(-(2**16)).view(torch.float32).bfloat16()


class Norms(Update):
    """Sum of squares of the rows' gradients; updates nothing."""

    def __init__(self, parameters):
        super().__init__(parameters)
        self.total = torch.zeros((), dtype=torch.float64)  # stays so where a shard holds no labels

    def finish(self, chunk):
        for parameter in self.parameters:
            self.total = self.total + self.scratch(parameter, chunk).pow(2).sum(dtype=torch.float64)


def corrected_eps(optimizer: torch.optim.Optimizer, group: dict, step: int) -> dict:
    """The group's settings for this step, with the eps that the step itself will use."""
    if not getattr(optimizer, "eps_before_correction", False):
        return group
    return group | {"eps": optimizer.base_eps / math.sqrt(1 - group["betas"][1] ** step)}
