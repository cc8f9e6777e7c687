"""A LabelDecoder scores any slice of the labels: what chunked execution, shards and top-k stand on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call

from xmtc.decoders.product import Place

if TYPE_CHECKING:
    from xmtc.encoders.base import Encoded


class LabelDecoder(nn.Module):
    """Raw logits of a slice of labels. `num_labels` is L."""

    num_labels: int

    def forward(self, encoded: Encoded, labels: slice = slice(None)) -> Tensor:
        """(B, l) raw logits of labels[start:stop]; slice(None) means all L. Those of a slice are the caller's own, who
        may overwrite them: no view of the features. Asked for again within a step they must be the same, so nothing
        is drawn at random here: sweeps would make gradients of no loss."""
        raise NotImplementedError

    def some(self, encoded: Encoded, ids: Tensor) -> Tensor:
        """(B, l) raw logits of the labels `ids` (l,), with a gradient."""
        own = {name: parameter[ids] for name, parameter in self.label_parameters().items()}
        return functional_call(self, own | self.shared_parameters(), (encoded, slice(None)))

    def label_parameters(self) -> dict[str, nn.Parameter]:
        """Parameters whose first dimension is the label; all others are shared by the labels."""
        raise NotImplementedError

    def shared_parameters(self) -> dict[str, nn.Parameter]:
        """What all labels share."""
        mine = {id(parameter) for parameter in self.label_parameters().values()}
        return {name: p for name, p in self.named_parameters() if id(p) not in mine}

    def slice_gradients(
        self, encoded: Encoded, labels: slice, grad_Bl: Tensor, out: dict[str, Place]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Gradients of sum(grad_Bl * logits) for one slice of labels.

        Writes those of the slice's label parameters to `out` (by name, (l, ...) each; parameters not in it are left
        out) and returns those of the features and of the shared parameters. This general way runs the slice once more
        under autograd, with the slice's rows as parameters of their own: a slice of the whole parameter would cost a
        gradient of all L rows. Decoders that are one product override it.
        """
        features = encoded.features.detach().requires_grad_()
        rows = {name: p[labels].detach().requires_grad_() for name, p in self.label_parameters().items()}
        shared = {name: p.detach().requires_grad_(p.requires_grad) for name, p in self.shared_parameters().items()}
        wanted = {name: rows[name] for name in out}
        wanted_shared = {name: p for name, p in shared.items() if p.requires_grad}
        with torch.enable_grad():
            logits = functional_call(self, rows | shared, (replace(encoded, features=features), slice(None)))
        sought = [features, *wanted.values(), *wanted_shared.values()]
        grad_features, *grads = torch.autograd.grad(logits, sought, grad_Bl.to(logits.dtype))
        for name, grad in zip(out, grads, strict=False):
            out[name].put(grad)
        return grad_features, dict(zip(wanted_shared, grads[len(out) :], strict=True))

    def features_shape(self, documents: int, tokens: int) -> tuple[int, ...]:
        """Of the features that an encoder gives this decoder, for an estimate of memory that has no encoder: (B, D), D
        being the width of the first matrix of label rows. Decoders of other features override it."""
        rows = next(p for p in self.label_parameters().values() if p.ndim == 2)
        return documents, rows.shape[1]

    def prepare(self, hierarchy: Callable[[], Sequence[tuple[int, int]]]) -> None:
        """Told once, before training, how to get the pairs (label, label above it) of the corpus, none where it has no
        hierarchy. What it keeps of them must not be part of its state: a run directory has no corpus."""

    def auxiliary(self, encoded: Encoded) -> dict[str, Tensor]:
        """Named scalar losses of its own, each already weighted, added to the main loss in training."""
        return {}

    def set_prior(self, log_odds: Tensor) -> None:
        """Starts every label's logit at its log prior odds (L,). Decoders without a bias per label may refuse."""
        raise NotImplementedError
