"""SGM against a loop over documents, steps and words in NumPy: likelihood, greedy sequence and their gradients."""

import numpy as np
import pytest
import torch

from xmtc.data.embedding import Random
from xmtc.data.text import Words
from xmtc.encoders.label_sequence import label_sequences
from xmtc.encoders.sgm import SGM
from xmtc.execution.chunked import Chunked
from xmtc.execution.dense import Dense
from xmtc.heads.lcenet import LCENet
from xmtc.heads.none import NoHead
from xmtc.training.objectives import Objective

V, L, H, E = 15, 5, 3, 4
TEXTS = [[3, 4, 5, 3, 9, 2, 7], [7], [2, 8], [6, 6, 5, 11], [12, 3], [14, 13, 4]]
ROWS = [[0, 2], [], [0, 1, 2, 3, 4], [3], [1, 4], [0, 3]]
COUNTED = [[2, 3], [2, 0], [2, 3], [4, 2], [1]]  # frequency: 2, 3, then 0, 1 and 4 by id
ORDER = [2, 3, 0, 1, 4]


@pytest.fixture
def build(make_vocabulary, labels_of):
    def make(scale=1.0, **settings):
        """Without dropout unless asked for, so that training can be compared."""
        torch.manual_seed(0)
        settings = {"dropout": 0.0, "embedding_dropout": 0.0, "hidden": H, "label_size": E} | settings
        model = SGM(make_vocabulary(V), Words(), Random(6), L, **settings).double()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, 0, scale)
        torch.nn.init.constant_(model.decoder.end.bias, -0.5)  # so that most sequences are longer than nothing
        model.prepare(labels_of(COUNTED), ["x"] * L)
        return model

    return make


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    return np.exp(x - np.max(x)) / np.exp(x - np.max(x)).sum()


class Slow:
    """One document after the other. `choose` is told a step and its probabilities and names the label, or L."""

    def __init__(self, model):
        self.p = {name: p.detach().numpy() for name, p in model.decoder.named_parameters()}
        self.layers, self.mixed = len(model.decoder.cells), model.decoder.gate is not None

    def cell(self, i, x, h, c):
        names = (f"cells.{i}.{name}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        w, u, a, b = (self.p[name] for name in names)
        into, forget, new, out = np.split(w @ x + a + u @ h + b, 4)
        c = sigmoid(forget) * c + sigmoid(into) * np.tanh(new)
        return sigmoid(out) * np.tanh(c), c

    def walk(self, states, choose, most):
        """Probabilities (L + 1,) of each step, up to the end or `most` steps."""
        p = self.p
        first = np.concatenate([states[-1][:H], states[0][H:]])
        h, c = [first] * self.layers, [np.zeros(2 * H)] * self.layers
        fed, gone, told = p["start"], [], []
        for step in range(most):
            x = fed
            for i in range(self.layers):
                h[i], c[i] = self.cell(i, x, h[i], c[i])
                x = h[i]
            weights = softmax(np.array([state @ p["query.weight"] @ x for state in states]))
            context = sum(w * state for w, state in zip(weights, states, strict=True))
            answer = np.tanh(p["join.weight"] @ np.concatenate([context, x]) + p["join.bias"])
            logits = np.append(p["output.weight"] @ answer + p["output.bias"], p["end.weight"] @ answer + p["end.bias"])
            open_ = [k for k in range(L + 1) if k not in gone]
            probabilities = np.zeros(L + 1)
            probabilities[open_] = softmax(logits[open_])
            told.append(probabilities)
            label = choose(step, probabilities)
            if label == L:
                break
            gone.append(label)
            fed = p["labels.weight"][label]
            if self.mixed:
                mix = sum(probabilities[k] * p["labels.weight"][k] for k in range(L))
                share = sigmoid(p["gate.weight"] @ np.concatenate([fed, mix]) + p["gate.bias"])
                fed = (1 - share) * fed + share * mix
        return told

    def log_likelihood(self, states, row, most):
        true = [label for label in ORDER if label in row] + [L]
        told = self.walk(states, lambda step, _: true[step], most)
        return sum(np.log(p[label]) for p, label in zip(told, true, strict=False))

    def greedy(self, states, most):
        emitted = []

        def choose(_, probabilities):
            emitted.append(int(np.argmax(probabilities)))
            return emitted[-1]

        told = self.walk(states, choose, most)
        labels = [label for label in emitted if label < L]
        logits = np.log(np.maximum(np.max(told, 0)[:L], 1e-300))
        for step, label in enumerate(labels):
            logits[label] = told[step][label] + len(labels) - 1 - step
        return labels, logits


def states_of(model, batch):
    states, mask = model.reader(batch)
    return [s[m].detach().numpy() for s, m in zip(states, mask, strict=True)]


SETTINGS = [{}, {"global_embedding": False}, {"layers": 1, "most": 3}, {"most": 1}]


@pytest.mark.parametrize("settings", SETTINGS)
def test_likelihood_and_greedy_sequence_equal_the_loop(build, padded_batch, settings):
    model, seen = build(**settings), set()
    batch, most = padded_batch(TEXTS, ROWS), settings.get("most", 25)
    slow, states = Slow(model), states_of(model, batch)
    expected = -np.mean([slow.log_likelihood(s, row, most) for s, row in zip(states, ROWS, strict=True)])
    assert model.train()(batch).auxiliary["sequence"].item() == pytest.approx(expected, rel=1e-10)
    with torch.no_grad():
        found = model.eval()(batch).features.numpy()
    for row, s in zip(found, states, strict=True):
        labels, logits = slow.greedy(s, most)
        np.testing.assert_allclose(row, logits, rtol=1e-9, atol=1e-12)
        by_logit = [int(label) for label in np.argsort(-row) if row[label] > 0]
        assert by_logit == labels and len(labels) <= most  # as they were emitted
        assert (row[[k for k in range(L) if k not in labels]] <= -np.log(2) + 1e-12).all()
        seen.add(len(labels))
    assert most < 25 or len(seen) > 1  # texts end at different steps, so waiting for others is tried


@pytest.mark.parametrize("settings", [{}, {"global_embedding": False}])
@pytest.mark.parametrize("wanted", ["likelihood", "greedy"])
def test_gradients_equal_differences_of_the_loop(build, padded_batch, settings, wanted):
    model = build(**settings)
    batch = padded_batch(TEXTS, ROWS)
    states, upstream = states_of(model, batch), np.random.default_rng(1).normal(size=(len(TEXTS), L))
    if wanted == "likelihood":
        model.train()(batch).auxiliary["sequence"].backward()
    else:
        (model.eval()(batch).features * torch.tensor(upstream)).sum().backward()
    slow, random = Slow(model), np.random.default_rng(0)

    def value():
        if wanted == "likelihood":
            return -np.mean([slow.log_likelihood(s, row, 25) for s, row in zip(states, ROWS, strict=True)])
        return sum(u @ slow.greedy(s, 25)[1] for s, u in zip(states, upstream, strict=True))

    for name, parameter in model.decoder.named_parameters():
        array = slow.p[name]  # the parameter's own memory
        for place in [tuple(random.integers(0, k) for k in array.shape) for _ in range(3)]:
            start, values = array[place], []
            for step in (1e-6, -1e-6):
                array[place] = start + step
                values.append(value())
            array[place] = start
            expected = (values[0] - values[1]) / 2e-6
            assert parameter.grad[place].item() == pytest.approx(expected, rel=1e-4, abs=1e-7), (name, place)
    assert model.reader.bilstm.lstm.weight_hh_l0.grad.abs().sum() > 0


def test_what_comes_behind_the_end_is_nobodys(build, padded_batch):
    """Two texts, of which the first ends at once, and would go on with label 3 if it were asked again."""
    model = build().eval()
    told = iter(
        [
            [[0.1, 0.1, 0.1, 0.1, 0.1, 0.5], [0.1, 0.6, 0.1, 0.1, 0.05, 0.05]],
            [[0.0, 0.1, 0.0, 0.7, 0.1, 0.1], [0.2, 0.0, 0.4, 0.2, 0.1, 0.1]],
            [[0.9, 0.0, 0.0, 0.0, 0.0, 0.1], [0.3, 0.0, 0.0, 0.1, 0.1, 0.5]],
        ]
    )
    model.decoder._step = lambda source, walk: (torch.tensor(next(told)).double().log(), walk)
    with torch.no_grad():
        found = model(padded_batch(TEXTS[:2])).features.numpy()
    np.testing.assert_allclose(found[0], np.log([0.1] * L), rtol=1e-6)
    np.testing.assert_allclose(found[1], [np.log(0.3), 1.6, 0.4, np.log(0.2), np.log(0.1)], rtol=1e-6)


def test_sequences_are_by_frequency_and_cut(build, labels_of):
    model = build()
    labels = labels_of(ROWS)
    sequences, steps = label_sequences(labels, model.frequency_rank, 25)
    assert sequences[:4].tolist() == [[2, 0, L, L, L, L], [L] * 6, [*ORDER, L], [3, L, L, L, L, L]]
    assert steps.tolist() == [3, 1, 6, 2, 3, 3]
    sequences, steps = label_sequences(labels, model.frequency_rank, 2)
    assert sequences.tolist() == [[2, 0], [L, L], [2, 3], [3, L], [1, 4], [3, 0]]
    assert steps.tolist() == [2, 1, 2, 2, 2, 2]


def training_loss(model, execution, batch):
    encoded = model.train()(batch)
    return encoded.main_weight * execution.loss(encoded, batch.labels) + sum(encoded.auxiliary.values())


@pytest.mark.parametrize("settings", [{}, {"global_embedding": False}, {"logit_loss": 1.0}])
def test_every_parameter_moves(build, padded_batch, settings):
    model = build(dropout=0.1, embedding_dropout=0.1, **settings)
    execution = Dense(model.make_decoder(L), NoHead(L), Objective())
    training_loss(model, execution, padded_batch(TEXTS, ROWS)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.to_dense().abs().sum() > 0, name


def test_a_head_is_trained_by_the_logits_that_a_text_will_get(build, padded_batch):
    """Not by those of the true sequence, which would tell it the answer."""
    model, found = build(logit_loss=0.5), []
    batch, head = padded_batch(TEXTS, ROWS), LCENet(L, rank=2, blocks=2).double()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, 0, 0.5)
    together = torch.nn.ModuleList([model, head])
    torch.testing.assert_close(model.train()(batch).features, model.eval()(batch).features)
    for kind, options in [(Dense, {}), (Chunked, {"chunk": 2}), (Chunked, {"chunk": 3, "keep_raw": False})]:
        together.zero_grad()
        execution = kind(model.make_decoder(L), head, Objective(), **options)
        loss = training_loss(model, execution, batch)
        loss.backward()
        found.append([loss.detach(), *(p.grad.to_dense().clone() for p in together.parameters())])
        with torch.no_grad():
            scores, labels = execution.topk(model.eval()(batch), L)
        expected = head(model(batch).features).sort(descending=True)
        torch.testing.assert_close(scores, expected.values.float())
        assert torch.equal(labels, expected.indices)
    for others in found[1:]:
        torch.testing.assert_close(others, found[0])
    assert all(grad.abs().sum() > 0 for grad in found[0][-len(list(head.parameters())) :])


def test_padding_neighbours_and_labels_change_nothing(build, padded_batch):
    model = build().eval()
    with torch.no_grad():
        whole = model(padded_batch(TEXTS)).features
        changed = padded_batch(TEXTS, labels=ROWS, width=11)
        changed.tokens[1, 1:] = 5
        encoded = model(changed)
        torch.testing.assert_close(encoded.features, whole)
        assert not encoded.auxiliary and encoded.main_weight == 1
        for text, row in zip(TEXTS, whole, strict=True):
            torch.testing.assert_close(model(padded_batch([text])).features[0], row)
        assert model(padded_batch([], width=3)).features.shape == (0, L)
    loss = build().train()(padded_batch(TEXTS, ROWS)).auxiliary["sequence"]
    padded = build().train()(padded_batch(TEXTS, ROWS, width=11)).auxiliary["sequence"]
    torch.testing.assert_close(padded, loss)
    alone = [build().train()(padded_batch([t], [r])).auxiliary["sequence"] for t, r in zip(TEXTS, ROWS, strict=True)]
    torch.testing.assert_close(torch.stack(alone).mean(), loss)


def test_half_precision_is_near(build, padded_batch):
    model = build(scale=0.3).float()
    batch = padded_batch(TEXTS, ROWS)
    for mode in (True, False):
        model.train(mode)
        exact = model(batch)
        with torch.autocast("cpu", torch.bfloat16):
            near = model(batch)
        if mode:
            near.auxiliary["sequence"].backward()
            torch.testing.assert_close(near.auxiliary["sequence"], exact.auxiliary["sequence"], rtol=0.03, atol=0.03)
        else:
            assert near.features.dtype == torch.float32
            torch.testing.assert_close(near.features, exact.features, rtol=0.05, atol=0.05)
