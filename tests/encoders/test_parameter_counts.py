"""Sizes against the printed model sizes of CorNet tables 2-4, on the meta device."""

import numpy as np
import pytest
import torch

from xmtc.data.embedding import Random
from xmtc.data.vocabulary import Vocabulary
from xmtc.encoders.attentionxml import AttentionXML
from xmtc.encoders.bertxml import BertXML
from xmtc.encoders.meshprobenet import MeSHProbeNet

EURLEX, AMAZONCAT, WIKI = 3_956, 13_330, 501_008
LARGE = {"hidden": 400, "probes": 10, "layers": 3}
V = 11


@pytest.mark.parametrize(
    ("encoder", "settings", "labels", "expected"),
    [
        (BertXML, {}, EURLEX, 10_508_756),
        (BertXML, {}, AMAZONCAT, 24_579_130),
        (BertXML, {"bottleneck": 512}, WIKI, 260_104_916),
        (MeSHProbeNet, {}, EURLEX, 15_486_956),
        (MeSHProbeNet, {}, AMAZONCAT, 43_618_330),
        (MeSHProbeNet, {"bottleneck": 512}, WIKI, 262_168_616),
        (MeSHProbeNet, LARGE, EURLEX, 41_603_956),
        (MeSHProbeNet, LARGE, AMAZONCAT, 116_605_330),
        (MeSHProbeNet, {**LARGE, "bottleneck": 512}, WIKI, 271_065_616),
        (AttentionXML, {"hidden": 256, "mlp": [256]}, EURLEX, 3_300_865),
        (AttentionXML, {"hidden": 200, "mlp": [100]}, AMAZONCAT, 6_176_201),
    ],
)
def test_parameters_without_the_word_table(encoder, settings, labels, expected):
    vocabulary = Vocabulary(V, np.ones(V, dtype=np.int64), 1)
    with torch.device("meta"):
        model = encoder(vocabulary, None, Random(300), **settings)
        decoder = model.make_decoder(labels)
    parameters = [*model.parameters(), *decoder.parameters()]
    assert sum(p.numel() for p in parameters if p.requires_grad) - 300 * V == expected
    for parameter in decoder.label_parameters().values():
        assert parameter.shape[0] == labels


def test_a_bias_per_label_adds_one_parameter_a_label():
    vocabulary = Vocabulary(V, np.ones(V, dtype=np.int64), 1)
    plain, biased = (
        AttentionXML(vocabulary, None, Random(4), hidden=3, label_bias=on).make_decoder(7) for on in (False, True)
    )
    assert sum(p.numel() for p in biased.parameters()) - sum(p.numel() for p in plain.parameters()) == 7
    assert set(plain.label_parameters()) == {"queries"} and set(biased.label_parameters()) == {"queries", "bias"}
