"""Numbers of a corpus against counting, near duplicates against exact comparison, and the command that shows them."""

import json
from collections import Counter
from math import ceil

import numpy as np
import pytest

from xmtc.data import __main__ as command
from xmtc.data.near_duplicates import near_duplicates
from xmtc.data.statistics import draw, statistics, table
from xmtc.testing.corpora import random_documents, small_store
from xmtc.testing.formats import numbered_documents, write_corpus

PARTS = {"train": random_documents(200, 0), "test": random_documents(60, 2, labels=20)}


def test_against_counting(tmp_path):
    store = small_store(tmp_path, **PARTS)
    found = statistics(store, 6)
    for name, documents in PARTS.items():
        lengths = [max(len(text.split()), 1) for text, _ in documents]
        labels = [len(set(given)) for _, given in documents]
        part = found["parts"][name]
        assert part["documents"] == len(documents) and part["without_labels"] == labels.count(0)
        assert part["tokens"]["mean"] == pytest.approx(np.mean(lengths), abs=0.006)
        assert part["tokens"]["max"] == max(lengths) and part["labels"]["max"] == max(labels)
        assert part["tokens"]["median"] == np.quantile(lengths, 0.5, method="lower")
        assert part["cut"] == pytest.approx(np.mean([length > 6 for length in lengths]))
    trained = {label for _, labels in PARTS["train"] for label in labels}
    unseen = [{label for label in labels} - trained for _, labels in PARTS["test"]]
    test = found["test"]
    assert test["unseen_labels"] == len(set().union(*unseen)) > 0
    assert test["documents_with_one"] == sum(bool(labels) for labels in unseen)
    positives = sum(len(set(labels)) for _, labels in PARTS["test"])
    assert test["unseen_positives"] == pytest.approx(sum(map(len, unseen)) / positives, abs=1e-4)
    assert sum(band["positives"] for band in found["labels"]["bands"].values()) == pytest.approx(1, abs=1e-3)
    assert statistics(store, None)["parts"]["train"]["cut"] == 0
    bands, count = found["labels"]["bands"].values(), len(store.labels)
    frequency = Counter(label for _, labels in PARTS["train"] for label in set(labels))
    ranked, stops = sorted(frequency.values(), reverse=True), [0, ceil(count / 10), ceil(count / 2), count]
    assert [band["labels"] for band in bands] == np.diff(stops).tolist()
    assert [band["least_frequency"] for band in bands] == [ranked[stop - 1] for stop in stops[1:]]
    assert "200" in table(found) and "20 labels" not in table(found)
    json.dumps(found)


def shingles(text):
    words = text.split()
    width = min(3, len(words))
    return {tuple(words[i : i + width]) for i in range(len(words) - width + 1)}


def test_near_duplicates_against_exact_comparison(tmp_path):
    pytest.importorskip("datasketch")
    random = np.random.default_rng(0)

    def text(length):
        return [f"w{i}" for i in random.integers(0, 500, length)]

    train = [text(80) for _ in range(150)]
    test = [text(80) for _ in range(30)]
    for place, source in ((3, 10), (7, 20)):
        test[place] = list(train[source])  # the same
    test[9] = [*train[30][:79], "new"]  # one word differs
    test[11] = [*train[40][:40], *text(40)]  # half of it
    test[13], train[50] = ["w1", "w2"], ["w1", "w2"]  # shorter than a shingle
    parts = {
        "train": [(" ".join(words), ["a"]) for words in train],
        "test": [(" ".join(words), ["a"]) for words in test],
    }
    store = small_store(tmp_path, **parts)
    found = near_duplicates(store.parts["train"], store.parts["test"])
    exact = [
        (i, j) for i, (a, _) in enumerate(parts["test"]) for j, (b, _) in enumerate(parts["train"])
        if len(shingles(a) & shingles(b)) / len(shingles(a) | shingles(b)) >= 0.8
    ]  # fmt: skip
    assert found["pairs"] == exact == [(3, 10), (7, 20), (9, 30), (13, 50)]
    assert found["near_duplicates"] == 4
    some = near_duplicates(store.parts["train"], store.parts["test"], most_train=100, most_test=20)
    assert (some["train_documents"], some["test_documents"]) == (100, 20) and set(some["pairs"]) <= set(exact)
    again = near_duplicates(store.parts["train"], store.parts["test"], most_train=100, most_test=20)
    assert again == some


def test_near_duplicates_close_to_the_threshold_are_found_above_it_alone(tmp_path):
    pytest.importorskip("datasketch")
    random = np.random.default_rng(0)
    train = [[f"w{i}" for i in random.integers(0, 500, 60)] for _ in range(100)]
    test = [[*words[:57], "x", "y", "z"] for words in train]  # 55 of 61 shingles, 0.90
    test += [[*words[:54], *"uvwxyz"] for words in train]  # 52 of 64, 0.81
    test += [[*words[:53], *(f"w{i}" for i in range(7))] for words in train]  # 51 of 65, 0.78
    parts = {name: [(" ".join(words), ["a"]) for words in part] for name, part in (("train", train), ("test", test))}
    store = small_store(tmp_path, **parts)
    found = {number for number, _ in near_duplicates(store.parts["train"], store.parts["test"])["pairs"]}
    exact = [len(shingles(a) & shingles(b)) / len(shingles(a) | shingles(b)) >= 0.8
             for (a, _), (b, _) in zip(parts["test"], 3 * parts["train"], strict=True)]  # fmt: skip
    assert exact == [True] * 200 + [False] * 100
    assert len(found) >= 196 and set(range(100)) <= found <= set(range(200))


def test_bands_without_labels_are_not_listed(tmp_path):
    found = statistics(small_store(tmp_path, train=[("a b", ["x"])], test=[("a", [])]), None)
    assert "head: 1 labels met 1 times" in table(found) and "None" not in table(found)


def test_picture(tmp_path):
    pytest.importorskip("matplotlib")
    store = small_store(tmp_path / "cache", **PARTS)
    (path,) = draw(store, statistics(store, 6), "small", tmp_path)
    assert path.read_bytes()[:4] == b"\x89PNG" and path.stat().st_size > 5000


def test_commands(tmp_path, capsys):
    write_corpus(tmp_path / "mine", "laco", {"train": numbered_documents(40, 0), "test": numbered_documents(9, 1)})
    paths = [f"paths.data_dir={tmp_path}", f"paths.cache_dir={tmp_path / 'cache'}", "prepare_workers=1"]
    own = ["corpus", f"dataset.path={tmp_path / 'mine'}", *paths]
    assert command.main(["stats", *own, "--output", str(tmp_path / "out")]) == 0
    assert "near duplicates" in capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "statistics.json").read_text())
    assert found["parts"]["train"]["documents"] == 40 and found["near_duplicates"]["test_documents"] == 9
    assert (tmp_path / "out" / "statistics.png").exists()
    assert command.main(["verify", *own]) == 2
    assert "corpus: not a registered dataset, there is nothing to compare with" in capsys.readouterr().err
    assert command.main(["show", "nonsense"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    (tmp_path / "aapd").mkdir()  # an empty folder is no corpus
    write_corpus(tmp_path / "rcv1", "laco", {"train": numbered_documents(4, 0), "test": numbered_documents(3, 1)})
    assert command.main(["list", *paths]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in listed if line.split()[5] == "yes"} == {"rcv1"}
    assert any(line.split()[:5] == ["wiki500k", "1,779,881", "-", "769,421", "501,008"] for line in listed)
    assert command.main(["show", "wiki500k", *paths]) == 0
    shown = capsys.readouterr().out
    assert "archive.org" in shown and f"{tmp_path / 'wiki500k'} (not here)" in shown
