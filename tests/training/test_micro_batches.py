"""A batch encoded in parts is the step of the whole batch, with fewer activations."""

import copy

import pytest
import torch

from tests.execution.cases import labels_of
from xmtc.data.batch import Bags, Batch
from xmtc.data.embedding import Random
from xmtc.data.text import Words
from xmtc.encoders.attentionxml import AttentionXML
from xmtc.encoders.base import Encoded, Encoder
from xmtc.encoders.bow import BagOfWords
from xmtc.encoders.xmlcnn import XMLCNN
from xmtc.estimating.tracker import Tracker
from xmtc.execution.chunked import Chunked
from xmtc.execution.dense import Dense
from xmtc.heads.lcenet import LCENet
from xmtc.training.micro_batches import encode
from xmtc.training.objectives import Objective
from xmtc.training.optimizers import AdamW

LENGTHS = [9, 2, 4, 1, 3, 2, 3]
LABELS = [[1, 3], [], [0], [2, 4, 5], [1], [], [5]]


def batch():
    torch.manual_seed(0)
    tokens = torch.zeros(len(LENGTHS), max(LENGTHS), dtype=torch.int64)
    for row, length in zip(tokens, LENGTHS, strict=True):
        row[:length] = torch.randint(2, 20, (length,))
    words = torch.cat([row[:length].unique() for row, length in zip(tokens, LENGTHS, strict=True)])
    counts = [len(row[:length].unique()) for row, length in zip(tokens, LENGTHS, strict=True)]
    bags = Bags(words, torch.ones(len(words)), torch.tensor([0, *counts]).cumsum(0))
    return Batch(torch.arange(len(LENGTHS)), labels_of(LABELS), tokens, torch.tensor(LENGTHS), bags)


def encoder_of(kind, vocabulary):
    torch.manual_seed(1)
    words = Random(6, scale=0.5)
    if kind == "bow":
        return BagOfWords(vocabulary, Words(), words, dropout=0.0, word_dropout=0.0)
    if kind == "xmlcnn":
        return XMLCNN(vocabulary, Words(), words, filters=3, bins=2, bottleneck=5, dropout=0.0)
    return AttentionXML(vocabulary, Words(), words, hidden=2, mlp=[3], embedding_dropout=0.0, dropout=0.0)


def gradients(encoder, size, execution=Dense, **options):
    torch.manual_seed(2)
    decoder, head = encoder.make_decoder(6), LCENet(6, rank=2, blocks=2)
    made = execution(decoder, head, Objective(), **options)
    encoded = encode(encoder, batch(), size)
    loss = made.loss(encoded, batch().labels)
    parameters = [*encoder.parameters(), *decoder.parameters(), *head.parameters()]
    grads = torch.autograd.grad(loss, parameters)
    return [loss.detach(), *(g.to_dense() if g.is_sparse else g for g in grads)]


@pytest.mark.parametrize("kind", ["bow", "xmlcnn", "attention"])
@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_loss_and_gradients_are_those_of_the_whole_batch(kind, size, make_vocabulary):
    expected = gradients(encoder_of(kind, make_vocabulary(20)), None)
    torch.testing.assert_close(gradients(encoder_of(kind, make_vocabulary(20)), size), expected, rtol=1e-4, atol=1e-6)


def test_an_update_within_the_sweep_is_one_step_of_the_whole_batch(make_vocabulary):
    rows = []
    for size in (None, 2):
        encoder = encoder_of("bow", make_vocabulary(20))
        torch.manual_seed(2)
        execution = Chunked(encoder.make_decoder(6), LCENet(6, rank=2), Objective(), chunk=4, update="adam")
        execution.start()
        execution.follow(AdamW([p for p in encoder.parameters()], lr=0.01))
        execution.loss(encode(encoder, batch(), size), batch().labels).backward()
        assert execution.updater.steps == 1
        rows.append([p.detach() for p in execution.side(1, "cpu").row_parameters()] + [encoder.layer.weight.grad])
    torch.testing.assert_close(rows[1], rows[0], rtol=1e-4, atol=1e-6)


class Noted(Encoder):
    """Drops half of everything, adds a loss of its own and weighs the main one by the first document."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(9, 400)
        self.calls = []

    def forward(self, batch):
        self.calls.append(len(batch))
        hidden = torch.nn.functional.dropout(torch.tanh(self.layer(batch.tokens.float())), 0.5, self.training)
        auxiliary = {"size": hidden.square().mean()}
        return Encoded(hidden, auxiliary=auxiliary, main_weight=float(batch.documents[0]), readings=2)


def test_auxiliary_losses_weights_and_random_numbers():
    encoder = Noted()
    encoded = encode(encoder, batch(), 3)
    torch.testing.assert_close(encoded.auxiliary["size"], encoded.features.square().mean())
    assert encoded.main_weight == pytest.approx((3 * 0 + 3 * 3 + 1 * 6) / 7) and encoded.readings == 2
    kept = encoded.features.detach() != 0
    (encoded.features.sum() + encoded.auxiliary["size"]).backward()
    assert encoder.calls == [3, 3, 1, 1, 3, 3]
    # the same units were dropped in the second pass: a unit that no document kept gets no gradient
    assert torch.equal(encoder.layer.bias.grad != 0, kept.any(0))


class Wide(Encoder):
    """One weight, one feature, and much in between."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, batch):
        return Encoded(torch.tanh(self.weight * batch.tokens.float().repeat(1, 500)).sum(1, keepdim=True))


def test_activations_of_one_part_live_at_a_time():
    peaks = []
    for size in (None, 1):
        encoder, tracker = Wide(), Tracker()
        with tracker:
            encode(encoder, batch(), size).features.sum().backward()
        peaks.append(max(tracker.peaks.values()))
    assert peaks[1] < 0.2 * peaks[0]


def test_part_of_a_batch():
    whole = batch()
    part = whole.part(2, 5)
    assert len(part) == 3 and part.documents.tolist() == [2, 3, 4]
    assert part.labels.ids.tolist() == [0, 2, 4, 5, 1] and part.labels.offsets.tolist() == [0, 1, 4, 5]
    assert torch.equal(part.tokens, whole.tokens[2:5]) and part.lengths.tolist() == LENGTHS[2:5]
    assert len(part.bags.offsets) == 4 and int(part.bags.offsets[-1]) == len(part.bags.word_ids)
    assert len(whole.part(7, 7)) == 0


def test_batch_normalisation_counts_every_document_once(make_vocabulary):
    """What the backward pass makes again moves no running statistics; oracle: the encoder called part by part."""
    torch.manual_seed(1)
    vocabulary = make_vocabulary(20)
    sizes = {"filters": 3, "bins": 2, "bottleneck": 5, "dropout": 0.0}
    alone = XMLCNN(vocabulary, Words(), Random(6, scale=0.5), **sizes, normalise="batch")
    parted = copy.deepcopy(alone)
    for start in (0, 3):
        alone(batch().part(start, start + 3))
    encode(parted, batch().part(0, 6), 3).features.sum().backward()
    found = dict(parted.named_buffers())
    assert any("running_mean" in name for name in found)
    for name, value in alone.named_buffers():
        torch.testing.assert_close(found[name], value)
