"""XML-CNN by distinct word against Conv2d + AdaptiveMaxPool1d over every position."""

import pytest
import torch
import torch.nn.functional as F

from xmtc.data.embedding import Random
from xmtc.encoders.xmlcnn import XMLCNN, WordConvolution, bins
from xmtc.heads.cornet import CorNet

EURLEX, AMAZONCAT, WIKI = 3_956, 13_330, 501_008


def plain_convolution(vectors_BTE, weight_FWE, count):
    width, size = weight_FWE.shape[1:]
    rows = F.conv2d(vectors_BTE[:, None], weight_FWE[:, None], padding=(width - 1, 0)).squeeze(3)
    return F.adaptive_max_pool1d(rows, count)


@pytest.mark.parametrize("width", [1, 2, 8])
@pytest.mark.parametrize(("tokens", "words"), [(1, 1), (2, 5), (7, 4), (50, 30), (500, 90)])
def test_word_convolution_equals_conv2d_in_value_and_gradient(tokens, words, width):
    indices = torch.randint(words, (3, tokens))  # words repeat, within a document and across
    vectors = torch.randn(words, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, width, 5, dtype=torch.float64, requires_grad=True)
    ours = WordConvolution.apply(indices, vectors, weight, 8)
    reference = plain_convolution(vectors[indices], weight, 8)
    torch.testing.assert_close(ours, reference)
    coming = torch.randn_like(ours)
    expected = torch.autograd.grad(reference, (vectors, weight), coming)
    for mine, theirs in zip(torch.autograd.grad(ours, (vectors, weight), coming), expected, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_word_convolution_passes_gradcheck():
    indices = torch.tensor([[0, 1, 2, 1, 3], [3, 3, 0, 2, 1]])
    vectors = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, w: WordConvolution.apply(indices, v, w, 3), (vectors, weight))


def test_word_convolution_of_frozen_words_still_trains_its_weights():
    indices, vectors = torch.tensor([[0, 1, 2]]), torch.randn(3, 4)
    weight = torch.randn(2, 2, 4, requires_grad=True)
    WordConvolution.apply(indices, vectors, weight, 2).sum().backward()
    reference = torch.autograd.grad(plain_convolution(vectors[indices], weight, 2).sum(), weight)[0]
    torch.testing.assert_close(weight.grad, reference)


@pytest.mark.parametrize(("width", "length"), [(2, 501), (4, 503), (8, 507)])
def test_bins_cover_the_lengths_of_500_tokens(width, length):
    assert length == 500 + width - 1
    pooled = F.adaptive_max_pool1d(torch.arange(float(length))[None, None], 8).flatten()
    assert [stop - 1 for _, stop in bins(length, 8)] == pooled.tolist()
    pooled = F.adaptive_max_pool1d(-torch.arange(float(length))[None, None], 8).flatten()
    assert [start for start, _ in bins(length, 8)] == (-pooled).tolist()
    reversed_words = torch.arange(500).flip(0)[None]  # the last position of the convolution sees word 0 alone
    output = WordConvolution.apply(reversed_words, torch.randn(500, 3), torch.randn(4, width, 3), 8)
    assert output.shape == (1, 4, 8)


def build(make_vocabulary, **settings):
    return XMLCNN(make_vocabulary(12), None, Random(5), filters=6, bottleneck=7, **settings).eval()


def rebuilt(model, tokens):
    """The same network from its layers (CorNet's code), position by position."""
    vectors = F.embedding(tokens, model.embedding.weight)
    branches = []
    for weight, bias in zip(model.convolutions, model.biases, strict=True):
        width = weight.shape[1]
        rows = F.conv2d(vectors[:, None], weight[:, None], bias, padding=(width - 1, 0)).squeeze(3).relu()
        assert rows.shape[2] == tokens.shape[1] + width - 1
        branches.append(F.adaptive_max_pool1d(rows, 8))
    return model.bottleneck(torch.cat(branches, 1).flatten(1)).relu()


@pytest.mark.parametrize("width", [None, 9, 23])
def test_the_encoder_equals_its_description_in_value_and_gradient(make_vocabulary, padded_batch, width):
    model = build(make_vocabulary).double()
    batch = padded_batch([[3, 4, 3, 5, 11], [6, 2], [1]], width=width)
    encoded, reference = model(batch), rebuilt(model, batch.tokens)
    assert encoded.features.shape == (3, 7) and (encoded.features > 0).any()
    torch.testing.assert_close(encoded.features, reference)
    coming, parameters = torch.randn_like(reference), list(model.parameters())
    ours = torch.autograd.grad(encoded.features, parameters, coming)
    expected = list(torch.autograd.grad(reference, parameters, coming))
    expected[0][0] = 0  # the padding row of the table never learns
    assert ours[0].is_sparse
    for mine, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine.to_dense() if mine.is_sparse else mine, theirs)


def test_padding_changes_the_bins_and_so_the_features(make_vocabulary, padded_batch):
    """Expected: as in CorNet's code. A fixed length makes documents independent of the batch they are in."""
    model, texts = build(make_vocabulary), [[3, 4, 5, 6, 7, 8, 9, 10, 11, 2], [6, 2]]
    together = model(padded_batch(texts)).features[1:]
    alone = model(padded_batch(texts[1:])).features
    assert not torch.allclose(together, alone)
    fixed = [model(padded_batch(some, width=30)).features[-1:] for some in (texts, texts[1:])]
    torch.testing.assert_close(*fixed)


def test_an_empty_batch_passes_through(make_vocabulary, padded_batch):
    model = build(make_vocabulary)
    features = model(padded_batch([], width=4)).features
    assert features.shape == (0, 7)
    features.sum().backward()
    assert all(p.grad.to_dense().eq(0).all() for p in model.parameters())


def test_dropout_and_embedding_dropout_act_in_training_only(make_vocabulary, padded_batch):
    batch = padded_batch([[3, 4, 5, 6]] * 40)
    model = build(make_vocabulary, dropout=0.5).train()
    assert 0.2 < ((model(batch).features == 0) & (model.eval()(batch).features > 0)).double().mean() < 0.8
    model = build(make_vocabulary, dropout=0.0, embedding_dropout=0.9).train()
    assert not torch.equal(model(batch).features, model(batch).features)
    torch.testing.assert_close(model.eval()(batch).features, rebuilt(model, batch.tokens))


def test_embedding_dropout_drops_and_scales_whole_words(make_vocabulary, padded_batch, monkeypatch):
    seen = []
    monkeypatch.setattr(WordConvolution, "apply", lambda words, vectors, weight, count: seen.append(vectors) or (
        vectors.new_zeros(len(words), len(weight), count)))  # fmt: skip
    model = build(make_vocabulary, embedding_dropout=0.5).train()
    model(padded_batch([list(range(1, 12))]))
    before = model.embedding.weight[1:]
    dropped = (seen[0] == 0).all(dim=1)
    assert 0 < dropped.sum() < 11
    torch.testing.assert_close(seen[0][~dropped], 2 * before[~dropped])
    assert seen[0] is seen[1] is seen[2]  # the same words for every width


def count(module):
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("labels", "base", "head", "heads"),
    [
        (EURLEX, 4_140_788, {"rank": 1000, "blocks": 2}, 15_833_912),
        (AMAZONCAT, 8_949_650, {"rank": 1000, "blocks": 2}, 53_348_660),
        (WIKI, 259_128_464, {"rank": 100, "blocks": 2}, 201_405_416),
        (WIKI, 259_128_464, {"rank": 200, "blocks": 1}, 200_904_408),
    ],
)
def test_parameters_are_those_of_the_papers(make_vocabulary, labels, base, head, heads):
    with torch.device("meta"):
        model = XMLCNN(make_vocabulary(11), None, Random(300))
        assert count(model) + count(model.make_decoder(labels)) - 300 * 11 == base
        assert count(CorNet(labels, **head)) == heads
        assert model.bottleneck.in_features == 3072
