"""Label attention against an explicit loop over documents and labels that builds every context."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from xmtc.data.embedding import Random
from xmtc.data.vocabulary import Vocabulary
from xmtc.decoders.label_attention import LabelAttentionDecoder
from xmtc.encoders.attentionxml import AttentionXML
from xmtc.errors import InputError

D, L = 4, 5


def encoded_batch(dtype=torch.float64):
    torch.manual_seed(1)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    return SimpleNamespace(features=torch.randn(2, 3, D, dtype=dtype, requires_grad=True), mask=mask)


def looped(decoder, encoded):
    rows = []
    for states, keep in zip(encoded.features, encoded.mask, strict=True):
        states = states[keep]
        logits = []
        for label, query in enumerate(decoder.queries):
            weight = torch.stack([query @ state for state in states]).exp()
            x = sum(w * state for w, state in zip(weight / weight.sum(), states, strict=True))
            for depth, linear in enumerate(decoder.mlp):
                x = linear.weight @ (x.clamp(min=0) if depth else x) + linear.bias
            logits.append(x[0] if decoder.bias is None else x[0] + decoder.bias[label])
        rows.append(torch.stack(logits))
    return torch.stack(rows)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("mlp", [[3], [3, 2], []])
def test_equals_the_loop_over_labels(mlp, bias):
    torch.manual_seed(0)
    decoder = LabelAttentionDecoder(D, L, mlp, label_bias=bias).double()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter)
    encoded, weight = encoded_batch(), torch.randn(2, L, dtype=torch.float64)
    results = []
    for function in (decoder, lambda encoded: looped(decoder, encoded)):
        logits = function(encoded)
        grads = torch.autograd.grad((logits * weight).sum(), [encoded.features, *decoder.parameters()])
        results.append((logits, *grads))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)
    assert (results[0][1][1, 1:] == 0).all()


def test_slices_put_together_are_the_whole():
    decoder, encoded = LabelAttentionDecoder(D, L), encoded_batch(torch.float32)
    parts = [decoder(encoded, part) for part in (slice(0, 2), slice(2, 3), slice(3, None))]
    torch.testing.assert_close(torch.cat(parts, 1), decoder(encoded))
    assert decoder(encoded, slice(2, 2)).shape == (2, 0)


def test_large_scores_stay_finite():
    decoder, encoded = LabelAttentionDecoder(D, L), encoded_batch(torch.float32)
    decoder.queries.data.fill_(1e4)
    decoder(encoded).sum().backward()
    assert encoded.features.grad.isfinite().all() and decoder.queries.grad.isfinite().all()


def test_too_large_attention_is_refused_with_its_size():
    with torch.device("meta"):
        decoder = LabelAttentionDecoder(16, 501_008)
        encoded = SimpleNamespace(features=torch.empty(200, 500, 16), mask=torch.empty(200, 500, dtype=torch.bool))
        with pytest.raises(InputError, match=r"186\.6 GiB, over encoder\.max_attention_gib=64.*execution=chunked"):
            decoder(encoded)
        assert decoder(encoded, slice(0, 16_384)).shape == (200, 16_384)


def test_prior_needs_the_bias_per_label():
    vocabulary = Vocabulary(5, np.ones(5, dtype=np.int64), 1)
    prior = torch.linspace(-5, -1, L)
    with pytest.raises(InputError, match="encoder.label_bias"):
        AttentionXML(vocabulary, None, Random(4), hidden=2).make_decoder(L).set_prior(prior)
    decoder = AttentionXML(vocabulary, None, Random(4), hidden=2, label_bias=True).make_decoder(L)
    before = decoder(encoded_batch(torch.float32))
    decoder.set_prior(prior)
    torch.testing.assert_close(decoder(encoded_batch(torch.float32)), before + prior)
