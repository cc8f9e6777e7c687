"""BertXML against a loop over heads and positions written from the description alone."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from xmtc.data.batch import Batch, Labels
from xmtc.data.embedding import Random
from xmtc.data.vocabulary import Vocabulary
from xmtc.encoders.bertxml import BertXML
from xmtc.errors import InputError

V, SIZE = 15, 6
SMALL = {"layers": 3, "heads": 2, "feedforward": 9, "cls": 2, "max_length": 7}


def build(**settings):
    torch.manual_seed(0)
    vocabulary = Vocabulary(V, np.ones(V, dtype=np.int64), 1)
    return BertXML(vocabulary, settings.pop("text", None), Random(SIZE), **SMALL | settings).eval()


def scramble(module):
    """Weights large enough for every term to show, biases and norms included."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, 0, 0.5)


def batch_of(tokens, lengths):
    none = Labels(torch.zeros(0, dtype=torch.int64), torch.zeros(len(tokens) + 1, dtype=torch.int64))
    return Batch(torch.arange(len(tokens)), none, torch.tensor(tokens), torch.tensor(lengths))


def linear(layer, x):
    return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def normed(x, norm):
    if isinstance(norm, torch.nn.Identity):
        return x
    x = (x - x.mean()) / math.sqrt(x.var() + 1e-12)
    return x * norm.weight.detach().numpy() + norm.bias.detach().numpy()


def elu(x):
    return np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)


def reference(model, tokens, fixed):
    """Features of one text without padding, position by position and head by head, in numpy."""
    table = model.embedding.weight.detach().numpy()
    cls = model.cls.detach().numpy() if fixed else table[V:]
    positions = model.positions.weight.detach().numpy()
    words = [*cls, *(table[t] for t in tokens)]
    hidden = [normed(word + positions[i], model.norm) for i, word in enumerate(words)]
    for depth, layer in enumerate(model.layers):
        head = SIZE // 2
        outputs = []
        for position in range(2 if depth == 2 else len(hidden)):
            query = linear(layer.query, hidden[position])
            read = []
            for part in (slice(0, head), slice(head, SIZE)):
                scores = [query[part] @ linear(layer.key, h)[part] / math.sqrt(head) for h in hidden]
                weights = np.exp(scores) / np.exp(scores).sum()
                read.append(sum(w * linear(layer.value, h)[part] for w, h in zip(weights, hidden, strict=True)))
            x = normed(hidden[position] + linear(layer.out, np.concatenate(read)), layer.norms[0])
            up = linear(layer.up, x)
            if fixed:
                up = up * 0.5 * (1 + np.array([math.erf(u / math.sqrt(2)) for u in up]))
            else:
                up = np.maximum(up, 0)
            outputs.append(normed(x + linear(layer.down, up), layer.norms[1]))
        hidden = outputs
    return elu(linear(model.pooler, elu(np.concatenate(hidden))))


@pytest.mark.parametrize("variant", ["authors", "fixed"])
def test_equals_the_slow_loop(variant):
    model = build(variant=variant, bottleneck=4).double()
    scramble(model)
    texts = [[3, 4, 5, 3], [7, 1]]
    with torch.no_grad():
        found = model(batch_of([texts[0] + [0], texts[1] + [0, 0, 0]], [4, 2])).features
    for row, text in zip(found, texts, strict=True):
        np.testing.assert_allclose(row.numpy(), reference(model, text, variant == "fixed"), rtol=1e-9, atol=1e-12)


def test_adding_minus_10000_to_the_scores_is_the_same():
    """The authors' mask: real padding words stand in the batch and are pushed out of the softmax."""
    query, key, value = torch.randn(3, 1, 2, 5, 4).unbind(0)
    keep = torch.tensor([True, True, True, False, False])
    scores = query @ key.transpose(-1, -2) / 2 + torch.where(keep, 0.0, -10000.0)
    found = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=keep[None, None, None])
    torch.testing.assert_close(found, scores.softmax(-1) @ value)


def test_authors_start_is_xavier_everywhere():
    model = build(cls=5)
    assert not any(isinstance(module, torch.nn.LayerNorm) for module in model.modules())
    assert model.embedding.weight.shape == (V + 5, SIZE) and not model.embedding.sparse
    for module in model.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            bound = math.sqrt(6 / sum(module.weight.shape))
            assert 0.8 * bound < module.weight.abs().max() <= bound
        if isinstance(module, torch.nn.Linear):
            assert (module.bias == 0).all()
    assert (model.embedding.weight[0] != 0).any()


def test_fixed_keeps_the_word_vectors():
    torch.manual_seed(5)
    words = Random(SIZE)
    table = words.table(Vocabulary(V, np.ones(V, dtype=np.int64), 1))
    words.table = lambda vocabulary: table.clone()
    model = BertXML(Vocabulary(V, np.ones(V, dtype=np.int64), 1), None, words, variant="fixed", **SMALL)
    assert torch.equal(model.embedding.weight[1:], table[1:]) and (model.embedding.weight[0] == 0).all()
    assert sum(isinstance(module, torch.nn.LayerNorm) for module in model.modules()) == 1 + 2 * 3


def test_unusable_settings_name_their_key():
    for settings, key in [
        ({"heads": 4}, "encoder.heads"),
        ({"text": SimpleNamespace(length=8)}, "encoder.max_length"),
        ({"text": SimpleNamespace(length=None)}, "encoder.max_length"),
    ]:
        with pytest.raises(InputError, match=key):
            build(**settings)
    with pytest.raises(InputError, match="encoder.max_length"):
        build()(batch_of([[1] * 8], [8]))
    build()(batch_of([[1] * 7 + [0]], [7]))
