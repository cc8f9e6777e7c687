"""The benches of the label side and of whole steps, on tiny sizes: both ways do the same work."""

import json

import pytest

from xmtc.bench import __main__ as command
from xmtc.bench import classifier, estimate
from xmtc.bench.compare import Bench, compare
from xmtc.bench.evaluation import evaluation
from xmtc.bench.scaling import scaling
from xmtc.bench.sharded import sharded
from xmtc.bench.step import step
from xmtc.bench.wiki500k_step import wiki500k_step


def test_the_classifier_gives_dense_gradients_in_every_way(monkeypatch):
    asked = []
    monkeypatch.setattr(classifier, "_memory", lambda way, shape, large=None: asked.append((way, shape[0])) or 100)
    bench = classifier.classifier(labels=900, features=6, rank=3, documents=4)
    assert bench.facts["gradient_error"] < 1e-5 and bench.facts["memory_ratio"] == 1
    assert asked == [("baseline", 900), ("ours", 900), ("all kept", 900), ("recomputed", 900)]
    losses = [float(way().detach()) for way in (bench.baseline, bench.ours, *bench.others.values())]
    assert losses == pytest.approx([losses[0]] * 4)


def test_a_large_label_space_is_updated_within_the_sweep(monkeypatch, capsys):
    monkeypatch.setattr(classifier, "LARGE", 900)
    asked = []
    monkeypatch.setattr(classifier, "_memory", lambda way, shape, large=None: asked.append((shape[0], large)) or 100)
    bench = classifier.classifier(labels=900, features=6, rank=3, documents=4)
    assert asked == [(900, None), (300, True)] and bench.baseline is None
    losses = [float(bench.ours().detach()) for _ in range(60)]
    assert losses[-1] < losses[0]
    classifier.measure("ours", [300, 6, 3, 2, 4], large=True)
    assert int(capsys.readouterr().out) >= 0


def test_scaling_finds_the_exponents():
    facts = scaling(labels=20_000, features=4, rank=2, documents=512, repeats=1).facts
    assert [point["labels"] for point in facts["points"]] == [4096, 16384, 20_000]
    assert 0.2 < facts["exponent"] < 2 and abs(facts["memory_exponent"]) < 0.2


def test_evaluation_agrees_with_one_document_after_the_other(monkeypatch, capsys):
    monkeypatch.setattr(command, "named", lambda name: lambda: evaluation(documents=300, labels=150))
    assert command.main(["evaluation", "--repeats", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["difference"] < 1e-12 and result["metrics"] == 45 and result["ratio"] > 0


def test_the_plain_step_and_ours_both_learn():
    bench = step(documents=4, tokens=20, words=50, labels=30, rank=4)
    for way in (bench.baseline, bench.ours):
        losses = [way() for _ in range(12)]
        assert losses[-1] < losses[0]
    assert bench.facts["device"] in ("cpu", "cuda")


def test_wiki500k_step_measures_both_encoders():
    facts = wiki500k_step(documents=2, tokens=12, words=40, labels=600, rank=4, steps=1).facts
    for name in ("xmlcnn", "meshprobenet"):
        assert facts[name]["documents_per_second"] > 0 and facts[name]["peak_bytes"] > 10_000
        assert facts[name]["hours"] == pytest.approx(1_776_000 * 15 / facts[name]["documents_per_second"] / 3600)


def test_shards_give_dense_values(capsys):
    facts = sharded(labels=100, features=4, rank=3, documents=5).facts
    assert [world["processes"] for world in facts["worlds"]] == [1, 2, 4]
    for world in facts["worlds"]:
        assert world["loss_error"] < 1e-5 and world["gradient_error"] < 1e-5
        assert world["share"] == pytest.approx(1 / world["processes"], rel=0.05)


def test_estimates_are_compared_with_a_real_run(monkeypatch):
    monkeypatch.setattr(estimate, "RUNS", ("encoder=bow head=cornet execution=chunked embedding.size=8",))
    facts = estimate.estimate_bench(labels=400, documents=16, words=20, steps=1).facts
    (row,) = facts["rows"]
    assert row["ratio"] == row["estimated"] / row["measured"] and facts["largest_error"] == abs(row["ratio"] - 1) < 0.5


def test_a_bench_of_facts_alone_has_no_times(capsys):
    result = compare("sharded", Bench(None, None, {"a": 1}), 3, None)
    assert result["baseline"] is None and result["ours"] is None and result["ratio"] is None and result["a"] == 1
