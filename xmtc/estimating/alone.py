"""The memory of an encoder alone: a step and an evaluation of it, counted, the gradient of its features given.

The costly encoders are run on `FEW` documents of the batch. At each moment of a step (after each operator) what lives
is a + b B bytes, B being the documents, so two small batches say what lives at that moment of a large one, and the
largest of these is the peak. Encoders that read words by rows, of which documents share some, are run on all of it.
What a loop takes for a fixed number of documents larger than `FEW` is read as if it grew on: rather more than it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from xmtc.data.batch import Batch
from xmtc.encoders.base import Encoded, Encoder
from xmtc.estimating.tracker import Tracker
from xmtc.training.micro_batches import encode
from xmtc.training.optimizers import parameter_groups

FEW = (4, 8)  # documents, the longest of the batch among them


@dataclass
class Alone:
    """An encoder without a label side. moments: bytes that live after each operator, by phase. kept: what lives between
    its way forward and back. encoded, evaluated: what it answered in training and in evaluation, without its graph."""

    moments: dict[str, list[int]]
    kept: int
    gradients: int
    encoded: Encoded
    evaluated: Encoded


def grows_evenly(encoder: Encoder, batch: Batch) -> bool:
    """Whether `FEW` documents of this batch say what all of them take, for less."""
    by_rows = any(group.get("lazy_rows") for group in parameter_groups(encoder))
    return len(batch) >= 2 * FEW[-1] and not by_rows and batch.bags is None and batch.words is None


def tried_alone(encoder: Encoder, batch: Batch, autocast: Callable, micro_batch: int | None = None) -> Alone:
    """Random numbers and gradients are left as they were."""
    tracker = Tracker()
    found: dict[str, list[int]] = {}

    def phase(name: str) -> None:
        tracker.moments = found[name] = []
        tracker.phase(name)

    with torch.random.fork_rng(devices=devices(batch)):
        encoder.train()
        with tracker, autocast():
            phase("encoder forward")
            encoded = encode(encoder, batch, micro_batch)
            kept = tracker.live
        answers = [t for t in (encoded.features, *encoded.auxiliary.values()) if t.requires_grad]
        if answers:
            given = [torch.zeros_like(t) for t in answers]  # not counted: the label side does
            with tracker:
                phase("encoder backward")
                torch.autograd.backward(answers, given)
        features = encoded.features.detach().requires_grad_(encoded.features.requires_grad)
        encoded = replace(encoded, features=features, attention=None, auxiliary={})
        del answers
        gradients = tracker.live
        encoder.zero_grad()
        gradients -= (left := tracker.live)
        encoder.eval()
        with tracker, autocast(), torch.no_grad():
            phase("evaluation encoder")
            evaluated = encoder(batch)
        encoder.train()
    found["evaluation encoder"] = [live - left for live in found["evaluation encoder"]]
    return Alone(found, kept, gradients, encoded, evaluated)


def comparable(few: Alone, many: Alone) -> bool:
    """Whether both went back by the same operators. There, other than on the way forward, what is most for a few
    documents (the gradients of the weights, which do not grow) need not be most for all of them."""
    one, other = (len(each.moments.get("encoder backward", ())) for each in (few, many))
    return one == other


def grown(few: Alone, many: Alone, documents: int, evaluation_documents: int) -> Alone:
    """Of that many documents, in a straight line through those of two batches of `FEW`, whose features it repeats."""

    def at(low: float, high: float, number: int = documents) -> float:
        return low + (high - low) * (number - FEW[0]) / (FEW[1] - FEW[0])

    moments = {}
    for name, low in few.moments.items():
        high = many.moments[name]
        # moment by moment; where a loop over documents makes more of them, from peak to peak
        parts = len(low) if len(low) == len(high) else 1
        lines = zip(*([max(part) for part in np.array_split(each, parts)] for each in (low, high)), strict=True)
        number = evaluation_documents if name.startswith("evaluation") else documents
        moments[name] = [max(round(max(at(*line, number) for line in lines)), 0)]
    kept, gradients = (max(round(at(*pair)), 0) for pair in ((few.kept, many.kept), (few.gradients, many.gradients)))
    last = many.encoded
    order = torch.arange(documents * last.readings, device=last.features.device) % len(last.features)
    mask = None if last.mask is None else last.mask[order]
    features = last.features.detach()[order].requires_grad_(last.features.requires_grad)
    return Alone(moments, kept, gradients, replace(last, features=features, mask=mask), many.evaluated)


def devices(batch: Batch) -> list[int]:
    device = batch.documents.device
    return [] if device.type == "cpu" else [device.index or 0]
