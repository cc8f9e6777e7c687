"""MATCH's encoder against the slow loop of test_bertxml, in value and gradient."""

import numpy as np
import pytest
import torch

from tests.encoders.test_bertxml import SIZE, SMALL, batch_of, reference, scramble
from xmtc.data.embedding import Random
from xmtc.decoders.hierarchical import HierarchicalDecoder
from xmtc.encoders.match import MATCH

TEXTS = [[3, 4, 5, 3], [7, 1]]


def build(make_vocabulary, **settings):
    torch.manual_seed(0)
    return MATCH(make_vocabulary(15), None, Random(SIZE), **SMALL | settings).eval()


@pytest.mark.parametrize("variant", ["authors", "fixed"])
def test_equals_the_slow_loop_in_value_and_gradient(make_vocabulary, variant):
    model, fixed = build(make_vocabulary, variant=variant).double(), variant == "fixed"
    scramble(model)
    features = model(batch_of([TEXTS[0] + [0], TEXTS[1] + [0, 0, 0]], [4, 2])).features
    slow = lambda: np.stack([reference(model, text, fixed) for text in TEXTS])  # noqa: E731
    np.testing.assert_allclose(features.detach().numpy(), slow(), rtol=1e-9, atol=1e-12)
    share = torch.randn(features.shape, dtype=torch.float64)
    (features * share).sum().backward()
    random, step, checked = np.random.default_rng(0), 1e-6, 0
    for name, parameter in model.named_parameters():
        grad = parameter.grad.to_dense()
        flat = parameter.data.view(-1)
        rows = grad.abs().flatten().topk(1).indices.tolist()  # the largest, and any other
        for place in {*rows, int(random.integers(flat.numel()))}:
            held, values = flat[place].item(), []
            for sign in (1, -1):
                flat[place] = held + sign * step
                values.append((slow() * share.numpy()).sum())
            flat[place] = held
            expected = (values[0] - values[1]) / (2 * step)
            assert grad.flatten()[place].item() == pytest.approx(expected, rel=1e-5, abs=1e-6), name
            checked += 1
    assert checked > 40


def test_sizes_are_the_papers(make_vocabulary):
    with torch.device("meta"):
        model = MATCH(make_vocabulary(15), None, Random(100))
    assert len(model.layers) == 4 and model.size == 800 and model.positions.weight.shape == (508, 100)
    assert all(layer.heads == 2 and layer.up.weight.shape == (400, 100) for layer in model.layers)
    assert isinstance(model.norm, torch.nn.LayerNorm)


@pytest.mark.parametrize("reduction, factor", [("mean", 1), ("label_sum", 9)])
def test_its_decoder_has_the_regularisers(make_vocabulary, reduction, factor):
    model = build(make_vocabulary, parameter_weight=0.5, output_weight=0.25, reduction=reduction)
    decoder = model.make_decoder(9)
    assert isinstance(decoder, HierarchicalDecoder) and decoder.weight.shape == (9, model.size)
    assert decoder.term_weights == [factor * 0.5, factor * 0.25]


def test_padding_and_other_documents_change_nothing(make_vocabulary):
    model = build(make_vocabulary)
    scramble(model)
    with torch.no_grad():
        alone = model(batch_of([TEXTS[1]], [2])).features
        beside = model(batch_of([TEXTS[0] + [0, 0], TEXTS[1] + [0] * 4], [4, 2])).features[1:]
    torch.testing.assert_close(alone, beside)
