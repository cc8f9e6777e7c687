"""MeSHProbeNet against a document-by-document computation without packing, padding or masks."""

import copy

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from xmtc.data.batch import Batch, Labels
from xmtc.data.embedding import Random
from xmtc.data.vocabulary import Vocabulary
from xmtc.encoders.meshprobenet import MeSHProbeNet
from xmtc.encoders.recurrent import BiLSTM

TEXTS = ([3, 4], [5, 6, 7, 3], [1])


def build(**settings):
    torch.manual_seed(0)
    vocabulary = Vocabulary(10, np.ones(10, dtype=np.int64), 1)
    model = MeSHProbeNet(vocabulary, None, Random(6), hidden=4, probes=3, **settings).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0, 0.5)
    return model


def batch_of(texts):
    tokens = torch.zeros(len(texts), 6, dtype=torch.int64)
    for row, text in zip(tokens, texts, strict=True):
        row[: len(text)] = torch.tensor(text)
    none = Labels(torch.zeros(0, dtype=torch.int64), torch.zeros(len(texts) + 1, dtype=torch.int64))
    return Batch(torch.arange(len(texts)), none, tokens, torch.tensor([len(text) for text in texts]))


@pytest.mark.parametrize("bottleneck", [None, 5])
def test_equals_one_document_at_a_time(bottleneck):
    model = build(bottleneck=bottleneck)
    encoded = model(batch_of(TEXTS))
    assert encoded.features.shape == (3, bottleneck or 3 * 8) and encoded.attention.shape == (3, 4)
    for row, attention, text in zip(encoded.features, encoded.attention, TEXTS, strict=True):
        words = model.reader.embedding.weight[torch.tensor(text)]
        h0, c0 = model.reader.bilstm.initial
        states = model.reader.bilstm.lstm(words, (h0[:, 0], c0[:, 0]))[0]
        read, shares = [], torch.zeros(4)
        for probe in model.probes.weight:
            share = torch.stack([(probe @ state).exp() for state in states])
            share = share / share.sum()
            read.append(sum(p * state for p, state in zip(share, states, strict=True)))
            shares[: len(text)] += share / 3
        expected = torch.cat(read)
        if bottleneck:
            expected = model.bottleneck.weight @ expected + model.bottleneck.bias
            expected = torch.where(expected > 0, expected, expected.exp() - 1)
        torch.testing.assert_close(row, expected)
        torch.testing.assert_close(attention, shares)


def test_initial_states_are_learned_and_start_at_zero():
    lstm = BiLSTM(3, 4, layers=2)
    assert lstm.initial.shape == (2, 4, 1, 4) and (lstm.initial == 0).all()
    x, lengths = torch.randn(2, 5, 3), torch.tensor([5, 2])
    plain = lstm.lstm(x[1:, :2])[0]
    torch.testing.assert_close(lstm(x, lengths)[1:, :2], plain)
    assert (lstm(x, lengths)[1, 2:] == 0).all()
    assert lstm.lstm.dropout == 0
    lstm(x, lengths).sum().backward()
    assert (lstm.initial.grad.abs().sum((2, 3)) > 0).all()


@pytest.mark.parametrize("lengths", [[5, 2, 1, 4], [1], [3, 3]])
def test_while_training_on_a_cpu_states_and_gradients_are_those_of_a_packed_lstm(lengths):
    torch.manual_seed(1)
    ours = BiLSTM(3, 4, layers=2).double()
    torch.nn.init.normal_(ours.initial)
    theirs, lengths = copy.deepcopy(ours), torch.tensor(lengths)
    one = torch.randn(len(lengths), int(lengths.max()), 3, dtype=torch.float64, requires_grad=True)
    other = one.detach().clone().requires_grad_()
    packed = pack_padded_sequence(other, lengths, batch_first=True, enforce_sorted=False)
    h0, c0 = theirs.initial.expand(-1, -1, len(lengths), -1).contiguous()
    wanted = pad_packed_sequence(theirs.lstm(packed, (h0, c0))[0], batch_first=True)[0]
    found, upstream = ours(one, lengths), torch.randn_like(wanted)
    torch.testing.assert_close(found, wanted)
    with torch.no_grad():
        torch.testing.assert_close(ours(one, lengths), wanted)
    (found * upstream).sum().backward()
    (wanted * upstream).sum().backward()
    torch.testing.assert_close(one.grad, other.grad)
    for (name, mine), expected in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, expected.grad, msg=name)


def test_dropout_acts_where_the_authors_have_it():
    model = build(bottleneck=5)
    assert model.reader.embedding_dropout.p == 0.2 and model.reader.output_dropout.p == 0.5
    assert sum(isinstance(module, torch.nn.Dropout) for module in model.modules()) == 2
