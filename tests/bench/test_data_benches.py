"""The benches of the data rooms measure what they say, on tiny sizes."""

import json

import pytest

from xmtc.bench import __main__ as command
from xmtc.bench.compare import Bench, compare
from xmtc.bench.loader import loader
from xmtc.bench.prepare import prepare_bench


def test_loader(monkeypatch, capsys):
    monkeypatch.setattr(command, "named", lambda name: lambda: loader(documents=200, tokens=20, words=30))
    assert command.main(["loader", "--repeats", "1"]) == 0
    out = capsys.readouterr().out
    result = json.loads(out.splitlines()[-1])
    assert (
        "a second" in out
        and result["ours"] > 1000
        and result["ratio"] == pytest.approx(result["ours"] / result["baseline"])
    )
    assert set(result["by_labels"]) == {"4000", "3000000"} and len(result["peak_memory_bytes_by_epoch"]) == 3


def test_both_ways_of_the_loader_see_every_document():
    bench = loader(documents=130, tokens=20, words=30)
    assert bench.ours() == bench.baseline() == 130


def test_prepare_finds_the_same_words(monkeypatch, tmp_path):
    monkeypatch.setenv("XMTC_DATA", str(tmp_path))
    bench = prepare_bench(documents=30)
    assert bench.facts["corpus"] == "synthetic" and bench.facts["documents"] == 60
    ids = bench.baseline()
    assert sum(len(found) for found in ids["train"]) + sum(len(found) for found in ids["test"]) == bench.facts["words"]
    bench.ours()


def test_things_a_second():
    result = compare("x", Bench(lambda: None, lambda: None, per_call=10), 1, "ours")
    assert result["ours"] > 0 and result["baseline"] is None
