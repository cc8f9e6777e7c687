"""What small label sides foretell is what a step of full size takes."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from tests.execution.cases import labels_of
from xmtc.bench.memory import peak_beyond
from xmtc.data.batch import Batch
from xmtc.decoders.given import GivenDecoder
from xmtc.decoders.label_attention import LabelAttentionDecoder
from xmtc.decoders.linear import LinearDecoder
from xmtc.encoders.base import Encoded, Encoder
from xmtc.estimating.probe import Probe, Sizes
from xmtc.estimating.tracker import Tracker
from xmtc.execution.chunked import Chunked
from xmtc.execution.dense import Dense
from xmtc.heads.lcenet import LCENet
from xmtc.heads.none import NoHead
from xmtc.training.objectives import Objective, PropensityWeighted

DOCUMENTS = 16


class Words(Encoder):
    """A word table and a layer; a feature a token for label attention."""

    def __init__(self, attention=False, readings=1):
        super().__init__()
        self.attention, self.readings = attention, readings
        self.table, self.layer = nn.Embedding(50, 24, sparse=True), nn.Linear(24, 24)

    def forward(self, batch):
        states = torch.relu(self.layer(self.table(batch.tokens)))
        if self.attention:
            return Encoded(states, torch.ones(states.shape[:2], dtype=torch.bool))
        if self.training and self.readings > 1:
            return Encoded(states.mean(1).repeat_interleave(self.readings, 0), readings=self.readings)
        return Encoded(states.mean(1))


def probe(like, attention=False, head=None, autocast=nullcontext, readings=1):
    torch.manual_seed(0)
    tokens = torch.randint(0, 50, (DOCUMENTS, 30))
    labels = labels_of([[i, 100 + i, 5000] for i in range(DOCUMENTS)])
    batch = Batch(torch.arange(DOCUMENTS), labels, tokens=tokens, lengths=torch.full((DOCUMENTS,), 30))

    def make_side(count):
        decoder = LabelAttentionDecoder(24, count, [8]) if attention else LinearDecoder(24, count)
        return decoder, head(count)

    decoder, made = make_side(64)
    return Probe(Words(attention, readings), batch, make_side, like(decoder, made, Objective()), autocast)


def two_blocks(count):
    return LCENet(count, rank=8, blocks=2)


def recomputed(*parts):
    return Chunked(*parts, keep_raw=False)


def adam(*parts):
    return Chunked(*parts, keep_raw=False, update="adam")


def bf16():
    return torch.autocast("cpu", torch.bfloat16)


CASES = {
    "dense": dict(like=Dense, head=two_blocks),
    "dense without a head": dict(like=Dense, head=NoHead),
    "dense L x L": dict(like=Dense, head=lambda count: LCENet(count, blocks=1, bottleneck=False)),
    "dense attention": dict(like=Dense, head=two_blocks, attention=True),
    "dense bf16": dict(like=Dense, head=two_blocks, autocast=bf16),
    "chunked": dict(like=Chunked, head=two_blocks),
    "chunked, all kept": dict(like=lambda *parts: Chunked(*parts, keep_raw=True), head=two_blocks),
    "chunked bf16": dict(like=Chunked, head=two_blocks, autocast=bf16),
    "chunked attention": dict(like=Chunked, head=two_blocks, attention=True),
    "recomputed": dict(like=recomputed, head=two_blocks),
    "update": dict(like=adam, head=two_blocks),
    "dense, two readings": dict(like=Dense, head=two_blocks, readings=2),
    "chunked, two readings": dict(like=Chunked, head=two_blocks, readings=2),
}


def whole_step(tried, labels, chunk):
    """Peak bytes by phase of one step and one evaluation of encoder and label side together, at that size."""
    tracker, execution = Tracker(), tried.execution(labels, chunk)
    blocks = [p for block in execution.head.blocks for p in getattr(block, "label_parameters", dict)().values()]
    rows = [*execution.decoder.label_parameters().values(), *(blocks or execution.head.parameters())]
    with tracker, tried.autocast():
        tracker.phase("encoder forward")
        encoded = tried.encoder.train()(tried.batch)
        encoded.features.register_hook(lambda _: tracker.phase("encoder backward"))
        tracker.phase("labels forward")
        loss = execution.loss(encoded, tried.labels.repeated(encoded.readings))
        del encoded
        tracker.phase("labels backward")
        loss.backward()
        del loss
        tracker.phase("update")
        execution.rest()
        gradients = tracker.live
    for parameter in [*tried.encoder.parameters(), *execution.parameters()]:
        parameter.grad = None
    with tracker, tried.autocast(), torch.no_grad():
        tracker.phase("evaluation encoder")
        order = torch.arange(2 * DOCUMENTS) % DOCUMENTS
        batch = Batch(order, tried.batch.labels, tried.batch.tokens[order], tried.batch.lengths[order])
        encoded = tried.encoder.eval()(batch)
        tracker.phase("evaluation labels")
        execution.topk(encoded, 5)
    state = sum(t.nbytes for v in execution.state_dict().values() if isinstance(v, list) for t in v)
    return dict(tracker.peaks) | {"gradients": gradients, "rows": sum(p.nbytes for p in rows), "state": state}


@pytest.mark.parametrize("case", CASES)
def test_every_phase_of_a_full_step_is_foretold(case):
    tried = probe(**CASES[case])
    chunk = 200 if tried.chunked else None
    sizes = Sizes(900, DOCUMENTS, 2 * DOCUMENTS, chunk=chunk, evaluation_chunk=chunk)
    found, full = tried.memory(sizes), whole_step(tried, 900, chunk)
    assert found.gradients == pytest.approx(full["gradients"], rel=0.02)
    assert found.row_bytes * 900 == pytest.approx(full["rows"], rel=0.01)
    assert found.row_state_bytes * 900 == pytest.approx(full["state"], rel=0.01)
    assert (full["state"] > 0) == (case == "update")
    most = max(full[name] for name in found.phases)
    for name, value in found.phases.items():
        assert abs(value - full[name]) < 0.05 * most, name


def test_chunks_do_not_grow_with_the_labels_where_dense_does():
    sizes = [Sizes(labels, DOCUMENTS, DOCUMENTS, chunk=128, evaluation_chunk=128) for labels in (10_000, 100_000)]
    grown = {}
    for name, like in (("dense", Dense), ("update", adam)):
        tried = probe(like, head=two_blocks)
        first, second = (max(tried.memory(size).phases.values()) for size in sizes)
        grown[name] = second / first
    assert grown["dense"] > 8 and grown["update"] < 1.05


def test_an_encoder_that_only_its_own_losses_train_is_foretold():
    """Its features are logits that nobody trains, so the label side has no way back."""

    class Alone(Words):
        def forward(self, batch):
            logits = super().forward(batch).features
            return Encoded(logits.detach(), auxiliary={"own": logits.square().mean()}, main_weight=0.0)

    for like in (Dense, Chunked):
        tried = probe(like, head=NoHead)
        tried.encoder, tried.make_side = Alone(), lambda count: (GivenDecoder(count), NoHead(count))
        found = tried.memory(Sizes(24, DOCUMENTS, DOCUMENTS, chunk=8, evaluation_chunk=8))
        dense = sum(p.nbytes for p in tried.encoder.layer.parameters())
        assert found.phases["labels backward"] > 0 and found.gradients > dense


def test_several_processes_score_the_documents_of_all():
    tried = probe(recomputed, head=two_blocks)
    alone, four = (tried.memory(Sizes(5000, DOCUMENTS, DOCUMENTS, processes, 256, 256)).phases for processes in (1, 4))
    assert 2 < four["evaluation labels"] / alone["evaluation labels"] < 5


def test_the_tracker_agrees_with_the_memory_of_the_process():
    """Dense, 600,000 labels: a tensor of (B, L) is 38 MB, which the C library takes from the system and gives back."""
    labels = 600_000
    tried = probe(Dense, head=two_blocks)
    sizes = Sizes(labels, DOCUMENTS, DOCUMENTS)
    phases = tried.memory(sizes).phases
    expected = max(value for name, value in phases.items() if not name.startswith("evaluation"))
    execution = tried.execution(labels, None)
    tried.loss(tried.execution(500, None)).backward()  # libraries are loaded
    measured = peak_beyond(lambda: tried.loss(execution).backward())
    assert measured == pytest.approx(expected, rel=0.15)


def test_the_encoder_runs_once_forward_and_once_for_an_evaluation():
    tried, calls = probe(Dense, head=two_blocks), []
    tried.encoder.register_forward_hook(lambda module, *_: calls.append(module.training))
    tried.memory(Sizes(100, DOCUMENTS, DOCUMENTS))
    assert calls == [True, False]


def test_a_probe_leaves_random_numbers_and_gradients_as_they_were():
    tried = probe(Dense, head=two_blocks)
    before = torch.get_rng_state()
    tried.memory(Sizes(100, DOCUMENTS, DOCUMENTS))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.grad is None for p in tried.encoder.parameters()) and tried.encoder.training


@pytest.mark.parametrize("like", [Dense, Chunked])
def test_an_objective_with_weights_of_fewer_labels_than_are_tried(like):
    """Those of a corpus of five; sixty-four and more are tried."""
    objective = PropensityWeighted()
    objective.prepare(torch.ones(5), 20)
    weights = objective.weights.clone()
    plain, weighted = probe(like, head=NoHead), probe(like, head=NoHead)
    weighted.like.objective = objective
    sizes = Sizes(5, DOCUMENTS, DOCUMENTS, chunk=5, evaluation_chunk=5)
    expected, found = plain.memory(sizes), weighted.memory(sizes)
    assert found.gradients == expected.gradients and found.phases.keys() == expected.phases.keys()
    assert torch.equal(objective.weights, weights)
