"""`python -m xmtc.export` on trained runs: what comes out is used by the libraries it is for."""

import json
import shutil
import stat

import numpy as np
import pytest
import torch

import xmtc
from xmtc.errors import InputError
from xmtc.export import ExportSettings, export, main

TEXTS = ["g2c1w0 g2c4w1 g2c4w1 n7", "", "nobody knows these words", "g5c0w1 g5c0w2 n3 n4 n4", "g3c2w1 n9 " * 450]
ENCODERS = {
    "xmlcnn": ["encoder.filters=4", "encoder.bottleneck=8"],
    "bertxml": ["encoder.feedforward=8"],
    "meshprobenet": ["encoder.hidden=4"],
    "attentionxml": ["encoder.hidden=4", "encoder.mlp=[4]"],
    "bow": ["encoder.embedding.size=16"],
}


@pytest.fixture(scope="module")
def onnx():
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of a finished run of the bag of words with a head."""
    return shutil.copytree(finished[1], tmp_path / "run")


def same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert a.labels == b.labels and a.names == b.names
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-6)


def test_safetensors_are_the_run_without_a_pickle(copy, capsys):
    main([str(copy), "format=safetensors"])
    folder = copy / "exports" / "safetensors"
    assert json.loads(capsys.readouterr().out)["output"] == str(folder)
    from safetensors.torch import load_file

    state = torch.load(copy / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    stored = load_file(folder / "model.safetensors")
    assert stored.keys() == state.keys()
    assert all(torch.equal(stored[name], state[name]) for name in state)
    assert {path.suffix for path in folder.rglob("*") if path.is_file() and path.name != "checksums"} <= {
        ".safetensors", ".yaml", ".tsv", ".json", ".txt", ".npy",
    }  # fmt: skip
    assert stat.S_IMODE((folder / "model.safetensors").stat().st_mode) & stat.S_IRGRP
    expected = xmtc.load(copy).predict(TEXTS, k=7)
    assert len({tuple(answer.scores) for answer in expected}) == len(TEXTS) - 1  # all but the two without known words
    shutil.move(folder, copy.parent / "elsewhere")
    shutil.rmtree(copy)
    same(xmtc.load(copy.parent / "elsewhere").predict(TEXTS, k=7), expected)


def test_damaged_safetensors(copy):
    folder, _ = export(copy, ExportSettings("safetensors"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="model.safetensors: changed or damaged"):
        xmtc.load(folder)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_onnx(onnx, train, encoder):
    import onnxruntime

    from xmtc.exporting.runtime import OnnxTagger

    run = train(f"encoder={encoder}", "head=lcenet", "head.rank=4", *ENCODERS[encoder])[1]
    model = xmtc.load(run)
    for block in model.head.blocks:  # a head of one epoch does next to nothing
        torch.nn.init.normal_(block.spread_weight)
    # under another name first: the weights that are saved are mapped from the file
    torch.save({"state_dict": model.parts.state_dict()}, run / "checkpoints" / "new.ckpt")
    (run / "checkpoints" / "new.ckpt").replace(run / "checkpoints" / "best.ckpt")
    (run / "checkpoints" / "hashes").unlink()
    model = xmtc.load(run)
    folder, facts = export(run, ExportSettings("onnx", int8=encoder in ("xmlcnn", "bow"), documents=30))
    assert facts["largest_difference"] <= 1e-4 and facts["k"] == 100
    tagger = OnnxTagger(folder)
    same(tagger.predict(TEXTS, k=9), model.predict(TEXTS, k=9))
    same(tagger.predict(TEXTS[::-1], k=9, threshold=0.3), model.predict(TEXTS[::-1], k=9, threshold=0.3))
    graph = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    assert [i.name for i in graph.get_inputs()] == facts["inputs"]
    assert [o.name for o in graph.get_outputs()] == ["scores", "labels"]
    with pytest.raises(InputError, match="enhanced ranking alone"):
        tagger.predict(TEXTS, raw=True)
    if "int8" in facts:
        measured = facts["int8"]["measured"]
        assert facts["int8"]["documents"] == 30 and facts["int8"]["bytes"] < facts["bytes"]
        # the test documents' score of the float graph is the model's own
        truth = model_precision(run, model, 30)
        assert measured["float32"]["P@1"] == pytest.approx(truth)
        assert abs(measured["int8"]["P@1"] - truth) <= 0.2
        same_place = OnnxTagger(folder, int8=True).predict_batch(TEXTS, 1)[1] == model.predict_batch(TEXTS, 1)[1]
        assert same_place.mean() >= 0.6


def model_precision(run, model, count):
    """P@1 on the first validation documents, by the run's own predictions' gold sets and the model's answers."""
    from xmtc.training.build import make_data, open_store

    store = open_store(model.config, model.encoder.text)
    validation = make_data(model.config, store, model.encoder).validation
    batch = validation[np.arange(count)]
    best = model.execution.topk(model.encoder(batch), 1)[1][:, 0].tolist()
    gold = batch.labels
    return np.mean([best[i] in gold.ids[gold.offsets[i] : gold.offsets[i + 1]].tolist() for i in range(count)])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_graph_that_computes_something_else_is_refused(onnx, copy, monkeypatch):
    from xmtc.encoders.bow import BagOfWords
    from xmtc.exporting import forms

    original = forms.FORMS[BagOfWords]

    def wrong(encoder, words, counts):
        return original(encoder, words, counts * 2)

    monkeypatch.setitem(forms.FORMS, BagOfWords, wrong)
    with pytest.raises(InputError, match="scores differ from PyTorch's"):
        export(copy, ExportSettings("onnx"))
    assert not (copy / "exports" / "onnx").exists()


def test_attention_that_does_not_fit_is_refused(copy):
    from types import SimpleNamespace

    from xmtc.exporting.onnx import _within_memory

    def model(labels):
        text, decoder = SimpleNamespace(length=500), SimpleNamespace(max_attention_gib=1)
        return SimpleNamespace(decoder=decoder, encoder=SimpleNamespace(text=text), num_labels=labels)

    assert _within_memory(model(50_000)) == 10
    with pytest.raises(InputError, match="max_attention_gib=1"):
        _within_memory(model(600_000))
    assert _within_memory(SimpleNamespace(decoder=object())) is None


def test_annif(copy):
    import configparser

    from xmtc.serving.uris import label_uri

    folder, _ = export(copy, ExportSettings("annif", uri_prefix="http://example.org/", endpoint="http://tag:80/"))
    rows = [line.split("\t") for line in (folder / "vocabulary.tsv").read_text(encoding="utf-8").splitlines()]
    labels = xmtc.load(copy).labels
    assert [row[1] for row in rows] == labels.names
    assert [row[0] for row in rows] == [f"<{label_uri(label, 'http://example.org/')}>" for label in labels.ids]
    project = configparser.ConfigParser()
    project.read(folder / "projects.cfg")
    assert project["xmtc"]["endpoint"] == "http://tag:80/v1/projects/xmtc/suggest"


def test_uris():
    from xmtc.serving.uris import label_uri

    assert label_uri("http://eurovoc.europa.eu/100", "x:") == "http://eurovoc.europa.eu/100"
    assert label_uri("a b/ü", "urn:xmtc:") == "urn:xmtc:a%20b%2F%C3%BC"
    assert label_uri("3:not a uri", "x:") == "x:3%3Anot%20a%20uri"


@pytest.mark.parametrize(
    "words, says",
    [
        ([], "format: must be given"),
        (["format=pickle"], "format: expected one of safetensors, onnx, annif"),
        (["format=onnx", "k=0"], "k: expected at least 1"),
        (["format=annif", "output=taken"], "is no export of ours"),
    ],
)
def test_what_cannot_be_used(copy, tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("precious")
    with pytest.raises(SystemExit) as stopped:
        main([str(copy), *words])
    line = capsys.readouterr().err
    assert stopped.value.code == 2 and says in line and line.count("\n") == 1
    assert (tmp_path / "taken" / "mine.txt").read_text() == "precious" and not (copy / "exports").exists()


def test_an_export_is_replaced_by_the_next(copy):
    folder, _ = export(copy, ExportSettings("annif"))
    (folder / "left.txt").write_text("old")
    again, _ = export(copy, ExportSettings("annif"))
    assert again == folder and not (folder / "left.txt").exists()
    assert not list(folder.parent.glob(".*"))
