"""What holds for every encoder that masks padding: BertXML (both variants), MeSHProbeNet, AttentionXML."""

import numpy as np
import pytest
import torch

from xmtc.data.batch import Batch, Labels
from xmtc.data.embedding import Random
from xmtc.data.vocabulary import Vocabulary
from xmtc.encoders.attentionxml import AttentionXML
from xmtc.encoders.bertxml import BertXML
from xmtc.encoders.meshprobenet import MeSHProbeNet

V, L = 20, 6
ENCODERS = {
    "bertxml-authors": (BertXML, {"feedforward": 10, "cls": 3, "max_length": 12}),
    "bertxml-fixed": (BertXML, {"feedforward": 10, "cls": 3, "max_length": 12, "variant": "fixed", "bottleneck": 7}),
    "meshprobenet": (MeSHProbeNet, {"hidden": 5}),
    "meshprobenet-bottleneck": (MeSHProbeNet, {"hidden": 5, "layers": 3, "probes": 2, "bottleneck": 7}),
    "attentionxml": (AttentionXML, {"hidden": 5, "mlp": [4, 3]}),
    "attentionxml-bias": (AttentionXML, {"hidden": 5, "mlp": [], "label_bias": True}),
}


def batch_of(*texts, width=0, labels=None):
    width = max(width, *(len(text) for text in texts)) if texts else width
    tokens = torch.zeros(len(texts), width, dtype=torch.int64)
    for row, text in zip(tokens, texts, strict=True):
        row[: len(text)] = torch.tensor(text)
    ids = torch.tensor(labels or [0] * len(texts), dtype=torch.int64)
    return Batch(
        documents=torch.arange(len(texts)),
        labels=Labels(ids, torch.arange(len(texts) + 1)),
        tokens=tokens,
        lengths=torch.tensor([len(text) for text in texts], dtype=torch.int64),
    )


TEXTS = ([3, 4, 5, 6, 7], [1], [8, 9, 3])


class Model(torch.nn.Module):
    def __init__(self, name, labels=L, trainable=True):
        super().__init__()
        torch.manual_seed(3)
        encoder, settings = ENCODERS[name]
        vocabulary = Vocabulary(V, np.ones(V, dtype=np.int64), 1)
        self.encoder = encoder(vocabulary, None, Random(8, trainable=trainable), **settings)
        self.decoder = self.encoder.make_decoder(labels)

    def forward(self, batch, labels=slice(None)):
        return self.decoder(self.encoder(batch), labels)


@pytest.fixture(params=ENCODERS)
def name(request):
    return request.param


@pytest.fixture
def model(name):
    return Model(name).eval()


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_more_padding_changes_nothing(model):
    logits = model(batch_of(*TEXTS))
    assert logits.shape == (3, L)
    close(model(batch_of(*TEXTS, width=11)), logits)
    # whatever stands at the padding is not read
    changed = batch_of(*TEXTS, width=11)
    changed.tokens[:, 5:] = 9
    changed.tokens[1, 1:] = 9
    close(model(changed), logits)


def test_a_document_does_not_see_the_others(model):
    logits = model(batch_of(*TEXTS))
    close(model(batch_of(TEXTS[2], TEXTS[0], TEXTS[1])), logits[[2, 0, 1]])
    close(model(batch_of(TEXTS[0], [7] * 9, [2, 2]))[:1], logits[:1])
    for text, expected in zip(TEXTS, logits, strict=True):
        close(model(batch_of(text))[0], expected)
    assert not torch.allclose(logits[0], logits[1])


def test_labels_are_not_read_at_evaluation(model):
    assert torch.equal(model(batch_of(*TEXTS, labels=[0, 1, 2])), model(batch_of(*TEXTS, labels=[5, 4, 4])))


def test_word_order_counts(model):
    assert not torch.allclose(model(batch_of([3, 4, 5])), model(batch_of([5, 4, 3])), rtol=0, atol=1e-9)


def test_an_empty_batch_gives_no_rows(model):
    for width in (0, 4):
        assert model(batch_of(width=width)).shape == (0, L)


def test_one_label(name):
    assert Model(name, labels=1)(batch_of(*TEXTS)).shape == (3, 1)


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {k: p.grad.to_dense().clone() for k, p in model.named_parameters()}


def test_a_slice_of_labels_is_rows_of_the_whole(model):
    batch, part = batch_of(*TEXTS), slice(1, 4)
    whole, sliced = model(batch), model(batch, part)
    close(sliced, whole[:, part])
    torch.manual_seed(0)
    weight = torch.randn(3, 3)
    expected = gradients(model, (whole[:, part] * weight).sum())
    found = gradients(model, (sliced * weight).sum())
    for key, value in expected.items():
        close(found[key], value)
    for parameter in model.decoder.label_parameters().values():
        assert parameter.shape[0] == L and parameter.grad[[0, 4, 5]].abs().sum() == 0


@pytest.mark.parametrize("trainable", [True, False])
def test_every_trainable_parameter_learns(name, trainable):
    model = Model(name, trainable=trainable).train()
    model(batch_of(*TEXTS)).square().sum().backward()
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.to_dense().abs().sum() > 0, key
            assert parameter.grad.to_dense().isfinite().all(), key
    table = model.encoder.get_submodule("reader.embedding" if hasattr(model.encoder, "reader") else "embedding")
    if name == "bertxml-authors":
        assert table.weight.requires_grad and not table.weight.grad.is_sparse and len(table.weight) == V + 3
    else:
        assert table.weight.requires_grad == trainable and len(table.weight) == V
        assert table.weight[0].abs().sum() == 0
        assert not trainable or table.weight.grad.is_sparse


def test_bfloat16_autocast_stays_near(model):
    batch = batch_of(*TEXTS, width=9)
    expected = model(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(batch)
    assert found.isfinite().all()
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.02)
    gradients(model, found.float().sum())


def test_dropout_only_in_training(model):
    batch = batch_of(*TEXTS)
    assert torch.equal(model(batch), model(batch))
    model.train()
    assert not torch.equal(model(batch), model(batch))


def test_state_survives_saving(name, model):
    other = Model(name)
    for parameter in other.parameters():
        parameter.data.normal_()
    other.load_state_dict(model.state_dict())
    close(other.eval()(batch_of(*TEXTS)), model(batch_of(*TEXTS)))
