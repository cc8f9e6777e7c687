"""Dropout from cheap random numbers: the distribution, the gradient, the same numbers again; attention as PyTorch's."""

import contextlib
import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from xmtc.encoders import dropout as room
from xmtc.encoders.dropout import attention, cheap_dropout, dropout
from xmtc.encoders.pretrained import Backbone
from xmtc.testing.pretrained import tiny_bert, tiny_vocabulary

CPU = torch.device("cpu")
NEXT_TO_NOTHING = 1e-12  # rounds to no value of 2^31


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_the_share_that_is_dropped(p, dtype):
    torch.manual_seed(0)
    count = 1_000_003  # no multiple of four
    y = dropout(torch.ones(count, dtype=dtype), p)
    assert y.dtype == dtype
    zero = int((y == 0).sum())
    assert abs(zero - p * count) < 5 * math.sqrt(p * (1 - p) * count)
    kept = y[y != 0].double()
    torch.testing.assert_close(
        kept, torch.full_like(kept, 1 / (1 - p)), rtol=1e-2 if dtype == torch.bfloat16 else 1e-3, atol=0
    )


def test_neighbours_are_drawn_on_their_own():
    """Four elements share one random number; any two of them agree as often as chance says."""
    torch.manual_seed(1)
    kept = dropout(torch.ones(400_000), 0.5).view(-1, 4) != 0
    for one in range(4):
        for other in range(one):
            assert abs((kept[:, one] == kept[:, other]).double().mean() - 0.5) < 5 * 0.5 / math.sqrt(len(kept))


def test_the_gradient_is_the_same_selection():
    x = torch.randn(7, 13, requires_grad=True)
    upstream = torch.randn(7, 13)
    y = dropout(x, 0.3)
    (gradient,) = torch.autograd.grad(y, x, upstream)
    torch.testing.assert_close(gradient, (y / x).detach() * upstream)


def test_the_seed_decides():
    def draw(seed):
        torch.manual_seed(seed)
        return dropout(torch.ones(99), 0.5)

    assert torch.equal(draw(3), draw(3)) and not torch.equal(draw(3), draw(4))


@pytest.mark.parametrize("shape", [(0,), (0, 3), (1,), (3, 1, 5)])
def test_odd_sizes(shape):
    assert dropout(torch.ones(shape), 0.5).shape == shape


def parts(queries=4, size=6):
    torch.manual_seed(2)
    shapes = [(3, 2, queries, size), (3, 2, 5, size), (3, 2, 5, size)]
    return [torch.randn(shape, requires_grad=True) for shape in shapes]


def masks():
    readable = torch.tensor([[1, 1, 0, 1, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)[:, None, None]
    return {"none": None, "bool": readable, "numbers": torch.randn(3, 1, 4, 5)}


@pytest.mark.parametrize("name", ["none", "bool", "numbers"])
@pytest.mark.parametrize("scale", [None, 0.7])
def test_attention_is_that_of_pytorch(name, scale):
    inputs, mask = parts(), masks()[name]
    ours = attention(*inputs, mask, NEXT_TO_NOTHING, scale)
    theirs = F.scaled_dot_product_attention(*inputs, attn_mask=mask, scale=scale)
    torch.testing.assert_close(ours, theirs)
    upstream = torch.randn_like(ours)
    mine, other = (torch.autograd.grad(answer, inputs, upstream) for answer in (ours, theirs))
    torch.testing.assert_close(mine, other)


def test_attention_expects_what_it_would_read_without_dropout():
    inputs, mask = [x.detach() for x in parts()], masks()["bool"]
    mean = sum(attention(*inputs, mask, 0.4, None) for _ in range(4000)) / 4000
    torch.testing.assert_close(mean, F.scaled_dot_product_attention(*inputs, attn_mask=mask), rtol=0, atol=0.1)


def test_attention_answers_in_the_type_of_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        ours = attention(*parts(), masks()["bool"], NEXT_TO_NOTHING, None)
        theirs = F.scaled_dot_product_attention(*parts(), attn_mask=masks()["bool"])
    assert ours.dtype == theirs.dtype == torch.bfloat16
    torch.testing.assert_close(ours, theirs, rtol=0, atol=3e-2)


@pytest.mark.parametrize("least", [-math.inf, torch.finfo(torch.float32).min])
@pytest.mark.parametrize("autocast", [False, True])
def test_a_position_that_may_read_nothing_spoils_no_other(least, autocast):
    """The least float32 is -inf in bf16."""
    inputs, mask = parts(), torch.zeros(3, 1, 4, 5)
    mask[1, :, 2], mask[2, :, :, 3] = least, least
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        ours = attention(*inputs, mask, NEXT_TO_NOTHING, None)
        theirs = F.scaled_dot_product_attention(*inputs, attn_mask=mask)
    others = torch.ones(3, 2, 4, dtype=torch.bool)
    others[1, :, 2] = False
    assert ours.isfinite().all()
    torch.testing.assert_close(ours[others], theirs[others], rtol=0, atol=3e-2 if autocast else 1e-5)
    gradients = torch.autograd.grad(ours[others].float().sum(), inputs)
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_a_second_derivative_is_refused():
    """PyTorch would take that of the bits for zero."""
    x = torch.randn(5, requires_grad=True)
    (gradient,) = torch.autograd.grad((dropout(x * x, 0.5) * x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient.sum().backward()


def test_layouts():
    """Whatever lies where in memory: transposed, every other element, the same element again."""
    x = torch.randn(6, 10)
    for laid in (x.t(), x[:, ::2], x[1:, 1:], x[:, :1].expand(6, 10)):
        torch.manual_seed(7)
        y = dropout(laid, 0.5)
        torch.manual_seed(7)
        assert torch.equal(y, dropout(laid.clone(memory_format=torch.contiguous_format), 0.5))


@pytest.fixture
def calls(monkeypatch):
    """Names of the room's own ways that were taken."""
    taken = []
    for name in ("dropout", "attention"):
        own = getattr(room, name)
        monkeypatch.setattr(room, name, lambda *a, own=own, name=name: taken.append(name) or own(*a))
    return taken


def test_only_what_drops_something_is_replaced(calls):
    x, (q, k, v) = torch.ones(5), parts()
    with cheap_dropout(CPU):
        for p, training, inplace in ((0.0, True, False), (1.0, True, False), (0.5, False, False), (0.5, True, True)):
            F.dropout(x.clone(), p, training, inplace)
        F.scaled_dot_product_attention(q, k, v)
        F.scaled_dot_product_attention(k, k, v, dropout_p=0.1, is_causal=True)
        assert calls == []
        torch.nn.Dropout(0.5)(x)
        F.scaled_dot_product_attention(q, k, v, dropout_p=0.1)
    F.dropout(x, 0.5)
    assert calls == ["dropout", "attention"]
    assert isinstance(cheap_dropout(torch.device("cuda")), contextlib.nullcontext)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.mark.parametrize("setting", ["training", "evaluation", "checkpointing"])
def test_a_pretrained_encoder_uses_it_in_training_alone(folder, calls, setting):
    backbone = Backbone(tiny_vocabulary(folder), str(folder), offline=True, checkpointing=setting == "checkpointing")
    backbone.train(setting != "evaluation")
    backbone(torch.tensor([[1, 2, 3]]), torch.ones(1, 3, dtype=torch.bool))
    assert ({"dropout", "attention"} <= set(calls)) == (setting == "training")
    assert setting == "training" or not calls


def test_made_again_for_the_gradient_the_mask_is_the_same():
    """As micro-batches do: the whole context lies inside the checkpoint."""
    x = torch.randn(50, requires_grad=True)

    def forward(x):
        with cheap_dropout(CPU):
            return F.dropout(torch.tanh(x), 0.5) ** 2

    y = checkpoint(forward, x, use_reentrant=False)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient == 0, y == 0)
    t = torch.tanh(x)
    torch.testing.assert_close(gradient, torch.where(y != 0, 8 * t * (1 - t**2), 0.0))
