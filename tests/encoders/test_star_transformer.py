"""Star-Transformer against a loop over positions, heads and places, in value and gradient."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from xmtc.data.embedding import Random
from xmtc.encoders.star_transformer import StarTransformer
from xmtc.errors import InputError
from xmtc.execution.chunked import Chunked
from xmtc.execution.dense import Dense
from xmtc.heads.lcenet import LCENet
from xmtc.training.objectives import Objective

SIZE, HEADS = 6, 2
TEXTS = [[3, 4, 5, 3, 7], [7, 1], [9]]


def build(make_vocabulary, text=None, **settings):
    torch.manual_seed(0)
    own = {"heads": HEADS, "cycles": 2, "max_length": 8} | settings
    model = StarTransformer(make_vocabulary(15), text, Random(SIZE), **own).eval()
    for parameter in model.parameters():  # large enough for every term to show, biases and norms included
        torch.nn.init.normal_(parameter, 0, 0.7)
    return model


def linear(layer, x):
    return layer.weight.detach().numpy() @ x + layer.bias.detach().numpy()


def normed(x, norm):
    x = np.maximum(x, 0)
    x = (x - x.mean()) / np.sqrt(x.var() + norm.eps)
    return x * norm.weight.detach().numpy() + norm.bias.detach().numpy()


def attend(maps, asks, places):
    read = []
    for part in np.split(np.arange(SIZE), HEADS):
        query = linear(maps.query, asks)[part]
        scores = np.array([query @ linear(maps.key, place)[part] / np.sqrt(SIZE / HEADS) for place in places])
        weights = np.exp(scores) / np.exp(scores).sum()
        read.append(sum(w * linear(maps.value, place)[part] for w, place in zip(weights, places, strict=True)))
    return linear(maps.out, np.concatenate(read))


def slow(model, text):
    """Features of one text by itself."""
    e = [model.embedding.weight.detach().numpy()[word] for word in text]
    if model.positions is not None:
        e = [x + model.positions.detach().numpy()[i] for i, x in enumerate(e)]
    h, s = e, sum(e) / len(e)
    for cycle in model.cycles:
        ring = [[h[i], h[i - 1], h[(i + 1) % len(h)], e[i], s] for i in range(len(h))]
        h = [normed(attend(cycle.ring, places[0], places), cycle.ring_norm) for places in ring]
        s = normed(attend(cycle.star, s, [s, *h]), cycle.star_norm)
    return (s + np.max(h, axis=0)) / 2


@pytest.mark.parametrize("positions", [True, False])
def test_equals_the_slow_loop_in_value_and_gradient(make_vocabulary, padded_batch, positions):
    model = build(make_vocabulary, positions=positions).double()
    features = model(padded_batch(TEXTS, width=7)).features
    everything = lambda: np.stack([slow(model, text) for text in TEXTS])  # noqa: E731
    np.testing.assert_allclose(features.detach().numpy(), everything(), rtol=1e-9, atol=1e-12)
    share = torch.randn(features.shape, dtype=torch.float64)
    (features * share).sum().backward()
    step, random = 1e-6, np.random.default_rng(0)
    for name, parameter in model.named_parameters():
        grad, flat = parameter.grad.to_dense().flatten(), parameter.data.view(-1)
        assert grad.abs().max() > 0 or name.endswith("key.bias"), name  # a softmax does not see what all keys share
        for place in {int(grad.abs().argmax()), int(random.integers(len(flat)))}:
            held, values = flat[place].item(), []
            for sign in (1, -1):
                flat[place] = held + sign * step
                values.append((everything() * share.numpy()).sum())
            flat[place] = held
            expected = (values[0] - values[1]) / (2 * step)
            assert grad[place].item() == pytest.approx(expected, rel=1e-5, abs=1e-6), name


def test_without_positions_a_text_is_a_ring(make_vocabulary, padded_batch):
    """Turned round it is the same text, and mirrored too; in another order it is another."""
    model = build(make_vocabulary, positions=False).double()
    with torch.no_grad():
        found = model(padded_batch([[3, 4, 5, 6, 7], [5, 6, 7, 3, 4], [7, 6, 5, 4, 3], [3, 5, 4, 6, 7]])).features
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0], found[2])
    assert (found[0] - found[3]).abs().max() > 1e-3
    model = build(make_vocabulary, positions=True).double()
    with torch.no_grad():
        found = model(padded_batch([[3, 4, 5, 6, 7], [5, 6, 7, 3, 4]])).features
    assert (found[0] - found[1]).abs().max() > 1e-3


def test_what_is_far_is_read_through_the_relay(make_vocabulary, padded_batch):
    """One cycle: a satellite knows its neighbours and the mean. Two: what the relay has read."""
    for cycles, further in ((1, False), (2, True)):
        model = build(make_vocabulary, cycles=cycles, positions=False).double()
        batch = padded_batch([[3, 4, 5, 6, 7, 8, 9]])
        e = model.embedding(batch.tokens).detach().requires_grad_()
        h, s, mask = e, e.detach().mean(1), torch.ones(1, 7, dtype=torch.bool)
        ring = tuple(torch.tensor([[(i + by) % 7 for i in range(7)]]) for by in (-1, 1))
        for cycle in model.cycles:
            h, s = cycle(h, s, e, mask, ring)
        (grad,) = torch.autograd.grad(h[0, 0].sum(), e)
        assert (grad[0, 3].abs().max() > 0) == further


def test_other_documents_and_the_chunks_of_the_labels_change_nothing(make_vocabulary, padded_batch):
    labels, found = [[1, 3], [], [0, 1, 2, 3, 4]], []
    for execution, options, texts in (
        (Dense, {}, TEXTS), (Chunked, {"chunk": 2}, TEXTS), (Dense, {}, [*TEXTS, [2] * 8]),
    ):  # fmt: skip
        model = build(make_vocabulary).double()
        torch.manual_seed(1)
        made = execution(model.make_decoder(5).double(), LCENet(5, rank=2).double(), Objective(), **options)
        batch = padded_batch(texts, [*labels, []][: len(texts)])
        encoded = model(batch)
        encoded.features = encoded.features[: len(TEXTS)]
        loss = made.loss(encoded, batch.labels.part(0, len(TEXTS)))
        loss.backward()
        parameters = [*model.parameters(), *made.parameters()]
        found.append([loss.detach(), *(p.grad.to_dense() for p in parameters)])
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])


def test_unusable_settings_name_their_key(make_vocabulary, padded_batch):
    for settings, key in [
        ({"heads": 4}, "encoder.heads"),
        ({"text": SimpleNamespace(length=9)}, "encoder.max_length"),
        ({"text": SimpleNamespace(length=None)}, "encoder.max_length"),
    ]:
        with pytest.raises(InputError, match=key):
            build(make_vocabulary, **settings)
    with pytest.raises(InputError, match="encoder.max_length"):
        build(make_vocabulary)(padded_batch([[1] * 9]))
    build(make_vocabulary, positions=False, text=SimpleNamespace(length=None))(padded_batch([[1] * 9]))
