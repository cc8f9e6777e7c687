"""A large batch through the encoder a few documents at a time.

The label side sees the features of the whole batch, in one step with one set of sweeps, also where it updates its rows
within the last one. What the encoder would keep for the backward pass is made again there, micro-batch by micro-batch
(torch.utils.checkpoint, with the same random numbers), so that only one micro-batch's activations live at a time: the
step of the whole batch, for one more forward pass of the encoder. Accumulating gradients over micro-batches would
instead run the label side once for each, which is what costs most where there are many labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from xmtc.data.batch import Batch
from xmtc.encoders.base import Encoded, Encoder


def encode(encoder: Encoder, batch: Batch, size: int | None) -> Encoded:
    """size: documents a micro-batch; null or at least B: the encoder as it is. Auxiliary losses become their mean over
    documents; features of different lengths are filled up with zeros, which the mask hides."""
    count = len(batch)
    if size is None or size >= count:
        return encoder(batch)
    parts, shares = [], []
    for start in range(0, count, size):
        part = batch.part(start, min(start + size, count))
        parts.append(_checkpointed(encoder, part))
        shares.append(len(part) / count)
    names = parts[0].auxiliary
    auxiliary = {n: sum(share * part.auxiliary[n] for share, part in zip(shares, parts, strict=True)) for n in names}
    main_weight = sum(share * part.main_weight for share, part in zip(shares, parts, strict=True))
    mask = None if parts[0].mask is None else _together([part.mask for part in parts])
    features = _together([part.features for part in parts])
    return Encoded(features, mask, None, auxiliary, main_weight, parts[0].readings)


def _checkpointed(encoder: Encoder, part: Batch) -> Encoded:
    """The encoder's answer with nothing kept but its inputs."""
    held = {}

    def forward() -> tuple[Tensor, ...]:
        encoded = encoder(part)
        told = encoded.mask, list(encoded.auxiliary), encoded.main_weight, encoded.readings
        held.setdefault("first", told)
        return encoded.features, *encoded.auxiliary.values()

    contexts = nullcontext(), _statistics_as_they_are(encoder)
    features, *losses = checkpoint(forward, use_reentrant=False, context_fn=lambda: contexts)
    mask, names, main_weight, readings = held["first"]
    return Encoded(features, mask, None, dict(zip(names, losses, strict=True)), main_weight, readings)


@contextmanager
def _statistics_as_they_are(encoder: Encoder) -> Iterator[None]:
    """Running statistics of batch normalisation do not move: what is made again was counted the first time."""
    norms = [module for module in encoder.modules() if isinstance(module, torch.nn.BatchNorm1d)]
    momenta = [norm.momentum for norm in norms]
    counted = [norm.num_batches_tracked.clone() for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counted, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


def _together(parts: list[Tensor]) -> Tensor:
    """All documents; a second dimension of time is filled up to the longest."""
    if parts[0].ndim < 2 or len({part.shape[1] for part in parts}) == 1:
        return torch.cat(parts)
    longest = max(part.shape[1] for part in parts)
    filled = [F.pad(part, [0, 0] * (part.ndim - 2) + [0, longest - part.shape[1]]) for part in parts]
    return torch.cat(filled)
