"""One correlation block: gather evidence from all labels into R numbers, spread them back to every label.

    context = delta( W1 (sigma(x) - c) + b1 )   gather: a sum over labels, (B, L) -> (B, R)
    y       = r x + W2 context + b2             spread: label by label, (B, R) -> (B, L)

Sources: CorNet (Xun et al., KDD 2020) eq. 1-2; LCENet's bottleneck, nonlinearity and residual are the same three parts.
Both weights are stored label-major, (L, R), so that a slice of labels is a slice of rows. The centre c, a constant a
label, is ours and 0 unless asked for.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmtc.data.batch import Labels
from xmtc.decoders.product import product, rows
from xmtc.errors import InputError

ENTRY = {
    "sigmoid": torch.sigmoid,
    "relu": F.relu,
    "tanh": torch.tanh,
    "elu": F.elu,
    "identity": lambda x: x,
}
MIDDLE = {"elu": F.elu, "identity": lambda x: x}
# grad times the entry's derivative at x, in the place of grad; y = entry(x): for executions that write gradients
# themselves. One pass where PyTorch has the formula
ENTRY_BACKWARD = {
    "sigmoid": lambda grad, x, y: torch.ops.aten.sigmoid_backward.grad_input(grad, y, grad_input=grad),
    "relu": lambda grad, x, y: grad.mul_(x > 0),
    "tanh": lambda grad, x, y: torch.ops.aten.tanh_backward.grad_input(grad, y, grad_input=grad),
    "elu": lambda grad, x, y: grad.mul_(torch.where(x > 0, 1.0, y + 1)),
    "identity": lambda grad, x, y: grad,
}


class CorrelationBlock(nn.Module):
    """Parameters 2RL + R + L. Cost 4BRL. Init: Xavier-uniform weights, PyTorch's default biases (CorNet's code).

    entry, middle: names in ENTRY and MIDDLE. dropout: on the context. zero_init: W2 and b2 start at zero, so that the
    block with a residual starts as the identity. centred: the gate is read less what it is at the label's prior odds,
    see `centre_at`; a label that is as likely as ever then says nothing.
    """

    def __init__(
        self,
        num_labels: int,
        rank: int,
        entry: str = "sigmoid",
        middle: str = "elu",
        residual: bool = True,
        dropout: float = 0.0,
        zero_init: bool = False,
        centred: bool = False,
    ):
        super().__init__()
        gather, spread = nn.Linear(num_labels, rank), nn.Linear(rank, num_labels)  # for PyTorch's default biases
        self.gather_weight = nn.Parameter(nn.init.xavier_uniform_(gather.weight.data).t().contiguous())  # (L, R)
        self.gather_bias = nn.Parameter(gather.bias.data)
        self.spread_weight = nn.Parameter(nn.init.xavier_uniform_(spread.weight.data))  # (L, R)
        self.spread_bias = nn.Parameter(spread.bias.data)
        if zero_init:
            nn.init.zeros_(self.spread_weight)
            nn.init.zeros_(self.spread_bias)
        # constant, but a part of the state: a run directory has no corpus from which it could be made again
        self.register_buffer("centre", torch.zeros(num_labels) if centred else None)  # (L,)
        self.entry, self.middle, self.residual, self.dropout = entry, middle, residual, dropout

    @torch.no_grad()
    def centre_at(self, log_odds_L: Tensor) -> None:
        """Sets the centre of a `centred` block to the gate's value at these logits, the labels' prior odds."""
        if self.centre is not None:
            self.centre.copy_(ENTRY[self.entry](log_odds_L))

    def centred(self, gate_Bl: Tensor, labels: slice = slice(None)) -> Tensor:
        """What the gather reads of the gate's values."""
        return gate_Bl if self.centre is None else gate_Bl - self.centre[labels].to(gate_Bl.dtype)

    def gather(self, logits_Bl: Tensor, labels: slice = slice(None)) -> Tensor:
        """(B, R): this slice's share of the sum. The bias is not in it: it is added once, by `context`."""
        gate_Bl = self.centred(ENTRY[self.entry](logits_Bl), labels)
        return gate_Bl @ rows(self.gather_weight, labels, gate_Bl)

    def context(self, gathered_BR: Tensor) -> Tensor:
        context = MIDDLE[self.middle](gathered_BR + self.gather_bias)
        return F.dropout(context, self.dropout, self.training)

    def spread(self, logits_Bl: Tensor, context_BR: Tensor, labels: slice = slice(None)) -> Tensor:
        """(B, l): the block's output for a slice of labels."""
        weight, bias = rows(self.spread_weight, labels, context_BR), rows(self.spread_bias, labels, context_BR)
        if self.residual:  # the sum starts the product, so no tensor is made for the product alone
            return torch.addmm(logits_Bl, context_BR, weight.t()) + bias
        return F.linear(context_BR, weight, bias)

    @torch.no_grad()
    def spread_(self, logits_Bl: Tensor, context_BR: Tensor, labels: slice, undo: bool = False) -> Tensor:
        """`spread` in the place of its input, without autograd. undo: from its output back to its input, which only a
        block with a residual allows."""
        weight, bias = rows(self.spread_weight, labels, context_BR), rows(self.spread_bias, labels, context_BR)
        if undo:
            return product(-context_BR, weight.t(), logits_Bl, add=True).sub_(bias)
        return product(context_BR, weight.t(), logits_Bl, add=self.residual).add_(bias)

    def forward(self, logits_BL: Tensor) -> Tensor:
        return self.spread(logits_BL, self.context(self.gather(logits_BL)))

    def label_parameters(self) -> dict[str, nn.Parameter]:
        names = ("gather_weight", "spread_weight", "spread_bias")
        return {name: getattr(self, name) for name in names}

    def label_buffers(self) -> dict[str, Tensor]:
        """Constants with a row a label."""
        return {} if self.centre is None else {"centre": self.centre}


class FullBlock(nn.Module):
    """No bottleneck: y = r x + sigma(x) W + b with W of L x L, CorNet's rejected simple design. Dense execution only.

    Raises InputError above `limit` weights, naming the size.
    """

    def __init__(self, num_labels: int, entry: str, residual: bool, zero_init: bool, limit: float):
        super().__init__()
        weights = num_labels**2
        if weights > limit:
            gigabytes = weights * 4 / 1e9
            raise InputError(
                f"head.bottleneck=false: an L x L matrix of {num_labels:,} labels is {weights:.2e} weights"
                f" ({gigabytes:,.2f} GB a block, four times that with Adam), above head.full_limit={limit:.0e}"
            )
        full = nn.Linear(num_labels, num_labels)
        self.weight, self.bias = nn.Parameter(nn.init.xavier_uniform_(full.weight.data)), full.bias
        if zero_init:
            nn.init.zeros_(self.weight)
            nn.init.zeros_(self.bias)
        self.entry, self.residual = entry, residual

    def forward(self, logits_BL: Tensor) -> Tensor:
        mixed = F.linear(ENTRY[self.entry](logits_BL), self.weight, self.bias)
        return logits_BL + mixed if self.residual else mixed


class CorrelationHead(nn.Module):
    """A stack of blocks; each reads the logits, not the probabilities, of the one before. No block at all: `head=none`.

    raw_loss_weight: weight of the same loss on the raw logits, added to the loss on the enhanced ones.
    """

    def __init__(self, blocks: list[nn.Module] = (), raw_loss_weight: float = 0.0):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.raw_loss_weight = raw_loss_weight

    def in_slices(self) -> bool:
        """Whether a slice of labels can be run at a time: a stack of correlation blocks and nothing else."""
        return type(self).forward is CorrelationHead.forward and all(
            isinstance(block, CorrelationBlock) for block in self.blocks
        )

    def prepare(self, gold: Labels, log_odds_L: Tensor) -> None:
        """Told once, before training, the labels of the training documents and each label's prior log odds (L,). What
        is made of them must be kept in parameters or buffers. Random numbers of the run are left as they were."""

    def forward(self, logits_BL: Tensor) -> Tensor:
        """Enhanced logits (B, L)."""
        for block in self.blocks:
            logits_BL = block(logits_BL)
        return logits_BL
