"""A linear decoder whose labels stand in a hierarchy, with MATCH's two hypernymy regularisers (Zhang et al., WWW 2021).

    parameter space:  1/2 sum over pairs |w_child - w_parent|^2                  a label is like what lies above it
    output space:     mean over documents of sum over pairs max(0, p_child - p_parent)     and at most as probable

Pairs are the corpus' (label, label directly above it) of which both are labels; a label may have several above it.
p = sigmoid of this decoder's logits: with a correlation head, of those before it (MATCH has none).

The weights belong to a loss that is a mean over B L, as the authors' is; under a loss that sums over labels both are
multiplied by L. The authors sum over the documents of a batch, 1e-8 x 256 documents; here it is the mean, so that the
weight does not depend on the batch. Their code takes the output term as a number, without a gradient, and has the other
one commented out: there neither changes the training.

Cost: two products of the documents with the rows of the labels in pairs, forward, and four backward; memory that of
`PIECE` pairs at a time, and one gradient of the label rows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmtc.decoders.linear import LinearDecoder
from xmtc.errors import InputError

log = logging.getLogger(__name__)
PIECE = 4096  # pairs looked at together
PARAMETERS, OUTPUTS = 1e-10, 1e-8 * 256  # the paper's weights


class HierarchicalDecoder(LinearDecoder):
    """parameters, outputs: weights of the two terms. null: the paper's where the corpus has a hierarchy, none where it
    has not; 0: none; a number insists: InputError for a corpus without a hierarchy.
    per_label: the loss sums over labels."""

    def __init__(
        self,
        features: int,
        num_labels: int,
        parameters: float | None = None,
        outputs: float | None = None,
        per_label: bool = False,
    ):
        super().__init__(features, num_labels)
        asked = {"parameter_weight": parameters, "output_weight": outputs}
        self.insists = [name for name, weight in asked.items() if weight]
        scale = num_labels if per_label else 1
        paper = zip((parameters, outputs), (PARAMETERS, OUTPUTS), strict=True)
        self.term_weights = [scale * (default if weight is None else weight) for weight, default in paper]
        self.pairs: Pairs | None = None

    def prepare(self, hierarchy: Callable[[], Sequence[tuple[int, int]]]) -> None:
        if not any(self.term_weights):
            return
        pairs = {(above, label) for label, above in hierarchy() if label != above}
        if pairs:
            self.pairs = Pairs(sorted(pairs), self.num_labels)
            log.info("hypernymy regularisers: %d pairs of the label hierarchy", len(pairs))
        elif self.insists:
            raise InputError(
                f"encoder.{self.insists[0]}: the corpus has no hierarchy of its labels (label_parents.tsv or what its "
                "layout has for it); give it one, or set the weight to 0"
            )
        else:
            log.info("no hypernymy regularisers: the corpus has no hierarchy of its labels")

    def auxiliary(self, encoded) -> dict[str, Tensor]:
        if self.pairs is None:
            return {}
        if len(self.weight) != self.pairs.num_labels or not self.weight.requires_grad:
            raise InputError(
                "encoder.parameter_weight, encoder.output_weight: regularisers need all label rows and their gradient;"
                " use execution=dense, chunked or shortlist without an update, or set both to 0"
            )
        wanted = [bool(weight) for weight in self.term_weights]
        values = _Terms.apply(encoded.features, self.weight, self.bias, self.pairs, wanted)
        names = ("hypernymy_parameters", "hypernymy_outputs")
        terms = zip(names, self.term_weights, values, strict=True)
        return {name: weight * value for name, weight, value in terms if weight}


class Pairs(nn.Module):
    """Pairs (parent, child) in pieces: the labels of each (l,), and the places in them of its children and parents.
    Sorted by parent, so that a piece has few labels. Moves with the model; no part of its state."""

    def __init__(self, pairs: Sequence[tuple[int, int]], num_labels: int, piece: int = PIECE):
        super().__init__()
        self.num_labels, self.count = num_labels, 0
        for start in range(0, len(pairs), piece):
            labels, places = torch.tensor(pairs[start : start + piece]).unique(return_inverse=True)
            for name, tensor in (("labels", labels), ("parents", places[:, 0]), ("children", places[:, 1])):
                self.register_buffer(f"{name}{self.count}", tensor.contiguous(), persistent=False)
            self.count += 1

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """labels (l,), children (e,), parents (e,) of each piece."""
        for number in range(self.count):
            yield tuple(getattr(self, f"{name}{number}") for name in ("labels", "children", "parents"))


class _Terms(torch.autograd.Function):
    """(2,) values of both terms, 0 for one that is not wanted. A piece is made again in the backward pass, where its
    rows are parameters of their own: a slice of the whole would cost a gradient of all L rows for every piece."""

    @staticmethod
    def forward(ctx, features: Tensor, weight: Tensor, bias: Tensor, pairs: Pairs, wanted: list[bool]) -> Tensor:
        ctx.save_for_backward(features, weight, bias)
        ctx.pairs, ctx.wanted = pairs, wanted
        total = weight.new_zeros(2)
        for labels, *edges in pairs:
            total += _terms(features.to(weight.dtype), weight[labels], bias[labels], *edges, wanted)
        return total

    @staticmethod
    def backward(ctx, grad: Tensor):
        features, weight, bias = ctx.saved_tensors
        whole = [torch.zeros_like(tensor, dtype=weight.dtype) for tensor in (features, weight, bias)]
        for labels, *edges in ctx.pairs:
            own = (features.to(weight.dtype), weight[labels], bias[labels])
            with torch.enable_grad():
                own = [tensor.detach().requires_grad_() for tensor in own]
                values = _terms(*own, *edges, ctx.wanted)
            found = torch.autograd.grad(values, own, grad, materialize_grads=True)
            whole[0] += found[0]
            for gradient, rows in zip(whole[1:], found[1:], strict=True):
                gradient.index_add_(0, labels, rows)
        return whole[0].to(features.dtype), *whole[1:], None, None


def _terms(
    features_BD: Tensor, rows_lD: Tensor, bias_l: Tensor, children: Tensor, parents: Tensor, wanted: list[bool]
) -> Tensor:
    """(2,) of one piece. In the weights' precision, whatever autocast says: differences of probabilities are small."""
    parameters = outputs = rows_lD.new_zeros(())
    if wanted[0]:
        parameters = (rows_lD[children] - rows_lD[parents]).square().sum() / 2
    if wanted[1]:
        with torch.autocast(features_BD.device.type, enabled=False):
            p_Bl = torch.sigmoid(F.linear(features_BD, rows_lD, bias_l))
        outputs = F.relu(p_Bl[:, children] - p_Bl[:, parents]).sum() / max(len(features_BD), 1)
    return torch.stack([parameters, outputs])
