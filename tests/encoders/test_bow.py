"""Bags of words against TF-IDF written as loops."""

import math

import numpy as np
import pytest
import torch

from xmtc.data.embedding import Random
from xmtc.data.vocabulary import UNKNOWN
from xmtc.encoders.bow import BagOfWords

FREQUENCY, DOCUMENTS = [0, 6, 9, 7, 5, 3, 2, 1, 1], 20  # words 7 and 8 are met in one document only
BAGS = [{2: 1, 4: 3, 6: 1}, {3: 2, 5: 1, 7: 4, 8: 1}, {1: 5}, {8: 1}]


def build(make_vocabulary, **settings):
    vocabulary = make_vocabulary(len(FREQUENCY), FREQUENCY, DOCUMENTS)
    return BagOfWords(vocabulary, None, Random(5), **settings)


def tf_idf(bags, rows):
    """(B, rows) weights of each row of the table in each document."""
    weights = np.zeros((len(bags), rows))
    for document, bag in enumerate(bags):
        found = []
        for word, count in bag.items():
            row = word if word < rows else UNKNOWN
            idf = 1e-3 if row == UNKNOWN else math.log((1 + DOCUMENTS) / (1 + FREQUENCY[row])) + 1
            found.append((row, (1 + math.log(count)) * idf))
        norm = math.sqrt(sum(weight**2 for _, weight in found))
        for row, weight in found:
            weights[document, row] += weight / norm
    return weights


def oracle(model, bags, table):
    hidden = (torch.from_numpy(tf_idf(bags, len(table))).to(table) @ table).relu()
    if model.layer is not None:
        hidden = hidden + (hidden @ model.layer.weight.T + model.layer.bias).relu()
    return hidden


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize(("min_documents", "rows"), [(1, 9), (2, 7), (6, 4)])
def test_equals_tf_idf_in_value_and_in_the_gradient_of_the_table(
    make_vocabulary, bag_batch, min_documents, rows, residual
):
    model = build(make_vocabulary, min_documents=min_documents, residual=residual).eval()
    assert len(model.embedding.weight) == rows
    table = model.embedding.weight.detach().clone().requires_grad_()
    reference = oracle(model, BAGS, table)
    features = model(bag_batch(BAGS)).features
    torch.testing.assert_close(features, reference)
    coming = torch.randn_like(features)
    reference.backward(coming)
    gradient = torch.autograd.grad(features, model.embedding.weight, coming)[0]
    assert gradient.is_sparse
    torch.testing.assert_close(gradient.to_dense(), table.grad)


def test_a_document_of_unknown_words_alone_is_the_unknown_vector(make_vocabulary, bag_batch):
    model = build(make_vocabulary, residual=False).eval()
    unknown = model.embedding.weight[UNKNOWN].relu()
    for bag in ({1: 1}, {1: 9}, {8: 1}):
        torch.testing.assert_close(model(bag_batch([bag])).features[0], unknown)


def test_unknown_words_beside_known_ones_hardly_count(make_vocabulary, bag_batch):
    model = build(make_vocabulary).eval()
    known, mixed = model(bag_batch([{2: 1, 4: 3}, {2: 1, 4: 3, 1: 2, 7: 1, 8: 1}])).features
    torch.testing.assert_close(known, mixed, atol=5e-3, rtol=0)


def test_the_order_of_words_and_of_documents_does_not_matter(make_vocabulary, bag_batch):
    model = build(make_vocabulary).eval()
    straight = model(bag_batch(BAGS))
    turned = model(bag_batch([dict(reversed(bag.items())) for bag in reversed(BAGS)]))
    torch.testing.assert_close(straight.features, turned.features.flip(0))
    coming = torch.randn_like(straight.features)
    gradients = [
        torch.autograd.grad(features, model.embedding.weight, g)[0].to_dense()
        for features, g in ((straight.features, coming), (turned.features, coming.flip(0)))
    ]
    torch.testing.assert_close(*gradients)


def test_an_empty_batch_passes_through(make_vocabulary, bag_batch):
    model = build(make_vocabulary)
    features = model(bag_batch([])).features
    assert features.shape == (0, 5)
    features.sum().backward()
    assert model.embedding.weight.grad.to_dense().eq(0).all()


def test_half_precision_keeps_the_sum_of_words_in_single(make_vocabulary, bag_batch):
    model, batch = build(make_vocabulary).eval(), bag_batch(BAGS)
    single = model(batch).features
    with torch.autocast("cpu", torch.bfloat16):
        half = model(batch).features
    half.sum().backward()
    torch.testing.assert_close(half.float(), single, atol=2e-2, rtol=2e-2)


def test_evaluation_is_deterministic_and_training_drops_words(make_vocabulary, bag_batch):
    model, batch = build(make_vocabulary, dropout=0.0, word_dropout=0.5, residual=False), bag_batch([{2: 1}] * 200)
    torch.nn.init.ones_(model.embedding.weight)
    full = model.eval()(batch).features
    assert torch.equal(full, model(batch).features)
    kept = model.train()(batch).features.sum(dim=1) / full.sum(dim=1)
    assert set(kept.tolist()) == {0.0, 2.0}  # a word is left out whole, and the others grow
    assert 60 < (kept == 0).sum() < 140


def test_dropout_of_features_acts_in_training_only(make_vocabulary, bag_batch):
    model, batch = build(make_vocabulary, dropout=0.5, word_dropout=0.0), bag_batch(BAGS)
    torch.testing.assert_close(model.eval()(batch).features, oracle(model, BAGS, model.embedding.weight))
    model.train()
    assert not torch.equal(model(batch).features, model(batch).features)


def test_the_decoder_takes_its_features(make_vocabulary, bag_batch):
    model = build(make_vocabulary).eval()
    assert model.layout == "bag"
    assert model.make_decoder(3)(model(bag_batch(BAGS))).shape == (4, 3)
