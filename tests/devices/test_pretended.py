"""Whole runs on a device that is not the CPU, as far as one can be pretended: every tensor is where it must be, and
what comes out is what comes out on the CPU."""

import csv
import functools
import json

import pytest
import torch
from omegaconf import OmegaConf
from torch.utils._python_dispatch import _disable_current_modes

import xmtc
from tests.devices.pretended import Pretended, pretended, swapped, trainer_settings
from xmtc.config import compose_checked
from xmtc.explaining.document import explain
from xmtc.testing.pretrained import tiny_bert
from xmtc.training import session as sessions
from xmtc.training.build import build, dense_tables
from xmtc.training.module import XMTCModule

SMALL = {
    "xmlcnn": ["encoder.filters=4", "encoder.bottleneck=16"],
    "bow": ["encoder.embedding.size=16"],
    "bertxml": ["encoder.feedforward=16"],
    "bertxml_match": [],
    "meshprobenet": ["encoder.hidden=8"],
    "attentionxml": ["encoder.hidden=8", "encoder.mlp=[8]"],
    "kimcnn": ["encoder.filters=4"],
    "lsan": ["embedding.size=8", "encoder.attention=4"],
    "leam": ["encoder.hidden=8", "encoder.ngram=3"],
    "sgm": ["encoder.hidden=8", "encoder.label_size=8", "encoder.logit_loss=0.1"],
    "star_transformer": ["encoder.heads=2"],
    "transformer_scratch": [],
    "match": [],
    "transformer": ["encoder.name=BERT", "encoder.text.length=8"],
    "labelcorank": ["encoder.name=BERT", "encoder.text.length=8", "encoder.gamma=3", "encoder.heads=2"],
    "laco": ["encoder.name=BERT", "encoder.length=160", "encoder.plcp=1", "encoder.clcp=2"],
    "seqtag": ["encoder.name=BERT", "encoder.length=160", "encoder.logit_loss=0.1"],
    "gudn": ["encoder.name=BERT", "encoder.text.length=8"],
}
XMLCNN = ["encoder=xmlcnn", *SMALL["xmlcnn"]]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained") / "bert"
    tiny_bert(folder, words=60, positions=200)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def run(bert, tmp_path, monkeypatch):
    """`run(where, words)`: a run directory, trained on `cpu` or on the `pretended` device."""

    def built(config):
        with _disable_current_modes():  # pretrained models are loaded by way of the device whose name is borrowed
            made = build(config)
        dense_tables(made.module)  # a wrapper cannot be a sparse gradient
        return made

    monkeypatch.setattr(sessions, "build", built)

    def run(where, words, folder=None, **more):
        fixed = ["debug=fast", "logger=csv", "head=lcenet", "head.rank=8"]
        fixed += ["recipe.max_epochs=1", "data.limit=40", "data.batch_size=16", "trainer.accumulate_grad_batches=1"]
        words = [word.replace("BERT", str(bert)) for word in [*fixed, f"paths.cache_dir={bert.parent}/cache", *words]]
        names = {part: None for part in ("encoder", "head", "recipe", "embedding")}
        plain = without_dropout(OmegaConf.to_container(composed(*words), resolve=True)) | more
        folder = folder or tmp_path / where
        folder.mkdir(exist_ok=True)
        (folder / "config.yaml").write_text(OmegaConf.to_yaml({k: v for k, v in plain.items() if k != "logger"}))
        (folder / "overrides.yaml").write_text("[]")
        if where == "cpu":  # whose scores on the test documents nobody asks for
            sessions.session(plain | {"test": False}, folder, names)
            return folder
        plain["trainer"] |= trainer_settings()
        with pretended():
            sessions.session(plain, folder, names)
        return folder

    return run


@functools.cache
def composed(*words):
    """Once for both devices."""
    return compose_checked(words)


def without_dropout(node):
    """Random numbers come from another generator on another device, and on a CPU sometimes fewer of them."""
    if not isinstance(node, dict):
        return node
    return {key: 0.0 if "dropout" in key and value else without_dropout(value) for key, value in node.items()}


def curve(folder):
    with (folder / "curves.csv").open() as file:
        return [{k: float(v) for k, v in row.items() if v and k != "seconds"} for row in csv.DictReader(file)]


def same(run, words):
    here, there = (curve(run(where, words)) for where in ("cpu", "pretended"))
    assert len(here) == len(there) > 0
    for a, b in zip(here, there, strict=True):
        assert a.keys() == b.keys() and b["loss"] == pytest.approx(a["loss"], rel=1e-5)
        assert {k: v for k, v in b.items() if k.startswith("val/")} == pytest.approx(
            {k: v for k, v in a.items() if k.startswith("val/")}, abs=0.01
        )


def test_the_pretence_fails_where_a_gpu_would():
    with pretended():
        there, here = torch.ones(3, 2).to("meta"), torch.ones(3, 2)
        assert isinstance(there, Pretended) and there.device.type == "meta" and not isinstance(there.cpu(), Pretended)
        with pytest.raises(RuntimeError, match="on the pretended device and on the CPU"):
            there + here
        with pytest.raises(RuntimeError, match="numpy"):
            there.numpy()
        with pytest.raises(RuntimeError, match="generator of the CPU"):
            torch.rand(2, device="meta", generator=torch.Generator())
        assert (there + 1).sum().item() == 12 and there[torch.tensor([0])].tolist() == [[1, 1]]
        layer = torch.nn.Linear(2, 1)
        weight = layer.weight
        with swapped():
            layer.to("meta")
        assert layer.weight is weight and isinstance(weight, Pretended)
        layer(there).sum().backward()
        assert isinstance(weight.grad, Pretended) and weight.grad.tolist() == [[3, 3]]


@pytest.mark.parametrize("encoder", SMALL)
def test_every_encoder(run, encoder):
    same(run, [f"encoder={encoder}", *SMALL[encoder]])


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        ("xmlcnn", ["execution=chunked"]),
        ("xmlcnn", ["execution=chunked", "execution.update=adam"]),
        ("attentionxml", ["execution=chunked", "execution.update=adam", "recipe.clipping=null"]),
        ("xmlcnn", ["execution=chunked", "execution.update=sgd", "execution.weights=bf16", "execution.rounding=kahan"]),
        ("bow", ["execution=sharded", "execution.update=adam"]),
        ("attentionxml", ["execution=shortlist"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_every_execution(run, encoder, words):
    chunk = [] if words[0].endswith("shortlist") else ["execution.chunk=7"]
    same(run, [f"encoder={encoder}", *SMALL[encoder], *words, *chunk])


@pytest.mark.parametrize(
    "words",
    [
        ["trainer.accumulate_grad_batches=2"],
        ["data.micro_batch=8", "recipe.bucketing=true"],
        ["head=cooccurrence", "objective=asymmetric"],
        ["head.bottleneck=false", "head.raw_loss_weight=0.5", "objective=propensity"],
        ["recipe=paper", "embedding=random"],
    ],
    ids=" ".join,
)
def test_settings(run, words):
    same(run, [*XMLCNN, *words])


def test_goes_on_from_a_checkpoint(run, tmp_path, monkeypatch):
    words = [*XMLCNN, "execution=chunked", "execution.update=adam", "recipe.clipping=null", "checkpoints.steps=1"]
    whole = run("pretended", words)
    step = XMTCModule.training_step

    def stopped(module, batch, number):
        if number == 2:
            raise OSError("the power is gone")
        return step(module, batch, number)

    cut = tmp_path / "cut"
    with monkeypatch.context() as patch, pytest.raises(OSError, match="power"):
        patch.setattr(XMTCModule, "training_step", stopped)
        run("pretended", words, cut)
    assert not (cut / "metrics.json").exists()
    run("pretended", words, cut, resume=str(cut))
    assert curve(cut)[-1] == pytest.approx(curve(whole)[-1])


def test_a_trained_run_answers_there_as_here(run):
    model = xmtc.load(run("cpu", XMLCNN))
    texts = ["w1 w2 w3", "w4", ""]
    here = model.predict_batch(texts, 5)
    with pretended(), swapped():
        model.parts.to("meta")
        there = model.predict_batch(texts, 5)
        explained = explain(model, texts[0], k=3)
    assert (here[1] == there[1]).all() and there[0] == pytest.approx(here[0], abs=1e-6)
    assert explained
