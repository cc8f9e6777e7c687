"""Decoder, head, features and labels in odd sizes, for comparing executions."""

import numpy as np
import torch

from xmtc.data.batch import Labels
from xmtc.decoders.label_attention import LabelAttentionDecoder
from xmtc.decoders.linear import LinearDecoder
from xmtc.encoders.base import Encoded
from xmtc.heads.lcenet import LCENet
from xmtc.heads.none import NoHead


def labels_of(rows: list[list[int]]) -> Labels:
    offsets = np.cumsum([0] + [len(row) for row in rows])
    return Labels(torch.tensor(sum(rows, []), dtype=torch.int64), torch.from_numpy(offsets))


def parts(num_labels, documents, blocks, attention, seed=0, dtype=torch.float64, rank=3, **head):
    """(decoder, head, encoded, labels) with random weights of visible size."""
    torch.manual_seed(seed)
    features = 4
    if attention:
        decoder = LabelAttentionDecoder(features, num_labels, [3], label_bias=True)
        mask = torch.rand(documents, 5) < 0.7
        mask[:, 0] = True
        encoded = Encoded(torch.randn(documents, 5, features, dtype=dtype), mask)
    else:
        decoder = LinearDecoder(features, num_labels)
        encoded = Encoded(torch.randn(documents, features, dtype=dtype))
    module = LCENet(num_labels, rank=rank, blocks=blocks, **head) if blocks else NoHead(num_labels)
    for parameter in [*decoder.parameters(), *module.parameters()]:
        torch.nn.init.normal_(parameter, std=0.5)
    for block in module.blocks:
        for buffer in block.label_buffers().values():  # centred=True
            torch.nn.init.normal_(buffer, std=0.5)
    random = np.random.default_rng(seed)
    rows = [sorted(random.choice(num_labels, min(num_labels, n), replace=False).tolist())
            for n in random.integers(0, 4, documents)]  # fmt: skip
    if rows and num_labels:
        rows[0] = list(range(num_labels)) if seed % 3 == 0 else rows[0]  # a document with all labels
        rows[-1] = rows[-1] + [num_labels, num_labels + 7]  # labels unseen in training
    return decoder.to(dtype), module.to(dtype), encoded, labels_of(rows)


def loss_and_gradients(execution, encoded, labels, scale=1.0, seed=5):
    """Loss, the features' gradient and those of all parameters (zeros where there is none)."""
    features = encoded.features.clone().requires_grad_()
    torch.manual_seed(seed)  # of dropout
    loss = execution.loss(Encoded(features, encoded.mask), labels)
    parameters = [*execution.decoder.parameters(), *execution.head.parameters()]
    grads = torch.autograd.grad(scale * loss, [features, *parameters], allow_unused=True)
    sought = [features, *parameters]
    return [loss.detach(), *(torch.zeros_like(p) if g is None else g for g, p in zip(grads, sought, strict=True))]
