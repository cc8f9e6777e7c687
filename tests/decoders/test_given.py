"""Logits that the encoder made, whole and in slices."""

import pytest
import torch

from xmtc.decoders.given import GivenDecoder
from xmtc.encoders.base import Encoded
from xmtc.errors import InputError


def test_answers_are_what_was_given():
    logits = torch.randn(3, 5)
    assert torch.equal(GivenDecoder(5)(Encoded(logits)), logits)
    assert torch.equal(GivenDecoder(5)(Encoded(logits), slice(1, 4)), logits[:, 1:4])


def test_another_number_of_labels():
    logits = torch.randn(3, 5)
    assert torch.equal(GivenDecoder(2)(Encoded(logits)), logits[:, :2])
    more = GivenDecoder(7)(Encoded(logits))
    assert torch.equal(more[:, :5], logits) and (more[:, 5:] == 0).all()


def test_a_slice_has_the_gradient_of_the_whole():
    logits, upstream = torch.randn(3, 5), torch.randn(3, 2)
    found, shared = GivenDecoder(5).slice_gradients(Encoded(logits), slice(1, 3), upstream, {})
    assert torch.equal(found[:, 1:3], upstream) and (found[:, [0, 3, 4]] == 0).all() and shared == {}
    found, _ = GivenDecoder(7).slice_gradients(Encoded(logits), slice(4, 6), upstream, {})
    assert torch.equal(found[:, 4], upstream[:, 0]) and (found[:, :4] == 0).all()
    found, _ = GivenDecoder(9).slice_gradients(Encoded(logits), slice(7, 9), upstream, {})
    assert (found == 0).all()


def test_there_is_no_prior():
    with pytest.raises(InputError, match="no bias per label"):
        GivenDecoder(5).set_prior(torch.zeros(5))
