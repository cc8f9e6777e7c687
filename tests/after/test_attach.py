"""A head on other people's models: the identity at first, trained, saved and loaded with them."""

import copy
import json
import sys
import types
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import xmtc
from xmtc.errors import InputError
from xmtc.heads.lcenet import LCENet

EXAMPLES = Path(__file__).parents[2] / "experiments" / "examples"
L = 6
Named = namedtuple("Named", "logits features")


class Shaped(nn.Module):
    """Gives its logits in the shape that is asked for."""

    def __init__(self, shape):
        super().__init__()
        self.linear, self.shape = nn.Linear(4, L), shape

    def forward(self, x):
        logits = self.linear(x)
        return {"tensor": logits, "tuple": (logits, x), "named": Named(logits, x), "dict": {"logits": logits, "x": x},
                "text": "no logits", "wide": x}[self.shape]  # fmt: skip


def logits_of(output):
    return output if isinstance(output, torch.Tensor) else output["logits"] if isinstance(output, dict) else output[0]


@pytest.mark.parametrize("shape", ["tensor", "tuple", "named", "dict"])
@pytest.mark.parametrize("head", ["lcenet", "cornet"])
def test_it_starts_as_the_identity_and_then_enhances(shape, head):
    model = Shaped(shape)
    x = torch.randn(5, 4)
    before = model(x)
    assert xmtc.attach_head(model, L, head, rank=3) is model
    after = model(x)
    assert type(after) is type(before) and torch.equal(logits_of(after), logits_of(before))
    for parameter in model.correlation_head.parameters():
        nn.init.normal_(parameter)
    expected = model.correlation_head(model.linear(x))
    assert torch.equal(logits_of(model(x)), expected) and not torch.allclose(expected, logits_of(before))


def test_gradients_reach_the_head_and_the_model():
    model = xmtc.attach_head(Shaped("tensor"), L, rank=3)
    x, targets = torch.randn(40, 4), (torch.rand(40, L) < 0.3).float()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(3):
        nn.functional.binary_cross_entropy_with_logits(model(x), targets).backward()
        optimizer.step()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("shape", [(4,), (3, 2, 4), (0, 4)])
def test_logits_of_one_document_and_of_parts_of_documents(shape):
    model = xmtc.attach_head(Shaped("tensor"), L, rank=3)
    for parameter in model.correlation_head.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(shape)
    expected = model.correlation_head(model.linear(x).reshape(-1, L))
    assert torch.equal(model(x), expected.reshape(*shape[:-1], L))


def test_the_head_of_a_model_that_evaluates_drops_nothing():
    head = LCENet(L, rank=3, dropout=0.9)
    state = {f"correlation_head.{name}": value for name, value in head.state_dict().items()}
    model = xmtc.attach_head(Shaped("tensor").eval(), L, rank=3, blocks=2, dropout=0.9, weights=state)
    x = torch.randn(5, 4)
    assert torch.equal(model(x), head.eval()(model.linear(x)))
    assert xmtc.attach_head(Shaped("tensor"), L, LCENet(L, rank=3).eval()).correlation_head.training


class OwnLoss(nn.Module):
    """A classifier of somebody's own that gives a loss, as one made of a pretrained Hugging Face encoder does."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, L)

    def loss_function(self, logits, labels, vocab_size):
        raise AssertionError("what transformers gives a class whose name it does not know: that of a language model")

    def forward(self, x, mask=None, labels=None):
        logits = self.linear(x)
        loss = None if labels is None else nn.functional.binary_cross_entropy_with_logits(logits, labels)
        return {"loss": loss, "logits": logits} if loss is not None else {"logits": logits}


@pytest.mark.parametrize("by_place", [False, True])
def test_the_loss_of_ones_own_model_is_that_of_the_enhanced_logits(by_place):
    model = xmtc.attach_head(OwnLoss(), L, rank=3)
    model.config = types.SimpleNamespace(num_labels=L)
    nn.init.normal_(model.correlation_head.blocks[0].spread_weight)
    x, targets = torch.randn(5, 4), (torch.rand(5, L) < 0.3).float()
    found = model(x, None, targets) if by_place else model(x, labels=targets)
    expected = nn.functional.binary_cross_entropy_with_logits(found["logits"], targets)
    assert torch.equal(found["loss"], expected)
    found["loss"].backward()
    assert model.correlation_head.blocks[0].gather_weight.grad.abs().sum() > 0


def test_a_copy_and_a_state_dict():
    model = xmtc.attach_head(Shaped("tensor"), L, rank=3)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(5, 4)
    twin = copy.deepcopy(model)
    nn.init.zeros_(model.correlation_head.blocks[0].spread_weight)  # the copy uses its own head
    assert not torch.equal(twin(x), model(x))
    again = xmtc.attach_head(Shaped("tensor"), L, rank=3)
    again.load_state_dict(twin.state_dict())
    assert torch.equal(again(x), twin(x))
    only_head = xmtc.attach_head(Shaped("tensor"), L, rank=3, weights=twin.state_dict())
    mine, theirs = (one.correlation_head.blocks[0].gather_weight for one in (only_head, twin))
    assert torch.equal(mine, theirs)


def test_dtype_device_and_a_head_of_ones_own():
    assert xmtc.attach_head(Shaped("tensor").double(), L)(torch.randn(2, 4).double()).dtype == torch.float64
    own = LCENet(L, rank=2, residual=False)
    model = Shaped("tensor")
    x = torch.randn(3, 4)
    raw = model(x)
    assert torch.equal(xmtc.attach_head(model, L, own)(x), own(raw))
    whole = xmtc.attach_head(Shaped("tensor"), L, bottleneck=False)
    assert torch.equal(whole(x), whole.linear(x))


def test_numbers_of_numpy_are_numbers():
    class Saved(Shaped):
        config = types.SimpleNamespace()

    model = xmtc.attach_head(Saved("tensor"), np.int64(L), rank=np.int32(2), dropout=np.float32(0.5))
    assert model.correlation_head.blocks[0].gather_weight.shape == (L, 2)
    said = json.loads(json.dumps(model.config.correlation_head))  # as save_pretrained does
    assert said == {"head": "lcenet", "num_labels": L, "options": {"rank": 2, "dropout": 0.5}}


def test_what_cannot_be_attached():
    with pytest.raises(InputError, match="^attach_head: model: expected a torch.nn.Module, got 3$"):
        xmtc.attach_head(3, 5)
    with pytest.raises(InputError, match="head already"):
        xmtc.attach_head(xmtc.attach_head(Shaped("tensor"), L), L)
    for arguments, message in (
        ({"num_labels": 0}, "num_labels"),
        ({}, "num_labels"),
        ({"num_labels": L, "head": "magic"}, "choose from lcenet, cornet"),
        ({"num_labels": L, "rnk": 3}, "attach_head.rnk: unknown key; LCENet takes rank.*did you mean rank"),
        ({"num_labels": L, "rank": 0}, "attach_head.rank: expected a whole number of at least 1"),
        ({"num_labels": L, "entry": "sigmoidd"}, "attach_head.entry: expected one of sigmoid, relu"),
        ({"num_labels": L, "head": "cornet", "blocks": 0}, "attach_head.blocks: expected"),
        ({"num_labels": L, "residual": False}, "identity"),
        ({"num_labels": L, "centred": True}, "centred and start=cooccurrence follow from training labels"),
        ({"num_labels": L, "start": "cooccurrence"}, "centred and start=cooccurrence follow from training labels"),
        ({"num_labels": True}, "num_labels: expected a whole number"),
        ({"num_labels": 3.0}, "num_labels: expected a whole number of at least 1, got 3.0"),
        ({"num_labels": L, "head": 5}, "head: expected lcenet, cornet or a CorrelationHead, got 5"),
        ({"num_labels": L, "head": ["lcenet"]}, "head: expected lcenet, cornet or"),
        ({"num_labels": L, "weights": 5}, "weights: expected a folder, a file or a state dict, got 5"),
        ({"num_labels": L, "weights": {"a": 1}}, "no correlation_head in the state dict"),
        ({"num_labels": L, "weights": "/nowhere"}, "has none of model.safetensors"),
    ):
        model = Shaped("tensor")
        with pytest.raises(InputError, match=message):
            xmtc.attach_head(model, **arguments)
        xmtc.attach_head(model, L)  # it is as it was: what was wrong can be said anew
    other = xmtc.attach_head(Shaped("tensor"), L, rank=2).state_dict()
    with pytest.raises(InputError, match="do not fit the head.*gather_weight"):
        xmtc.attach_head(model := Shaped("tensor"), L, rank=3, weights=other)
    assert not hasattr(model, "correlation_head")
    for shape, message in (("text", "got str"), ("wide", r"got \(2, 4\)")):
        with pytest.raises(InputError, match=message):
            xmtc.attach_head(Shaped(shape), L)(torch.randn(2, 4))


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    yield lambda name: __import__(name)
    for name in ("attach_plain_loop", "attach_trainer"):
        sys.modules.pop(name, None)


def test_hugging_face_losses_are_those_of_the_enhanced_logits(example):
    plain = example("attach_plain_loop")
    tokens, targets = plain.made_up_data(8)
    model = plain.tiny_bert().eval()
    before = model(input_ids=tokens, labels=targets)
    xmtc.attach_head(model, head="cornet", rank=4)  # L from its configuration
    after = model(input_ids=tokens, labels=targets)
    assert torch.equal(after.logits, before.logits) and torch.equal(after.loss, before.loss)
    for parameter in model.correlation_head.parameters():
        nn.init.normal_(parameter, std=0.3)
    moved = model(input_ids=tokens, labels=targets)
    expected = nn.functional.binary_cross_entropy_with_logits(moved.logits, targets)
    assert torch.allclose(moved.loss, expected) and not torch.allclose(moved.loss, before.loss)
    loss, logits = model(input_ids=tokens, labels=targets, return_dict=False)[:2]
    assert torch.equal(loss, moved.loss) and torch.equal(logits, moved.logits)
    assert torch.equal(model(input_ids=tokens).logits, moved.logits) and model(input_ids=tokens).loss is None


def test_the_plain_loop_learns(example):
    model, losses = example("attach_plain_loop").main()
    assert losses[-1] < 0.8 * losses[0] and model.correlation_head.blocks[0].spread_weight.abs().sum() > 0


def test_trainer_trains_saves_and_loads(example, tmp_path):
    pytest.importorskip("accelerate")
    model, loaded, before, after = example("attach_trainer").main(tmp_path / "out")
    assert after < 0.9 * before
    tokens, _ = example("attach_plain_loop").made_up_data(9, seed=1)
    with torch.no_grad():
        assert torch.equal(loaded.eval()(input_ids=tokens).logits, model.eval()(input_ids=tokens).logits)
    assert loaded.correlation_head.blocks[0].gather_weight.shape == (12, 8)
