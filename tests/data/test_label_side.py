"""Frequencies, bands and hierarchy, against slow counting."""

from collections import Counter

import numpy as np
import pytest

from xmtc.data.label_side import LabelSide
from xmtc.data.preparation import prepare
from xmtc.data.text import Words
from xmtc.testing.corpora import Listed, random_documents, small_store

PARTS = {"train": random_documents(300, 0), "validation": random_documents(40, 1, labels=16)}
PARTS["test"] = random_documents(40, 2, labels=20)


@pytest.fixture
def store(tmp_path):
    return small_store(tmp_path, **PARTS)


def test_only_training_documents_count(store):
    """Labels that only validation has are in the store, and never met."""
    side = LabelSide(store)
    trained = Counter(label for _, labels in PARTS["train"] for label in set(labels))
    assert side.frequency().tolist() == [trained[label] for label in store.labels]
    assert (side.frequency() == 0).any()


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
    assert LabelSide(store).parents() == []
