"""What safety costs is measured where it is paid, beside a run that does the same without it."""

from pathlib import Path

from xmtc.bench.compare import compare
from xmtc.bench.overhead import PARTS, overhead


def test_both_ways_train_the_same_and_only_one_is_safe():
    bench = overhead(documents=60, labels=12, words=10, epochs=2)
    base = Path(bench.ours.folder.name)
    assert bench.ours() == bench.ours()
    with_it = {path.name for path in (base / "run").rglob("*") if path.is_file()}
    seconds = bench.facts["seconds"]
    assert set(seconds) == set(PARTS)
    sometimes = {"best.ckpt, held back", "reading best.ckpt"}  # not what the end of training had in memory
    assert all(value > 0 for name, value in seconds.items() if name not in sometimes)
    assert 0 < bench.facts["share_of_training"] and sum(seconds.values()) > 0 < bench.facts["share"] < 1
    scores = bench.ours()
    assert bench.baseline() == scores
    without = {path.name for path in (base / "run").rglob("*") if path.is_file()}
    assert {"last.ckpt", "best.ckpt", "hashes", "labels.tsv"} <= with_it - without
    assert compare("overhead", bench, 1, "ours")["share"] == bench.facts["share"]
