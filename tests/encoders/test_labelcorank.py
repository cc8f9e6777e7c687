"""LabelCoRank against a slow NumPy version of its selection and re-reading, in value and gradient."""

import math

import numpy as np
import pytest
import torch

from xmtc.data.batch import Batch, Labels
from xmtc.encoders.cooccurrence import expand, partners
from xmtc.encoders.labelcorank import LabelCoRank
from xmtc.errors import InputError
from xmtc.testing.pretrained import tiny_bert, tiny_vocabulary

L = 9
GOLD = [[0, 1, 2], [0, 1], [3], [], [0, 4, 5], [5, 4], [6, 0], [1, 2, 7], [4, 5, 6, 7], [1], [1], [4]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def build(folder, labels_of):
    def make(scale=0.4, **settings):
        torch.manual_seed(0)
        settings = {
            "gamma": 4,
            "heads": 4,
            "inner": 7,
            "name": str(folder),
            "offline": True,
            "num_labels": L,
        } | settings
        model = LabelCoRank(tiny_vocabulary(folder), None, **settings).double().eval()
        for name, parameter in model.named_parameters():
            if "backbone" not in name:
                torch.nn.init.normal_(parameter, 0, scale)
        model.prepare(labels_of([[i for i in row if i < model.num_labels] for row in GOLD]), ["x"] * L)
        return model

    return make


TEXTS = [[4, 5, 6, 7, 8], [9], [10, 11, 4]]


def batch_of(texts=TEXTS, labels=None, width=0):
    tokens = torch.zeros(len(texts), max([width, *map(len, texts)]), dtype=torch.int64)
    for row, text in zip(tokens, texts, strict=True):
        row[: len(text)] = torch.tensor(text)
    rows = labels or [[0]] * len(texts)
    ids = torch.tensor([i for row in rows for i in row], dtype=torch.int64)
    offsets = torch.tensor(np.cumsum([0, *map(len, rows)]))
    lengths = torch.tensor([len(text) for text in texts], dtype=torch.int64)
    return Batch(torch.arange(len(texts)), Labels(ids, offsets), tokens, lengths)


def matrix(counts=False):
    m = np.zeros((L, L))
    for i in range(L):
        for j in range(L):
            if i != j:
                both = sum(i in row and j in row for row in GOLD)
                one = sum(i in row for row in GOLD)
                m[i, j] = both if counts else both / max(one, 1)
    return m.astype(np.float32).astype(np.float64)  # as kept; sums of a few are then exact in any order


def choose(p, m, gamma, alpha):
    """One document, step by step as the paper tells it."""
    by_probability = sorted(range(len(p)), key=lambda i: (-p[i], i))
    second = [i for i in by_probability if p[i] > alpha] or by_probability[:5]
    if len(second) >= gamma:
        return second[:gamma]
    score = m[second].sum(0)
    third = [i for i in sorted(range(len(p)), key=lambda i: (-score[i], i)) if i not in second and score[i] > 0]
    chosen = second + third[: gamma - len(second)]
    return chosen + [i for i in by_probability if i not in chosen][: gamma - len(chosen)]


@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize("gamma", [1, 3, 6, L])
def test_selection_equals_the_loop(labels_of, counts, gamma):
    ids, values = partners(labels_of(GOLD), L, L - 1, counts)
    random = np.random.default_rng(1)
    probabilities = random.random((60, L)) ** random.choice([1, 3, 12], (60, 1))  # many, some and none above alpha
    probabilities[0] = 1.0
    probabilities[1] = 0.0
    found = expand(torch.tensor(probabilities), ids, values, gamma, 0.3)
    expected = [choose(p, matrix(counts), gamma, 0.3) for p in probabilities]
    assert found.tolist() == expected
    assert all(len(set(row)) == gamma for row in found.tolist())
    above = [{i for i in range(L) if p[i] > 0.3} for p in probabilities]
    assert all(a <= set(row) for a, row in zip(above, found.tolist(), strict=True) if len(a) <= gamma)
    assert (gamma == L or any(len(a) > gamma for a in above)) and any(not a for a in above)


def test_only_the_strongest_partners_are_kept(labels_of):
    ids, values = partners(labels_of(GOLD), L, 2)
    full = matrix()
    for i in range(L):
        best = sorted([j for j in range(L) if full[i, j] > 0], key=lambda j: (-full[i, j], j))[:2]
        assert ids[i, : len(best)].tolist() == best and (values[i, len(best) :] == 0).all()
        np.testing.assert_allclose(values[i, : len(best)], full[i, best], rtol=1e-6)
    empty = partners(labels_of([[], [3]]), L, 3)
    assert (empty[1] == 0).all()


def slow(model, weights, hidden, mask, chosen):
    """Features (gamma, D) of one document from named arrays."""
    D = hidden.shape[1]
    label = weights["labels.weight"][chosen]
    if "positions" in weights:
        label = label + weights["positions"]
    inner = np.maximum(label @ weights["inner.weight"].T + weights["inner.bias"], 0)
    label = inner @ weights["outer.weight"].T + weights["outer.bias"]
    words = hidden[mask]
    query = label @ weights["query.weight"].T + weights["query.bias"]
    key = words @ weights["key.weight"].T + weights["key.bias"]
    value = words @ weights["value.weight"].T + weights["value.bias"]
    out = np.zeros((len(chosen), D))
    size = D // 4
    for head in range(4):
        part = slice(head * size, (head + 1) * size)
        for g in range(len(chosen)):
            scores = key[:, part] @ query[g, part] / math.sqrt(size)
            attention = np.exp(scores - scores.max())
            out[g, part] = (attention / attention.sum()) @ value[:, part]
    return out


@pytest.mark.parametrize("settings", [{}, {"selection": "top_prob"}, {"sort": "none"}, {"positions": False}])
def test_value_equals_the_slow_version(build, settings):
    model = build(**settings)
    batch = batch_of()
    weights = {name: p.detach().numpy() for name, p in model.named_parameters()}
    with torch.no_grad():
        hidden, mask, first = model._first(batch)
        features, chosen = model(batch).features, model.propose(batch)[1]
    frequency = [sum(i in row for row in GOLD) for i in range(L)]
    for b in range(3):
        p = 1 / (1 + np.exp(-first[b].numpy()))
        expected = choose(p, matrix(), 4, 0.3)
        if settings.get("selection"):
            expected = sorted(range(L), key=lambda i: (-p[i], i))[:4]
        if not settings.get("sort"):
            expected = sorted(expected, key=lambda i: (-frequency[i], i))
        assert chosen[b].tolist() == expected
        read = slow(model, weights, hidden[b].numpy(), mask[b].numpy(), expected)
        np.testing.assert_allclose(features[b].numpy(), read.flatten(), rtol=1e-9, atol=1e-12)


def test_gradient_equals_differences_of_the_slow_version(build):
    model, batch = build(), batch_of()
    with torch.no_grad():
        hidden, mask, _ = model._first(batch)
        chosen = model.propose(batch)[1]
    torch.manual_seed(1)
    upstream = torch.randn(3, 4 * 16, dtype=torch.float64)
    (model(batch).features * upstream).sum().backward()

    def value(weights):
        rows = [slow(model, weights, hidden[b].numpy(), mask[b].numpy(), chosen[b].tolist()) for b in range(3)]
        return sum(float((row.flatten() * up.numpy()).sum()) for row, up in zip(rows, upstream, strict=True))

    weights = {name: p.detach().numpy().copy() for name, p in model.named_parameters() if "backbone" not in name}
    random = np.random.default_rng(0)
    for name in sorted(set(weights) - {"first.weight", "first.bias"}):
        for _ in range(4):
            place = tuple(random.integers(0, n) for n in weights[name].shape)
            start, values = weights[name][place], []
            for step in (1e-6, -1e-6):
                weights[name][place] = start + step
                values.append(value(weights))
            weights[name][place] = start
            found = dict(model.named_parameters())[name].grad[place].item()
            assert found == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4, abs=1e-6), name
    assert model.first.weight.grad is None  # nothing flows through the choice


@pytest.mark.parametrize("reduction", ["label_sum", "mean"])
def test_both_losses(build, reduction):
    model = build(beta=0.25, dropout=0.0, reduction=reduction).train()
    for part in model.modules():  # the tiny model's own
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    rows = [[0, 3], [], list(range(L))]
    encoded = model(batch_of(labels=rows))
    z = model.propose(batch_of())[0].detach().numpy()
    target = np.array([[i in row for i in range(L)] for row in rows])
    expected = (np.log1p(np.exp(z)) - z * target).sum() / 3 / (L if reduction == "mean" else 1)
    assert encoded.main_weight == 0.75
    assert encoded.auxiliary["first"].item() == pytest.approx(0.25 * expected, rel=1e-9)
    assert not model.eval()(batch_of(labels=rows)).auxiliary


def test_every_parameter_moves(build):
    model = build().train()
    decoder = model.make_decoder(L).double()
    encoded = model(batch_of())
    loss = decoder(encoded).square().sum() + sum(encoded.auxiliary.values())
    loss.backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    # a softmax does not feel a bias that all its scores share; rounding decides whether it is exactly zero
    assert [name for name in dead if not name.endswith("key.bias")] == []
    assert decoder.weight.shape == (L, 4 * 16)


def test_padding_neighbours_and_labels_change_nothing(build):
    model = build()
    with torch.no_grad():
        whole = model(batch_of()).features
        changed = batch_of(labels=[[1], [2], []], width=12)
        changed.tokens[1, 1:] = 9
        torch.testing.assert_close(model(changed).features, whole)
        for text, row in zip(TEXTS, whole, strict=True):
            torch.testing.assert_close(model(batch_of([text])).features[0], row)
        assert model(batch_of([], labels=None, width=2)).features.shape == (0, 64)
        assert model(batch_of([list(range(4, 40))])).features.shape == (1, 64)  # cut to the model's positions


def test_permuting_labels_permutes_answers(build, labels_of):
    model = build()
    decoder = model.make_decoder(L).double()
    with torch.no_grad():
        before = decoder(model(batch_of()))
    order = torch.tensor([3, 8, 0, 5, 1, 7, 2, 6, 4])  # new label k is old label order[k]
    place = order.argsort()
    with torch.no_grad():
        for parameter in (model.first.weight, model.first.bias, model.labels.weight, decoder.weight, decoder.bias):
            parameter.copy_(parameter[order].clone())
        model.prepare(labels_of([[int(place[i]) for i in row] for row in GOLD]), ["x"] * L)
        # equal frequencies go by id, which a permutation changes: keep the old order
        model.frequency_rank.copy_(build().frequency_rank[order])
        torch.testing.assert_close(decoder(model(batch_of())), before[:, order])


def test_few_labels_and_bad_settings(build):
    model = build(num_labels=2, gamma=20)
    assert model(batch_of(labels=[[0], [1], []])).features.shape == (3, 2 * 16)
    assert build(num_labels=1)(batch_of()).features.shape == (3, 16)
    with pytest.raises(InputError, match="encoder.heads"):
        build(heads=5)
