"""KimCNN, LSAN and LEAM against loops over words and labels, written from their descriptions alone."""

import numpy as np
import pytest
import torch

from xmtc.data.embedding import Random
from xmtc.data.text import HuggingFace, Words
from xmtc.data.vocabulary import Vocabulary
from xmtc.encoders.kimcnn import KimCNN
from xmtc.encoders.leam import LEAM
from xmtc.encoders.lsan import LSAN
from xmtc.errors import InputError
from xmtc.testing.pretrained import tiny_bert, tiny_vocabulary

V, E, L = 15, 6, 4
TEXTS = [[3, 4, 5, 3, 9, 2, 7], [7], [2, 8]]


@pytest.fixture
def vocabulary(tmp_path):
    words = ["<pad>", "<unk>", "red", "fish", "law", *(f"w{i}" for i in range(5, V))]
    (tmp_path / "vocabulary.txt").write_text("".join(f"{word}\n" for word in words))
    return Vocabulary(V, np.ones(V, dtype=np.int64), 1, tmp_path)


@pytest.fixture
def build(vocabulary):
    def make(kind, **settings):
        torch.manual_seed(0)
        if kind is not KimCNN:
            settings = {"num_labels": L} | settings
        model = kind(vocabulary, Words(), Random(E), **settings).double().eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, 0, 0.5)
        with torch.no_grad():
            next(m for m in model.modules() if isinstance(m, torch.nn.Embedding)).weight[0] = 0
        return model

    return make


KINDS = {
    KimCNN: {"filters": 3, "widths": [1, 3, 5]},
    LSAN: {"hidden": E, "attention": 5},
    LEAM: {"ngram": 3, "hidden": 7},
}


@pytest.mark.parametrize("kind", KINDS)
def test_padding_neighbours_and_labels_change_nothing(build, padded_batch, kind):
    model = build(kind, **KINDS[kind])
    with torch.no_grad():
        whole = model(padded_batch(TEXTS)).features
        changed = padded_batch(TEXTS, labels=[[0], [1, 2], []], width=11)
        changed.tokens[1, 1:] = 5
        torch.testing.assert_close(model(changed).features, whole)
        for text, row in zip(TEXTS, whole, strict=True):
            torch.testing.assert_close(model(padded_batch([text])).features[0], row)
        assert model(padded_batch([], width=3)).features.shape == (0, whole.shape[1])


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_gets_a_gradient(build, padded_batch, kind):
    model = build(kind, **KINDS[kind]).train()
    encoded = model(padded_batch(TEXTS))
    decoder = model.make_decoder(L).double()
    (decoder(encoded).square().sum() + sum(encoded.auxiliary.values())).backward()
    for name, parameter in [*model.named_parameters(), *decoder.named_parameters()]:
        assert parameter.grad is not None and parameter.grad.to_dense().abs().sum() > 0, name


def test_kimcnn_equals_the_loop(build, padded_batch):
    model = build(KimCNN, filters=3, widths=[1, 3, 5])
    table = model.embedding.weight.detach().numpy()
    for text, row in zip(TEXTS, model(padded_batch(TEXTS)).features.detach().numpy(), strict=True):
        expected = []
        for convolution in model.convolutions:
            weight, bias = convolution.weight.detach().numpy(), convolution.bias.detach().numpy()
            width = weight.shape[2]
            words = [*(table[w] for w in text), *[np.zeros(E)] * max(width - len(text), 0)]
            for f in range(3):
                windows = range(len(words) - width + 1)
                sums = [bias[f] + sum(words[s + i] @ weight[f, :, i] for i in range(width)) for s in windows]
                expected.append(max(0.0, max(sums)))
        np.testing.assert_allclose(row, expected, rtol=1e-9, atol=1e-12)
    with pytest.raises(InputError, match="encoder.widths"):
        build(KimCNN, widths=[])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    return np.exp(x - np.max(x)) / np.exp(x - np.max(x)).sum()


def test_lsan_equals_the_loop(build, padded_batch):
    model = build(LSAN, hidden=E, attention=5)
    states, _ = model.reader(padded_batch(TEXTS))
    found = model(padded_batch(TEXTS)).features.detach().numpy()
    p = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    c = model.label_vectors.numpy()
    for row, text, hidden in zip(found, TEXTS, states.detach().numpy(), strict=True):
        h = hidden[: len(text)]
        mean = np.zeros(2 * E)
        for label in range(L):
            inner = [np.tanh(p["first.weight"] @ x + p["first.bias"]) for x in h]
            weights = softmax(np.array([p["second.weight"][label] @ x + p["second.bias"][label] for x in inner]))
            own = sum(w * x for w, x in zip(weights, h, strict=True))
            forward = sum((c[label] @ x[:E]) * x[:E] for x in h)
            backward = sum((c[label] @ x[E:]) * x[E:] for x in h)
            theirs = np.concatenate([forward, backward])
            a = sigmoid(p["self_gate.weight"][0] @ own + p["self_gate.bias"][0])
            b = sigmoid(p["label_gate.weight"][0] @ theirs + p["label_gate.bias"][0])
            mean += (a * own + b * theirs) / (a + b) / L
        np.testing.assert_allclose(row, mean, rtol=1e-8)


def test_leam_equals_the_loop(build, padded_batch):
    model = build(LEAM, ngram=3, hidden=7)
    p = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    encoded = model(padded_batch(TEXTS))

    def classify(z):
        inner = np.maximum(p["classifier.0.weight"] @ z + p["classifier.0.bias"], 0)
        return p["classifier.3.weight"] @ inner + p["classifier.3.bias"]

    for row, weights, text in zip(encoded.features, encoded.attention, TEXTS, strict=True):
        words = [p["embedding.weight"][w] for w in text]
        cosine = np.array([[w @ c / np.linalg.norm(w) / np.linalg.norm(c) for c in p["labels"]] for w in words])
        padded = np.concatenate([np.zeros((1, L)), cosine, np.zeros((1, L))])
        scores = [
            max(max(0.0, p["bias"][k] + sum(padded[t + i, k] * p["filter"][i] for i in range(3))) for k in range(L))
            for t in range(len(words))
        ]
        expected = softmax(np.array(scores))
        np.testing.assert_allclose(weights[: len(text)].numpy(), expected, rtol=1e-8)
        z = sum(w * word for w, word in zip(expected, words, strict=True))
        np.testing.assert_allclose(row.detach().numpy(), classify(z), rtol=1e-8)
    model.train().classifier.eval()
    loss = model(padded_batch(TEXTS)).auxiliary["label_names"].item()
    expected = 0.0
    for label in range(L):
        logits = classify(p["labels"][label])
        expected += np.log1p(np.exp(logits)).sum() - logits[label]
    assert loss == pytest.approx(expected / L, rel=1e-9)
    assert not model.eval()(padded_batch(TEXTS)).auxiliary


@pytest.mark.parametrize("kind, name", [(LSAN, "label_vectors"), (LEAM, "labels")])
def test_label_vectors_start_as_the_words_of_their_names(build, labels_of, kind, name):
    model = build(kind, **KINDS[kind])
    before = getattr(model, name).detach().clone()
    model.prepare(labels_of([[0]]), ["Red_fish", "law", "unheard", ""])
    table = next(m for m in model.modules() if isinstance(m, torch.nn.Embedding)).weight.detach()
    after = getattr(model, name).detach()
    torch.testing.assert_close(after[0], (table[2] + table[3]) / 2)
    torch.testing.assert_close(after[1], table[4])
    assert torch.equal(after[2:], before[2:])


@pytest.mark.parametrize("kind, name", [(LSAN, "label_vectors"), (LEAM, "labels")])
def test_of_texts_in_word_pieces_as_the_pieces_of_their_names(tmp_path, labels_of, kind, name):
    vocabulary = tiny_vocabulary(tiny_bert(tmp_path, layers=1))
    model = kind(vocabulary, HuggingFace(str(tmp_path)), Random(E), L, **KINDS[kind])
    before = getattr(model, name).detach().clone()
    model.prepare(labels_of([[0]]), ["w3_w4", "w1 strange", "strange", ""])
    table = next(m for m in model.modules() if isinstance(m, torch.nn.Embedding)).weight.detach()
    after = getattr(model, name).detach()
    torch.testing.assert_close(after[0], (table[7] + table[8]) / 2)
    torch.testing.assert_close(after[1], table[5])
    assert torch.equal(after[2:], before[2:])


def test_what_cannot_be_used(build):
    with pytest.raises(InputError, match="encoder.hidden=5"):
        build(LSAN, hidden=5)
    assert build(LSAN, hidden=5, label_names=False).make_decoder(L).weight.shape == (L, 10)
    with pytest.raises(InputError, match="encoder.ngram"):
        build(LEAM, ngram=4)
