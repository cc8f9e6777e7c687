"""Batch normalisation over the documents of all processes, against PyTorch's own on all of them at once."""

import pytest
import torch
import torch.distributed as dist
from torch import nn

from xmtc.encoders.normalise import GAIN, BatchNorm, make_normalisation
from xmtc.testing.distributed import run_distributed

D, SIZES = 5, (7, 2)  # documents of each process


def documents():
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(sum(SIZES), D, generator=generator, dtype=torch.float64) * 3 + 8
    return features, torch.randn(sum(SIZES), D, generator=generator, dtype=torch.float64)


def step(norm, features, direction):
    """What one training step makes: features, gradients of them and of the weights, running statistics."""
    features = features.clone().requires_grad_()
    made = norm(features)
    (made * direction).sum().backward()
    return [made.detach(), features.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]


def reference():
    return step(nn.BatchNorm1d(D).double(), *documents())


def of_a_rank():
    start = sum(SIZES[: dist.get_rank()])
    mine = slice(start, start + SIZES[dist.get_rank()])
    return step(BatchNorm(D).double(), *(part[mine] for part in documents()))


def test_one_process_is_pytorchs_own_in_value_and_gradient():
    for mine, theirs in zip(step(BatchNorm(D).double(), *documents()), reference(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_two_processes_of_unequal_batches_are_one():
    first, second = run_distributed(of_a_rank, 2)
    expected = reference()
    for place, join in enumerate((torch.cat, torch.cat, sum, sum)):
        torch.testing.assert_close(join([first[place], second[place]]), expected[place])
    for place in (4, 5):  # running statistics: the same on every rank
        torch.testing.assert_close(first[place], expected[place])
        assert torch.equal(first[place], second[place])


def test_a_single_document_and_evaluation_use_what_the_others_left():
    norm, (features, _) = BatchNorm(D).double(), documents()
    norm(features)
    before = norm.running_mean.clone()
    alone = norm(features[:1])
    assert torch.equal(norm.running_mean, before)
    norm.eval()
    torch.testing.assert_close(norm(features)[:1], alone)
    theirs = nn.BatchNorm1d(D).double()
    theirs.load_state_dict(norm.state_dict())
    torch.testing.assert_close(norm(features), theirs.eval()(features))
    assert norm(features[:0]).shape == (0, D)


def test_half_precision_is_computed_in_float32():
    features = torch.full((4, D), 300.0, dtype=torch.bfloat16)
    features[0] += 2
    made = BatchNorm(D)(features)
    assert made.dtype == torch.float32 and float(made[0, 0].detach()) == pytest.approx(3**0.5, rel=1e-3)


@pytest.mark.parametrize(("kind", "made"), [(None, nn.Identity), ("layer", nn.LayerNorm), ("batch", BatchNorm)])
def test_by_name(kind, made):
    norm = make_normalisation(kind, D)
    assert type(norm) is made and all((p == GAIN).all() for n, p in norm.named_parameters() if n == "weight")
