"""Correlation blocks and heads against hand computations in numpy."""

import math

import numpy as np
import pytest
import torch

from xmtc.errors import InputError
from xmtc.heads.block import ENTRY, ENTRY_BACKWARD, CorrelationBlock, CorrelationHead, FullBlock
from xmtc.heads.cornet import CorNet
from xmtc.heads.lcenet import LCENet
from xmtc.heads.none import NoHead

ENTRIES = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "elu": lambda x: np.where(x > 0, x, np.exp(x) - 1),
    "identity": lambda x: x,
}


def numbers(tensor):
    return tensor.detach().numpy()


def by_hand(block, x, entry="sigmoid", middle="elu", residual=True):
    """Loops over labels and context numbers."""
    inside, between = ENTRIES[entry](x), ENTRIES[middle]
    w1, b1, w2, b2 = (numbers(getattr(block, f"{part}_{kind}")) for part in ("gather", "spread")
                      for kind in ("weight", "bias"))  # fmt: skip
    y = np.zeros_like(x)
    for document in range(len(x)):
        context = [
            between(sum(inside[document, label] * w1[label, r] for label in range(x.shape[1])) + b1[r])
            for r in range(len(b1))
        ]
        for label in range(x.shape[1]):
            y[document, label] = sum(w2[label, r] * context[r] for r in range(len(b1))) + b2[label]
    return y + x if residual else y


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("middle", ["elu", "identity"])
@pytest.mark.parametrize("entry", list(ENTRIES))
def test_every_switch_of_stacked_blocks_reads_the_logits_of_the_one_before(entry, middle, residual):
    head = LCENet(5, rank=3, blocks=2, entry=entry, middle=middle, residual=residual).double()
    x = 3 * torch.randn(4, 5, dtype=torch.float64)
    expected = numbers(x)
    for block in head.blocks:
        expected = by_hand(block, expected, entry, middle, residual)
    np.testing.assert_allclose(numbers(head(x)), expected, rtol=1e-10)


@pytest.mark.parametrize("entry", list(ENTRIES))
def test_written_derivatives_are_those_of_autograd_also_at_nought(entry):
    x = torch.tensor([-30.0, -1.5, 0.0, 0.5, 30.0], dtype=torch.float64, requires_grad=True)
    y = ENTRY[entry](x)
    grad = torch.randn_like(y)
    sought = torch.autograd.grad(y, x, grad)[0]
    torch.testing.assert_close(ENTRY_BACKWARD[entry](grad, x.detach(), y.detach()), sought)


@pytest.mark.parametrize("residual", [True, False])
def test_without_bottleneck_every_label_reads_every_label(residual):
    head = LCENet(4, blocks=2, bottleneck=False, residual=residual).double()
    x = torch.randn(3, 4, dtype=torch.float64)
    expected = numbers(x)
    for block in head.blocks:
        mixed = ENTRIES["sigmoid"](expected) @ numbers(block.weight).T + numbers(block.bias)
        expected = mixed + expected if residual else mixed
    np.testing.assert_allclose(numbers(head(x)), expected, rtol=1e-10)
    assert head(x).shape == (3, 4) and all(isinstance(block, FullBlock) for block in head.blocks)


@pytest.mark.parametrize("settings", [{}, {"bottleneck": False}])
@pytest.mark.parametrize("residual", [True, False])
def test_nothing_spread_is_the_identity_with_a_residual_and_zero_without(settings, residual):
    head, x = LCENet(6, rank=2, residual=residual, **settings), torch.randn(3, 6)
    for block in head.blocks:
        for name, parameter in block.named_parameters():
            if name in ("spread_weight", "spread_bias", "weight", "bias"):
                torch.nn.init.zeros_(parameter)
    assert torch.equal(head(x), x if residual else torch.zeros_like(x))


@pytest.mark.parametrize("settings", [{}, {"bottleneck": False}])
def test_zero_init_starts_as_the_identity_and_can_learn(settings):
    head, x = LCENet(6, rank=2, blocks=1, zero_init=True, **settings), torch.randn(3, 6)
    assert torch.equal(head(x), x)
    head(x).square().sum().backward()
    last = head.blocks[0].weight if settings else head.blocks[0].spread_weight
    assert last.grad.abs().min() > 0


def test_lcenet_by_default_is_cornet():
    cornet, lcenet = CorNet(7), LCENet(7)
    assert {k: v.shape for k, v in cornet.state_dict().items()} == {k: v.shape for k, v in lcenet.state_dict().items()}
    lcenet.load_state_dict(cornet.state_dict())
    x = 5 * torch.randn(3, 7)
    assert torch.equal(cornet(x), lcenet(x))
    assert [block.gather_bias.shape for block in cornet.blocks] == [(1000,)] * 2
    assert cornet.raw_loss_weight == lcenet.raw_loss_weight == 0


def test_slices_of_gather_and_spread_sum_to_the_whole():
    block, x = CorrelationBlock(11, 4).double(), torch.randn(3, 11, dtype=torch.float64)
    slices = [slice(0, 4), slice(4, 9), slice(9, 11)]
    gathered = sum(block.gather(x[:, part], part) for part in slices)
    torch.testing.assert_close(gathered, block.gather(x))
    context = block.context(gathered)
    torch.testing.assert_close(torch.cat([block.spread(x[:, part], context, part) for part in slices], 1), block(x))


@pytest.mark.parametrize(("num_labels", "rank"), [(1, 1), (1, 3), (2, 5)])
def test_few_labels_and_a_rank_above_them(num_labels, rank):
    head = CorNet(num_labels, rank)
    assert head(torch.randn(2, num_labels)).shape == (2, num_labels)
    assert head(torch.randn(0, num_labels)).shape == (0, num_labels)
    assert sum(p.numel() for p in head.parameters()) == 2 * (2 * rank * num_labels + rank + num_labels)


@pytest.mark.parametrize("settings", [{}, {"residual": False}, {"entry": "tanh"}, {"bottleneck": False}])
def test_gradients(settings):
    head = LCENet(4, rank=3, **settings).double()
    names = [name for name, _ in head.named_parameters()]

    def run(x, *parameters):
        return torch.func.functional_call(head, dict(zip(names, parameters, strict=True)), x)

    x = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (x, *(p.detach().requires_grad_() for p in head.parameters())))


def test_label_parameters_are_stored_by_label():
    block = CorrelationBlock(9, 4)
    shapes = {name: tuple(parameter.shape) for name, parameter in block.label_parameters().items()}
    assert shapes == {"gather_weight": (9, 4), "spread_weight": (9, 4), "spread_bias": (9,)}
    assert all(parameter is getattr(block, name) for name, parameter in block.label_parameters().items())


def test_weights_start_xavier_uniform_and_biases_as_pytorch_has_them():
    block = CorrelationBlock(300, 40)
    bound = math.sqrt(6 / 340)
    for weight in (block.gather_weight, block.spread_weight):
        assert 0.99 * bound < weight.abs().max() <= bound
    assert 0.8 / math.sqrt(300) < block.gather_bias.abs().max() <= 1 / math.sqrt(300)
    assert 0.8 / math.sqrt(40) < block.spread_bias.abs().max() <= 1 / math.sqrt(40)
    assert block.gather_weight.is_contiguous() and all(parameter.is_leaf for parameter in block.parameters())


def test_dropout_acts_on_the_context_and_in_training_only():
    head, x = LCENet(5, rank=400, blocks=1, dropout=0.5), torch.randn(2, 5)
    block = head.blocks[0]
    context = block.eval().context(block.gather(x))
    dropped = block.train().context(block.gather(x))
    zero = dropped == 0
    assert 0.4 < zero.double().mean() < 0.6
    torch.testing.assert_close(dropped[~zero], 2 * context[~zero])
    assert not torch.equal(head(x), head(x)) and torch.equal(head.eval()(x), head(x))


def test_label_by_label_matrices_above_the_limit_are_refused_with_their_size():
    size = r"head\.bottleneck=false.*501,008 labels.*1,004\.04 GB.*head\.full_limit=5e\+08"
    with pytest.raises(InputError, match=size):
        LCENet(501_008, bottleneck=False)
    with torch.device("meta"):
        LCENet(13_330, bottleneck=False)  # AmazonCat-13K fits
    LCENet(10, bottleneck=False, full_limit=100)
    with pytest.raises(InputError):
        LCENet(11, bottleneck=False, full_limit=100)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"dropout": 0.1, "bottleneck": False}, "head.dropout"),
    ],
)
def test_impossible_settings_are_named(settings, key):
    with pytest.raises(InputError, match=key):
        LCENet(5, **settings)


def test_no_head_has_no_parameters_and_returns_its_logits():
    head, x = NoHead(5), torch.randn(2, 5)
    assert head(x) is x and not list(head.parameters()) and isinstance(head, CorrelationHead)
