"""Names, hierarchy, frequencies, bands and co-occurrence, against slow counting."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest

from xmtc.data import label_side
from xmtc.data.label_side import LabelSide
from xmtc.data.preparation import prepare
from xmtc.data.text import Words
from xmtc.metrics.propensity import propensities
from xmtc.testing.corpora import Listed, random_documents, small_store

PARTS = {"train": random_documents(300, 0), "validation": random_documents(40, 1, labels=16)}
PARTS["test"] = random_documents(40, 2, labels=20)


@pytest.fixture
def store(tmp_path):
    return small_store(tmp_path, **PARTS)


def slow_pairs(store, numbers):
    known = {label: i for i, label in enumerate(store.labels)}
    pairs = Counter()
    for number in numbers:
        labels = {known[label] for label in PARTS["train"][number][1]}
        pairs.update(permutations(labels, 2))
    return pairs


@pytest.mark.parametrize("at_once", [1, 50, 1 << 24])
@pytest.mark.parametrize("numbers", [range(300), range(0, 300, 3), range(0)])
@pytest.mark.parametrize("min_count", [1, 4])
def test_cooccurrence_against_counting(store, monkeypatch, at_once, numbers, min_count):
    monkeypatch.setattr(label_side, "PAIRS", at_once)
    side = LabelSide(store, np.array(numbers, np.int64))
    found = side.cooccurrence(min_count)
    expected = {pair: n for pair, n in slow_pairs(store, numbers).items() if n >= min_count}
    got = {(i, int(j)): int(n) for i in range(side.size) for j, n in zip(*found.row(i), strict=True)}
    assert got == expected
    assert len(found.offsets) == side.size + 1 and found.offsets[-1] == len(found.labels) == len(expected)
    assert all((np.diff(found.row(i)[0]) > 0).all() for i in range(side.size))
    assert expected or not len(numbers) or min_count > 1


def test_only_training_documents_count(store):
    """Labels that only validation has are in the store, and never met."""
    side = LabelSide(store)
    trained = Counter(label for _, labels in PARTS["train"] for label in set(labels))
    assert side.frequency().tolist() == [trained[label] for label in store.labels]
    assert (side.frequency() == 0).any()
    some = np.arange(0, 300, 7)
    few = Counter(label for n in some for label in set(PARTS["train"][n][1]))
    assert LabelSide(store, some).frequency().tolist() == [few[label] for label in store.labels]
    expected = propensities(LabelSide(store, some).frequency(), len(some), 0.6, 2.6)
    assert np.allclose(LabelSide(store, some).propensity(0.6, 2.6), expected)


def test_bands(store):
    side = LabelSide(store)
    bands, frequency = side.bands(), side.frequency()
    assert sorted(np.concatenate(list(bands.values())).tolist()) == list(range(side.size))
    assert len(bands["head"]) == 2 and side.size == 16  # a tenth of 16, rounded up
    lowest = [frequency[bands[name]].min() for name in ("head", "torso")]
    highest = [frequency[bands[name]].max() for name in ("torso", "tail")]
    assert lowest[0] >= highest[0] and lowest[1] >= highest[1]
    assert set(np.flatnonzero(frequency == 0)) <= set(bands["tail"].tolist())


def test_parents_are_pairs_of_labels_of_the_store(tmp_path):
    class Tree(Listed):
        def label_parents(self):
            return {"l1": ["l0", "root"], "l2": ["l1"], "unknown": ["l0"]}

    store = prepare(Tree(**PARTS), "small", Words(), tmp_path, 1)
    number = {label: i for i, label in enumerate(store.labels)}
    assert LabelSide(store).parents() == sorted([(number["l1"], number["l0"]), (number["l2"], number["l1"])])
    assert len(store.label_parents()) == 4


def test_a_corpus_without_hierarchy(store):
    assert LabelSide(store).parents() == [] and LabelSide(store).names == store.label_names
