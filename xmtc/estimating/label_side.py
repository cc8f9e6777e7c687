"""What dense execution of a decoder and a head holds at full size, from the same code run on a handful of labels.

A step of dense is the same sequence of operators whatever the number of labels L and of documents B, and after each of
them what lives is a + b L + c B + d L B bytes. So `Tracker` writes down that sequence for two small L and two small B,
every moment of it is read at the real sizes, and the largest is the peak: exact, without an encoder, in milliseconds.
In float32; under autocast to half precision a step takes less.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from xmtc.data.batch import Labels
from xmtc.decoders.base import LabelDecoder
from xmtc.encoders.base import Encoded
from xmtc.estimating.tracker import Tracker
from xmtc.execution.dense import Dense
from xmtc.heads.block import CorrelationHead
from xmtc.training.objectives import Objective

LABELS, DOCUMENTS = (8, 16), (2, 4)


def dense_bytes(
    decoder: LabelDecoder,
    head: CorrelationHead,
    objective: Objective | None,
    documents: int,
    evaluation_documents: int,
    tokens: int,
) -> int:
    """Most that dense holds beyond weights and all their gradients, in a training step of `documents` (left out where
    there is no objective) or in an evaluation. tokens: of a document, for decoders that read each.

    Raises ValueError for parts that do not take the same operators whatever their sizes.
    """
    count = decoder.num_labels
    with torch.random.fork_rng(devices=[]):
        evaluation = _peak(decoder, head, None, count, evaluation_documents, tokens)
        if objective is None:
            return evaluation
        gradients = sum(p.nbytes for part in (decoder, head) for p in part.parameters() if p.requires_grad)
        return max(_peak(decoder, head, objective, count, documents, tokens) - gradients, evaluation)


def _peak(decoder, head, objective: Objective | None, labels: int, documents: int, tokens: int) -> int:
    """Of a training step, gradients that are made by then included; of an evaluation where there is no objective."""
    (few, many), (one, two) = LABELS, DOCUMENTS
    found = [_moments(*cut(decoder, head, i), objective, j, tokens) for i in LABELS for j in DOCUMENTS]
    if len({len(moments) for moments in found}) != 1:
        raise ValueError("a step of another size takes other operators")
    # straight lines through two points, along B and then along L
    x, y = (labels - few) / (many - few), (documents - one) / (two - one)
    few_labels, many_labels = (low + y * (high - low) for low, high in (found[:2], found[2:]))
    return round(float((few_labels + x * (many_labels - few_labels)).max()))


def cut(decoder: LabelDecoder, head: CorrelationHead, labels: int) -> tuple[LabelDecoder, CorrelationHead]:
    """Copies on the CPU with that many labels, the first ones, again and again where there are fewer."""
    rows = [*decoder.label_parameters().values()]
    rows += [p for block in head.blocks for p in block.label_parameters().values()]
    memo: dict[int, Tensor] = {}
    for parameter in rows:
        order = torch.arange(labels, device=parameter.device) % max(len(parameter), 1)
        memo[id(parameter)] = nn.Parameter(_here(parameter.detach()[order]), parameter.requires_grad)
    for buffer in (b for block in head.blocks for b in getattr(block, "label_buffers", dict)().values()):
        memo[id(buffer)] = _here(buffer[torch.arange(labels, device=buffer.device) % max(len(buffer), 1)])
    for tensor in (*decoder.parameters(), *decoder.buffers(), *head.parameters(), *head.buffers()):
        if tensor.is_meta and id(tensor) not in memo:
            memo[id(tensor)] = nn.Parameter(_here(tensor), tensor.requires_grad) if tensor.is_leaf else _here(tensor)
    decoder, head = copy.deepcopy((decoder, head), memo)
    decoder.num_labels = labels
    return decoder.cpu(), head.cpu()


def _here(tensor: Tensor) -> Tensor:
    """On the CPU; zeros for one that is only a shape."""
    return torch.zeros(tensor.shape, dtype=tensor.dtype) if tensor.is_meta else tensor.cpu()


def _moments(decoder, head, objective: Objective | None, documents: int, tokens: int) -> Tensor:
    """Bytes that live after each operator of a step."""
    head.train(objective is not None)
    features = torch.zeros(decoder.features_shape(documents, tokens))
    mask = torch.ones(features.shape[:2], dtype=torch.bool) if features.ndim == 3 else None
    labels = Labels(torch.zeros(documents, dtype=torch.int64), torch.arange(documents + 1))
    tracker = Tracker(moments := [0])
    with tracker, torch.set_grad_enabled(objective is not None):
        if objective is None:
            Dense(decoder, head, objective).logits(Encoded(features, mask))
        else:
            Dense(decoder, head, objective).loss(Encoded(features.requires_grad_(), mask), labels).backward()
    return torch.tensor(moments, dtype=torch.float64)
