"""Every form computes what its encoder computes: plain PyTorch against plain PyTorch, no ONNX yet."""

import pytest
import torch
from torch import nn

from xmtc.data.embedding import Random
from xmtc.data.text import Words
from xmtc.encoders.attentionxml import AttentionXML
from xmtc.encoders.base import Encoder
from xmtc.encoders.bertxml import BertXML
from xmtc.encoders.bow import BagOfWords
from xmtc.encoders.match import MATCH
from xmtc.encoders.xmlcnn import XMLCNN
from xmtc.errors import InputError
from xmtc.exporting.forms import form_of
from xmtc.exporting.inputs import batch_inputs


def encoded(encoder, batch):
    encoder.eval()
    form = form_of(encoder)
    with torch.no_grad():
        inputs = [torch.from_numpy(array) for array in batch_inputs(batch).values()]
        return form(encoder, *inputs).features, encoder(batch).features


@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 9, 30, 65])
@pytest.mark.parametrize("bins", [1, 8])
def test_xmlcnn(padded_batch, make_vocabulary, length, bins):
    encoder = XMLCNN(make_vocabulary(40), Words(), Random(6), filters=5, widths=[2, 3, 8], bins=bins, bottleneck=4)
    batch = padded_batch([torch.randint(2, 40, (length,)).tolist(), [2], [1]], width=length)
    ours, theirs = encoded(encoder, batch)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", [BertXML, MATCH])
@pytest.mark.parametrize("variant", ["authors", "fixed"])
def test_bertxml(padded_batch, make_vocabulary, variant, kind):
    encoder = kind(make_vocabulary(40), Words(length=30), Random(8), variant, feedforward=12, max_length=30)
    nn.init.normal_(encoder.pooler.bias)
    ours, theirs = encoded(encoder, padded_batch([[3, 4, 5, 6], [7], [1]]))
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("residual", [True, False])
def test_bag_of_words(bag_batch, make_vocabulary, residual):
    frequency = [0, 0, *range(20, 2, -2), 1, 1]
    encoder = BagOfWords(make_vocabulary(13, frequency), Words(), Random(6), residual=residual)
    # words 11 and 12 have no row of their own; one bag is of unknown words alone
    ours, theirs = encoded(encoder, bag_batch([{2: 3, 5: 1, 11: 2, 12: 1}, {1: 1}, {11: 4, 12: 1}, {9: 7}]))
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_an_encoder_without_a_form_is_refused_by_name(make_vocabulary):
    class Own(AttentionXML):
        """May compute anything."""

    for encoder in (Encoder(), Own(make_vocabulary(10), Words(), Random(4), hidden=3)):
        with pytest.raises(InputError, match=f"no form of {type(encoder).__name__} is known; there is one of"):
            form_of(encoder)
