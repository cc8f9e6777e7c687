"""Every encoder of conf/encoder trains on documents of no word and of one, with no label, one and all of them.

A document without a word reaches an encoder as one unknown token (tests/data/test_preparation.py)."""

import re
from pathlib import Path

import pytest
import torch

from xmtc.config.check import import_target
from xmtc.data.embedding import Random
from xmtc.data.text import Words
from xmtc.data.vocabulary import UNKNOWN
from xmtc.encoders.attentionxml import AttentionXML
from xmtc.encoders.base import Encoder
from xmtc.encoders.bertxml import BertXML
from xmtc.encoders.bow import BagOfWords
from xmtc.encoders.gudn import GUDN
from xmtc.encoders.kimcnn import KimCNN
from xmtc.encoders.labelcorank import LabelCoRank
from xmtc.encoders.laco import LACO
from xmtc.encoders.leam import LEAM
from xmtc.encoders.lsan import LSAN
from xmtc.encoders.match import MATCH
from xmtc.encoders.meshprobenet import MeSHProbeNet
from xmtc.encoders.seqtag import SeqTag
from xmtc.encoders.sgm import SGM
from xmtc.encoders.star_transformer import StarTransformer
from xmtc.encoders.transformer import Transformer
from xmtc.encoders.xmlcnn import XMLCNN
from xmtc.execution.dense import Dense
from xmtc.heads.none import NoHead
from xmtc.testing.pretrained import tiny_bert, tiny_vocabulary
from xmtc.training.objectives import Objective

L = 4
WORDS = {
    AttentionXML: {"hidden": 3, "mlp": [2]},
    BertXML: {"feedforward": 6, "cls": 2},
    BagOfWords: {},
    KimCNN: {"filters": 3, "widths": [1, 3, 5]},
    LEAM: {"num_labels": L, "ngram": 3, "hidden": 5},
    LSAN: {"num_labels": L, "hidden": 8, "attention": 3},
    MATCH: {"feedforward": 6, "cls": 2},
    MeSHProbeNet: {"hidden": 3, "layers": 2, "probes": 2},
    SGM: {"num_labels": L, "hidden": 3, "label_size": 4, "logit_loss": 1.0},
    StarTransformer: {"heads": 2},
    XMLCNN: {"filters": 3, "bottleneck": 5},
}
PRETRAINED = {
    GUDN: {"num_labels": L},
    LabelCoRank: {"num_labels": L, "gamma": 2, "heads": 4, "inner": 5},
    LACO: {"num_labels": L, "length": 20, "plcp": 1.0, "clcp": 1.0},
    SeqTag: {"num_labels": L, "length": 20, "hidden": 3, "logit_loss": 1.0},
    Transformer: {},
}
TEXTS = ([UNKNOWN], [5], [5, 6, 7])
LABELS = {"none": [[], [], []], "one": [[1], [], [1]], "all": [list(range(L))] * 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert"), layers=1)


@pytest.fixture
def build(make_vocabulary, labels_of, folder, tmp_path):
    def make(kind):
        torch.manual_seed(0)
        if kind in PRETRAINED:
            model = kind(tiny_vocabulary(folder), None, name=str(folder), offline=True, **PRETRAINED[kind])
        else:
            vocabulary = make_vocabulary(12)
            vocabulary.folder = tmp_path
            (tmp_path / "vocabulary.txt").write_text("".join(f"w{i}\n" for i in range(12)))
            model = kind(vocabulary, Words(), Random(8), **WORDS[kind])
        model.prepare(labels_of([[0, 1], [2], []]), ["w5 w6"] * L)
        return model

    return make


def test_every_encoder_is_here():
    lines = [file.read_text() for file in (Path(__file__).parents[2] / "conf" / "encoder").glob("*.yaml")]
    targets = {name for text in lines for name in re.findall(r"^_target_: (.*)$", text, re.MULTILINE)}
    kinds = {import_target(name, "encoder") for name in targets}
    assert {kind for kind in kinds if issubclass(kind, Encoder)} == set(WORDS) | set(PRETRAINED)


@pytest.mark.parametrize("kind", [*WORDS, *PRETRAINED], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("texts", [TEXTS, TEXTS[:1] * 3, TEXTS[1:2] * 3], ids=["mixed", "no word", "one word"])
def test_losses_gradients_and_scores_are_finite(build, padded_batch, bag_batch, kind, texts):
    model = build(kind)
    decoder = model.make_decoder(L)
    execution = Dense(decoder, NoHead(L), Objective())
    for rows in LABELS.values():
        if model.layout == "bag":
            batch = bag_batch([{word: 1 for word in text} for text in texts], rows)
        else:
            batch = padded_batch(texts, rows)
        model.zero_grad()
        encoded = model.train()(batch)
        loss = execution.loss(encoded, batch.labels.repeated(encoded.readings)) + sum(encoded.auxiliary.values())
        loss.backward()
        found = [p.grad.to_dense() for p in [*model.parameters(), *decoder.parameters()] if p.grad is not None]
        assert loss.isfinite() and found and all(grad.isfinite().all() for grad in found)
    with torch.no_grad():
        scores, labels = execution.topk(model.eval()(batch), L)
    assert scores.isfinite().all() and all(sorted(row) == list(range(L)) for row in labels.tolist())
