"""Derivatives against differences in double precision, and numbers that stay finite, for each execution and decoder."""

import pytest
import torch

from tests.execution.cases import labels_of, parts
from xmtc.decoders.given import GivenDecoder
from xmtc.encoders.base import Encoded
from xmtc.execution.chunked import Chunked
from xmtc.execution.dense import Dense
from xmtc.execution.shortlist import Shortlist
from xmtc.heads.lcenet import LCENet
from xmtc.heads.none import NoHead
from xmtc.training.objectives import Asymmetric, Focal, Objective, PropensityWeighted

L, DOCUMENTS = 5, 3
HEADS = {"none": {"blocks": 0}, "one": {"blocks": 1}, "two": {"blocks": 2, "raw_loss_weight": 0.5},
         "bare": {"blocks": 1, "residual": False, "entry": "tanh"}}  # fmt: skip
EXECUTIONS = {
    "dense": Dense,
    "chunked": lambda *parts: Chunked(*parts, chunk=2),
    "recomputed": lambda *parts: Chunked(*parts, chunk=3, keep_raw=False),
    "shortlist": lambda *parts: Shortlist(*parts, negatives=L),  # all of them: nothing is drawn
}
OBJECTIVES = (Objective, Focal, Asymmetric, PropensityWeighted)


def made(kind):
    objective = kind()
    objective.prepare(torch.arange(1, L + 1), 50)
    return objective


# a shortlist takes rows of the decoder's parameters, and where the scores are given there are none
PAIRS = [(d, e) for d in ("linear", "attention", "given") for e in EXECUTIONS if (d, e) != ("given", "shortlist")]


@pytest.mark.parametrize("decoder, execution", PAIRS)
@pytest.mark.parametrize("head", list(HEADS))
def test_derivatives_are_those_of_differences(decoder, head, execution):
    rows, head, encoded, labels = parts(L, DOCUMENTS, attention=decoder == "attention", **HEADS[head])
    if decoder == "given":
        rows, encoded = GivenDecoder(L), Encoded(torch.randn(DOCUMENTS, L, dtype=torch.float64))
    chosen = EXECUTIONS[execution](rows, head, Objective())
    parameters = [*rows.parameters(), *head.parameters()]

    inputs = [encoded.features.requires_grad_(), *parameters]

    def loss():
        return chosen.loss(encoded, labels)

    gradients = torch.autograd.grad(loss(), inputs)
    for tensor, gradient in zip(inputs, gradients, strict=True):
        direction = torch.randn_like(tensor)
        with torch.no_grad():
            kept, ends = tensor.clone(), []
            for step in (1e-5, -1e-5):
                tensor.copy_(kept + step * direction)
                ends.append(loss())
            tensor.copy_(kept)
        torch.testing.assert_close((gradient * direction).sum(), (ends[0] - ends[1]) / 2e-5, rtol=1e-5, atol=1e-8)
    before = encoded.features.detach().clone()
    wanted = Dense(rows, head, Objective()).topk(encoded, L)
    torch.testing.assert_close(chosen.topk(encoded, L), wanted)
    assert torch.equal(encoded.features, before), "the caller's features are read, never written"


def test_a_second_backward_pass_is_refused():
    """It would find what the first one has overwritten, and give other numbers without a word."""
    decoder, head, encoded, labels = parts(L, DOCUMENTS, 1, False)
    loss = Chunked(decoder, head, Objective(), chunk=2).loss(encoded, labels)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="second backward pass"):
        loss.backward()


@pytest.mark.parametrize("kind", OBJECTIVES)
@pytest.mark.parametrize("execution", list(EXECUTIONS))
@pytest.mark.parametrize("autocast", [False, True])
def test_logits_of_ten_thousand_stay_finite(kind, execution, autocast):
    """Through a head, with documents of no label, of one and of all."""
    decoder, head, encoded, _ = parts(L, DOCUMENTS, 1, False, dtype=torch.float32)
    with torch.no_grad():
        decoder.bias.copy_(torch.tensor([1e4, -1e4, 1e4, -1e4, 0.0]))
    chosen = EXECUTIONS[execution](decoder, head, made(kind))
    encoded.features.requires_grad_()
    for rows in ([[], [0], list(range(L))], [[], [], []], [list(range(L))] * 3):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = chosen.loss(encoded, labels_of(rows))
        sought = [encoded.features, *decoder.parameters(), *head.parameters()]
        gradients = torch.autograd.grad(loss, sought)
        assert loss.isfinite() and all(gradient.isfinite().all() for gradient in gradients)
        scores, found = chosen.topk(encoded, 3)
        assert scores.isfinite().all() and all(len(set(row)) == 3 for row in found.tolist())


@pytest.mark.parametrize("execution", ["dense", "chunked", "recomputed"])
@pytest.mark.parametrize("head", [NoHead, LCENet])
def test_one_label_in_all(execution, head):
    torch.manual_seed(0)
    decoder, _, encoded, _ = parts(1, DOCUMENTS, 0, False)
    block = head(1) if head is NoHead else head(1, rank=2, blocks=1).double()
    chosen = EXECUTIONS[execution](decoder, block, Objective())
    raw = decoder(encoded)
    logits = block(raw)
    targets = torch.tensor([[1.0], [0.0], [1.0]], dtype=torch.float64)
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / DOCUMENTS
    torch.testing.assert_close(chosen.loss(encoded, labels_of([[0], [], [0]])), wanted)
    assert chosen.topk(encoded, 5)[1].tolist() == [[0]] * DOCUMENTS
