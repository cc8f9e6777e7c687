"""GUDN against the library, text by text, and its three losses against the paper's formula."""

import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from transformers import DistilBertConfig, DistilBertModel

from xmtc.data.batch import Batch, Labels
from xmtc.encoders.gudn import GUDN
from xmtc.errors import InputError
from xmtc.execution.chunked import Chunked
from xmtc.execution.dense import Dense
from xmtc.heads.lcenet import LCENet
from xmtc.heads.none import NoHead
from xmtc.testing.pretrained import tiny_bert, tiny_vocabulary
from xmtc.training.micro_batches import encode
from xmtc.training.objectives import Objective

L, LAYERS, SIZE, POSITIONS = 5, 3, 16, 24
NAMES = ["w3 w4", "w1", "", "w0_w7 unheard", "w2 w2 w2 w5 w6 w7 w8 w9 w1"]
TEXTS = [[4, 5, 6, 7, 8, 9, 10], [9], [10, 11, 4], [5, 6]]
ROWS = [[0, 3], [1], [0, 1, 2, 3, 4], []]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert"), layers=LAYERS, positions=POSITIONS)


@pytest.fixture
def build(folder):
    def make(dropout=0.0, names=NAMES, **settings):
        """Without dropout unless asked for, so that training can be compared."""
        torch.manual_seed(0)
        settings = {"num_labels": L, "name": str(folder), "offline": True} | settings
        model = GUDN(tiny_vocabulary(folder), None, dropout=dropout, **settings).double()
        for part in model.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = dropout
        model.prepare(csr([[0]]), names)
        return model

    return make


def csr(rows):
    ids = torch.tensor([i for row in rows for i in row], dtype=torch.int64)
    return Labels(ids, torch.tensor(np.cumsum([0, *map(len, rows)])))


def batch_of(texts=TEXTS, rows=ROWS, width=0):
    tokens = torch.zeros(len(texts), max([width, *map(len, texts)]), dtype=torch.int64)
    for row, text in zip(tokens, texts, strict=True):
        row[: len(text)] = torch.tensor(text)
    lengths = torch.tensor([len(text) for text in texts], dtype=torch.int64)
    return Batch(torch.arange(len(texts)), csr(rows), tokens, lengths)


def parts(model, head=None):
    """Decoder and head of a model, the same for every call."""
    torch.manual_seed(3)
    decoder = model.make_decoder(model.name_offsets.numel() - 1).double()
    head = (head or NoHead(L)).double()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, 0, 0.5)
    return decoder, head


def training_loss(model, execution, batch, micro_batch=None):
    """As the training module adds it up."""
    encoded = encode(model.train(), batch, micro_batch)
    loss = encoded.main_weight * execution.loss(encoded, batch.labels.repeated(encoded.readings))
    return loss + sum(encoded.auxiliary.values())


def slow_read(bert, ids, n):
    """One text: the first position behind each of the last n layers, the last first; and the pooled vector, which is
    another one where the model has let go of its pooler because nothing asks for it."""
    answer = bert(input_ids=torch.tensor([ids]), output_hidden_states=True)
    first = [answer.hidden_states[LAYERS - i][0, 0] for i in range(n)]
    return torch.cat(first), first[0] if answer.pooler_output is None else answer.pooler_output[0]


def slow_loss(model, decoder, folder, n, reduction, guide=True, reinforcement=True):
    bert, tokenizer = model.backbone.model, Tokenizer.from_file(str(folder / "tokenizer.json"))
    text_loss = names_loss = square = 0.0
    for text, row in zip(TEXTS, ROWS, strict=True):
        target = torch.tensor([float(label in row) for label in range(L)], dtype=torch.float64)
        joined = " ".join(NAMES[label].replace("_", " ") for label in row)
        names = tokenizer.encode(joined, add_special_tokens=False).ids[: POSITIONS - 2]
        features, pooled = slow_read(bert, [2, *text, 3], n)
        guiding_features, guiding = slow_read(bert, [2, *names, 3], n)
        entropy = F.binary_cross_entropy_with_logits
        text_loss = text_loss + entropy(decoder.weight @ features + decoder.bias, target) / len(TEXTS)
        names_loss = names_loss + entropy(decoder.weight @ guiding_features + decoder.bias, target) / len(TEXTS)
        square = square + ((pooled - guiding) ** 2).sum() / (SIZE * len(TEXTS))
    mean = text_loss + guide * square + reinforcement * names_loss
    return mean * (L if reduction == "label_sum" else 1)


@pytest.mark.parametrize("reduction", ["mean", "label_sum"])
@pytest.mark.parametrize("settings", [{}, {"guide": 0.0}, {"reinforcement": False}, {"last_layers": 3}])
def test_losses_and_gradients_are_the_papers(build, folder, reduction, settings):
    model = build(reduction=reduction, **settings)
    decoder, head = parts(model)
    n = settings.get("last_layers", 2)  # of three layers: five sixths
    assert model.last_layers == n
    switches = {"guide": settings.get("guide", 1) > 0, "reinforcement": settings.get("reinforcement", True)}
    both = torch.nn.ModuleList([model, decoder])
    expected = slow_loss(model.train(), decoder, folder, n, reduction, **switches)
    expected.backward()
    wanted = {name: p.grad.clone() for name, p in both.named_parameters()}
    for kind in (Dense, Chunked):
        options = {} if kind is Dense else {"chunk": 2}
        both.zero_grad()
        loss = training_loss(model, kind(decoder, head, Objective(reduction), **options), batch_of())
        loss.backward()
        torch.testing.assert_close(loss, expected)
        for name, parameter in both.named_parameters():
            torch.testing.assert_close(parameter.grad, wanted[name], msg=name)


def test_a_head_and_micro_batches_see_both_readings(build):
    model = build()
    decoder, head = parts(model, LCENet(L, rank=3, blocks=2))
    both, found = torch.nn.ModuleList([model, decoder, head]), []
    for kind, options, size in [(Dense, {}, None), (Chunked, {"chunk": 2}, None), (Dense, {}, 3), (Dense, {}, 1)]:
        both.zero_grad()
        loss = training_loss(model, kind(decoder, head, Objective(), **options), batch_of(), size)
        loss.backward()
        found.append([loss.detach(), *(p.grad.clone() for p in both.parameters())])
    for others in found[1:]:
        torch.testing.assert_close(others, found[0])
    encoded = model(batch_of())
    logits = head(decoder(encoded))
    targets = [[float(label in row) for label in range(L)] for row in ROWS for _ in range(2)]
    entropy = F.binary_cross_entropy_with_logits(logits, torch.tensor(targets).double(), reduction="sum") / len(ROWS)
    torch.testing.assert_close(found[0][0], (entropy + encoded.auxiliary["guide"]).detach())


def test_joined_names_are_those_of_the_tokenizer(build, folder):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokens, lengths = build().joined_names(csr(ROWS))
    for row, own, length in zip(ROWS, tokens.tolist(), lengths.tolist(), strict=True):
        joined = " ".join(NAMES[label].replace("_", " ") for label in row)
        assert own[:length] == tokenizer.encode(joined, add_special_tokens=False).ids and not any(own[length:])
    tokens, lengths = build(names=[""] * L).joined_names(csr([[0], []]))
    assert tokens.shape == (2, 1) and lengths.tolist() == [0, 0]


@pytest.mark.parametrize("settings", [{}, {"guide": 0.0}, {"guide": 0.0, "reinforcement": False}])
def test_every_parameter_moves(build, settings):
    model = build(dropout=0.1, **settings)
    decoder, head = parts(model)
    training_loss(model, Dense(decoder, head, Objective()), batch_of()).backward()
    for name, parameter in torch.nn.ModuleList([model, decoder]).named_parameters():
        if "key.bias" not in name:  # without effect on any attention
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_padding_neighbours_and_labels_change_nothing(build):
    model = build().eval()
    with torch.no_grad():
        whole = model(batch_of()).features
        assert whole.shape == (4, 2 * SIZE)
        changed = batch_of(rows=[[], [0, 4], [2], [1]], width=12)
        changed.tokens[1, 1:] = 9
        encoded = model(changed)
        torch.testing.assert_close(encoded.features, whole)
        assert encoded.readings == encoded.main_weight == 1 and not encoded.auxiliary
        for text, row in zip(TEXTS, whole, strict=True):
            torch.testing.assert_close(model(batch_of([text], [[]])).features[0], row)
        assert model(batch_of([], [], width=2)).features.shape == (0, 2 * SIZE)


def test_small_batches_are_trained(build):
    model = build()
    decoder, head = parts(model)
    for texts, rows in [([[4]], [[]]), ([[4]], [[0, 1, 2, 3, 4]]), ([[4, 5]], [[2]]), ([[4], [5]], [[], []])]:
        for execution in (Dense(decoder, head, Objective()), Chunked(decoder, head, Objective(), chunk=2)):
            loss = training_loss(model, execution, batch_of(texts, rows))
            loss.backward()
            assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_without_both_parts_the_names_are_not_read(build):
    model = build(guide=0.0, reinforcement=False)
    model.joined_names = None  # would fail if it were called
    encoded = model.train()(batch_of())
    assert encoded.features.shape == (4, 2 * SIZE) and not encoded.auxiliary and encoded.main_weight == 1
    assert model.backbone.model.pooler is None


@pytest.mark.parametrize("layers, n", [(1, 1), (2, 1), (6, 5), (12, 10)])
def test_five_sixths_of_the_layers_are_classified(build, tmp_path, layers, n):
    model = build(name=str(tiny_bert(tmp_path, layers=layers, positions=POSITIONS)))
    assert model.last_layers == n and model.make_decoder(L).weight.shape == (L, n * SIZE)


def test_what_cannot_be_used(build, folder, tmp_path):
    for number in (0, 4):
        with pytest.raises(InputError, match=f"encoder.last_layers: .* has 3 layers, got {number}"):
            build(last_layers=number)
    for file in folder.glob("tokenizer*"):
        shutil.copy(file, tmp_path)
    config = DistilBertConfig(vocab_size=44, dim=SIZE, n_layers=2, n_heads=2, hidden_dim=SIZE)
    DistilBertModel(config).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="has no pooler.*encoder.guide=0"):
        build(name=str(tmp_path))
    assert build(name=str(tmp_path), guide=0.0).last_layers == 1
