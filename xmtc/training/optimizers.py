"""Adam with decoupled weight decay for dense weights and, row by row, for word tables.

Lightning's automatic optimisation takes one optimiser, so one class holds both kinds of groups. A group with
`lazy_rows: True` updates only the rows that occur in the step's batch: their moments decay when they are met, as in the
authors' code and in `torch.optim.SparseAdam`. Its gradient may be sparse, or dense (under DDP or a
gradient scaler), when rows that are zero throughout count as absent.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from xmtc.bounds import NotNegative, Share


class AdamW(torch.optim.AdamW):
    """eps_before_correction: eps is added to sqrt(v) before the bias correction (the papers' Adam, and the lazy
    groups); PyTorch adds it after. Cost of a lazy step: rows of the batch only."""

    def __init__(
        self,
        params,
        lr: NotNegative = 1e-3,
        betas: tuple[Share, Share] = (0.9, 0.999),
        eps: NotNegative = 1e-8,
        weight_decay: NotNegative = 0.0,
        eps_before_correction: bool = False,
    ):
        super().__init__(params, lr=lr, betas=tuple(betas), eps=eps, weight_decay=weight_decay, fused=True)
        # a fused step would take a gradient scaler's scaled gradients; the lazy rows and the clipping need true ones
        self._step_supports_amp_scaling = False
        self.eps_before_correction = eps_before_correction
        self.base_eps = eps
        self._counted: dict[int, list] = {}  # by group: the parameter whose steps are counted, and how many it made

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = self.param_groups
        try:
            self.param_groups = [g for g in groups if not g.get("lazy_rows")]
            if self.eps_before_correction:
                self._correct_eps()
            super().step()
        finally:
            self.param_groups = groups
        for group in groups:
            if group.get("lazy_rows"):
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._lazy(parameter, group)
        return loss

    def _correct_eps(self) -> None:
        """sqrt(v)/c + eps/c equals (sqrt(v) + eps)/c, so the other convention is another eps at each step.

        Steps are counted here: those of the states lie on the device, which would have to be waited for. Read once,
        for a run that is continued."""
        for number, group in enumerate(self.param_groups):
            if number not in self._counted:
                known = next((p for p in group["params"] if p in self.state), None)
                fresh = next((p for p in group["params"] if p.grad is not None), group["params"][0])
                self._counted[number] = [known, int(self.state[known]["step"])] if known is not None else [fresh, 0]
            counted = self._counted[number]
            group["eps"] = self.base_eps / math.sqrt(1 - group["betas"][1] ** (counted[1] + 1))
            counted[1] += counted[0].grad is not None

    def load_state_dict(self, state_dict) -> None:
        super().load_state_dict(state_dict)
        self._counted = {}

    def _lazy(self, parameter: Tensor, group: dict) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        rows, grad = touched_rows(parameter.grad)
        if len(rows) == 0:
            return
        (beta1, beta2), step = group["betas"], float(state["step"])
        first = state["exp_avg"][rows].lerp_(grad, 1 - beta1)
        second = state["exp_avg_sq"][rows].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        state["exp_avg"].index_copy_(0, rows, first)
        state["exp_avg_sq"].index_copy_(0, rows, second)
        size = group["lr"] * math.sqrt(1 - beta2**step) / (1 - beta1**step)
        change = first.div_(second.sqrt_().add_(self.base_eps)).mul_(-size)
        if group["weight_decay"]:
            change.add_(parameter[rows], alpha=-group["lr"] * group["weight_decay"])
        parameter.index_add_(0, rows, change)


def touched_rows(grad: Tensor) -> tuple[Tensor, Tensor]:
    """Row numbers (r,), each once, and their gradients (r, E)."""
    if grad.is_sparse:
        grad = grad.coalesce()
        return grad.indices()[0], grad.values()
    rows = grad.ne(0).any(dim=1).nonzero().squeeze(1)
    return rows, grad[rows]


def squared_norm(grad: Tensor) -> Tensor:
    """Sum of squares of a dense or sparse gradient, in float32 at least."""
    if grad.is_sparse:
        grad = grad.coalesce().values()
    return grad.float().pow(2).sum() if grad.dtype != torch.float64 else grad.pow(2).sum()


def parameter_groups(model: torch.nn.Module) -> list[dict]:
    """Word tables (lazy), weights, and biases and gains, which are not decayed. A parameter for which a part of the
    model names a learning-rate factor (the product, if several do) is in a group with `lr_factor`, see `scaled`; the
    others come first."""
    tables = [
        m.weight
        for m in model.modules()
        if isinstance(m, torch.nn.Embedding) and getattr(m, "lazy", m.sparse) and m.weight.requires_grad
    ]
    tables = list(dict.fromkeys(tables))  # two modules may share one table
    factors: dict = {}
    for part in model.modules():
        if hasattr(part, "learning_rate_factors"):
            for parameter, factor in part.learning_rate_factors().items():
                factors[parameter] = factors.get(parameter, 1.0) * factor
    known = {id(p) for p in tables}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in known]
    groups = []
    for factor in sorted({factors.get(p, 1.0) for p in rest} | {1.0}, key=lambda f: (f != 1.0, f)):
        mine = [p for p in rest if factors.get(p, 1.0) == factor]
        extra = {} if factor == 1.0 else {"lr_factor": factor}
        groups.append({"params": [p for p in mine if p.ndim > 1]} | extra)
        groups.append({"params": [p for p in mine if p.ndim <= 1], "weight_decay": 0.0} | extra)
    groups.append({"params": tables, "lazy_rows": True})
    return [group for group in groups if group["params"]]


def scaled(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Multiplies the learning rate of every group by its `lr_factor`. Before a schedule is made, which starts there."""
    for group in optimizer.param_groups:
        group["lr"] *= group.get("lr_factor", 1.0)
    return optimizer
