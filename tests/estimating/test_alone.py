"""What a few documents foretell of an encoder is what the whole batch takes."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from tests.execution.cases import labels_of
from xmtc.data.batch import Bags, Batch
from xmtc.decoders.linear import LinearDecoder
from xmtc.encoders.base import Encoded, Encoder
from xmtc.estimating.alone import FEW, grown, grows_evenly, tried_alone
from xmtc.estimating.probe import Probe, Sizes
from xmtc.execution.dense import Dense
from xmtc.heads.none import NoHead
from xmtc.training.objectives import Objective

DOCUMENTS, WIDTH = 64, 64


class Layers(Encoder):
    """loop: one document at a time in the middle, so that more documents are more operators."""

    def __init__(self, loop=False, sparse=False):
        super().__init__()
        self.loop, self.table = loop, nn.Embedding(50, WIDTH, sparse=sparse)
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(6))

    def forward(self, batch):
        states = self.table(batch.tokens)
        for number, layer in enumerate(self.layers):
            states = torch.relu(layer(states))
            if self.loop and number == 2:
                with torch.set_grad_enabled(self.training and self.loop == "graph"):
                    largest = torch.cat([part.sigmoid().amax(dim=1) for part in states.split(1)])
        features = states.mean(dim=1) + (largest if self.loop else 0)
        own = {"own": features.square().mean()} if self.training else {}
        return Encoded(features, auxiliary=own)


def batch_of(tokens, documents=DOCUMENTS):
    labels = labels_of([[i % 7] for i in range(documents)])
    places = torch.arange(documents)
    return Batch(places, labels, torch.randint(0, 50, (documents, tokens)), torch.full((documents,), tokens))


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("tokens", [2, 60])
def test_two_small_batches_foretell_a_large_one(tokens, loop):
    """Of two tokens a few documents hold less than the gradients of the weights, and all of them more."""
    encoder, batch = Layers(loop), batch_of(tokens)
    few, many = (tried_alone(encoder, batch.part(0, count), nullcontext) for count in FEW)
    found, whole = grown(few, many, DOCUMENTS, DOCUMENTS), tried_alone(encoder, batch, nullcontext)
    if tokens == 2:
        assert many.kept < many.gradients < whole.kept
    assert found.moments.keys() == whole.moments.keys() and len(found.moments) == 3
    for name, (peak,) in found.moments.items():
        assert peak == pytest.approx(max(whole.moments[name]), rel=0.05 if loop else 0.005), name
    assert found.kept == pytest.approx(whole.kept, rel=0.005) and found.gradients == whole.gradients
    assert found.encoded.features.shape == whole.encoded.features.shape and found.encoded.features.requires_grad


def test_costly_encoders_see_a_few_documents_and_all_others_the_whole_batch():
    for encoder, batch, expected in (
        (Layers(), batch_of(3), [4, 4, 8, 8]),
        (Layers(), batch_of(3, 12), [12, 12]),  # that is no less work
        (Layers(sparse=True), batch_of(3), [DOCUMENTS] * 2),
        (Layers(loop="graph"), batch_of(3), [4, 4, 8, 8, DOCUMENTS, DOCUMENTS]),  # other operators on the way back
    ):
        seen = []
        encoder.register_forward_hook(lambda module, given, _, seen=seen: seen.append(len(given[0])))
        parts = LinearDecoder(WIDTH, 64), NoHead(64)
        like = Dense(*parts, Objective())
        probe = Probe(encoder, batch, lambda n: (LinearDecoder(WIDTH, n), NoHead(n)), like, nullcontext)
        assert probe.memory(Sizes(100, len(batch), len(batch))).gradients > 0 and seen == expected
    bags = Bags(torch.arange(DOCUMENTS), torch.ones(DOCUMENTS), torch.arange(DOCUMENTS + 1))
    assert not grows_evenly(Layers(), Batch(torch.arange(DOCUMENTS), batch.labels, bags=bags))
