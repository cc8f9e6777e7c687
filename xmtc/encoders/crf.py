"""A linear chain over labels with two tags, absent and present: exact likelihood and marginals in log space."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BinaryChain(nn.Module):
    """emissions (B, n, 2) -> probabilities of tag sequences: exp(sum of emissions + transitions) / Z.

    transitions (2, 2): from a label's tag to the next label's; start, end (2,). Cost: n steps over (B, 2, 2).
    """

    def __init__(self):
        super().__init__()
        self.transitions = nn.Parameter(torch.zeros(2, 2))
        self.start, self.end = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))

    def _forward(self, emissions_Bn2: Tensor) -> Tensor:
        """(B, n, 2) log sums over all tags before, the label's own emission included."""
        alpha = self.start + emissions_Bn2[:, 0]
        held = [alpha]
        for step in range(1, emissions_Bn2.shape[1]):
            alpha = torch.logsumexp(alpha[:, :, None] + self.transitions, 1) + emissions_Bn2[:, step]
            held.append(alpha)
        return torch.stack(held, 1)

    def _backward(self, emissions_Bn2: Tensor) -> Tensor:
        """(B, n, 2) log sums over all tags behind."""
        beta = self.end.expand(len(emissions_Bn2), 2)
        held = [beta]
        for step in range(emissions_Bn2.shape[1] - 1, 0, -1):
            beta = torch.logsumexp(self.transitions + (emissions_Bn2[:, step] + beta)[:, None], 2)
            held.append(beta)
        return torch.stack(held[::-1], 1)

    def log_odds(self, emissions_Bn2: Tensor) -> Tensor:
        """(B, n) log odds of the marginal probability that a label is present."""
        both = self._forward(emissions_Bn2) + self._backward(emissions_Bn2)
        return both[:, :, 1] - both[:, :, 0]

    def negative_log_likelihood(self, emissions_Bn2: Tensor, tags_Bn: Tensor) -> Tensor:
        """(B,) of the true tags (int64)."""
        log_z = torch.logsumexp(self._forward(emissions_Bn2)[:, -1] + self.end, 1)
        score = emissions_Bn2.gather(2, tags_Bn[:, :, None]).squeeze(2).sum(1)
        score = score + self.transitions[tags_Bn[:, :-1], tags_Bn[:, 1:]].sum(1)
        return log_z - score - self.start[tags_Bn[:, 0]] - self.end[tags_Bn[:, -1]]
