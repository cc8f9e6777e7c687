"""The largest answer of a convolution, in value and gradient, against PyTorch's convolution and maximum."""

import pytest
import torch
import torch.nn.functional as F

from xmtc.bench.window_max import window_max as bench
from xmtc.encoders import window_max as module
from xmtc.encoders.window_max import window_max


def parts(documents, positions, labels, channels, height, width, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(documents, positions + height - 1, labels + width - 1, generator=generator, dtype=dtype)
    weight = torch.randn(channels, height, width, generator=generator, dtype=dtype)
    return [x.requires_grad_() for x in (image, weight, torch.randn(channels, generator=generator, dtype=dtype))]


def by_convolution(image, weight, bias):
    return F.conv2d(image[:, None], weight[:, None], bias).amax((1, 3))


@pytest.mark.parametrize("pieces", [1, 1 << 20])  # a document at a time, all at once
@pytest.mark.parametrize(
    "shape", [(3, 5, 4, 4, 2, 3), (1, 1, 1, 1, 1, 1), (4, 7, 3, 5, 10, 10), (2, 6, 5, 2, 10, 1), (1, 9, 2, 3, 1, 4)]
)
def test_value_and_gradients_are_those_of_the_convolution(monkeypatch, shape, pieces):
    monkeypatch.setitem(module.ANSWERS, "cpu", pieces)
    given = parts(*shape)
    ours, theirs = window_max(*given), by_convolution(*given)
    torch.testing.assert_close(ours, theirs)
    upstream = torch.randn_like(theirs)
    mine, other = (torch.autograd.grad(x, given, upstream) for x in (ours, theirs))
    for ours_one, theirs_one in zip(mine, other, strict=True):
        # sums of one window are kept in float32
        torch.testing.assert_close(ours_one, theirs_one, rtol=1e-5, atol=1e-5)


def test_of_equal_answers_the_first_gets_the_gradient():
    image = torch.ones(1, 2, 3, requires_grad=True)
    weight = torch.ones(2, 1, 1, requires_grad=True)
    bias = torch.zeros(2, requires_grad=True)
    by_image, by_weight, by_bias = torch.autograd.grad(window_max(image, weight, bias).sum(), [image, weight, bias])
    assert by_image.tolist() == [[[1, 0, 0], [1, 0, 0]]]
    assert by_weight.flatten().tolist() == [2, 0] and by_bias.tolist() == [2, 0]


def test_autocast_gives_its_type_and_float32_gradients():
    given = parts(3, 20, 9, 9, 10, 10, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        ours = window_max(*given)
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours.float(), by_convolution(*given), rtol=0.02, atol=0.02 * 10)
    assert {x.dtype for x in torch.autograd.grad(ours.float().sum(), given)} == {torch.float32}


def test_frozen_filters_and_images_that_need_no_gradient():
    image, weight, bias = parts(2, 4, 3, 3, 2, 2)
    by_image = torch.autograd.grad(window_max(image, weight.detach(), bias.detach()).sum(), image)[0]
    torch.testing.assert_close(by_image, torch.autograd.grad(by_convolution(image, weight, bias).sum(), image)[0])
    by_weight = torch.autograd.grad(window_max(image.detach(), weight, bias).sum(), weight)[0]
    torch.testing.assert_close(
        by_weight, torch.autograd.grad(by_convolution(image, weight, bias).sum(), weight)[0], rtol=1e-5, atol=1e-5
    )


def test_nothing_but_the_image_and_the_places_is_kept():
    """(B, M) places and the inputs, where the answers would be (B, M, n', C)."""
    kept = []
    image, weight, bias = parts(2, 30, 20, 20, 3, 3, dtype=torch.float32)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        window_max(image, weight, bias)
    assert sum(kept) == image.numel() + weight.numel() + 2 * 30


def test_the_bench_compares_like_with_like():
    assert bench(documents=2, positions=5, labels=4, size=3).facts["gradient_error"] < 1e-5
