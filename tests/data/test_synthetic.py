"""The generated corpus has the numbers it was asked for, its planted correlation, and is the same every time."""

import math
from collections import Counter
from itertools import islice

import numpy as np
import pytest

from xmtc.data.sources import synthetic
from xmtc.data.sources.synthetic import SyntheticSource, Zipf, offset_for
from xmtc.errors import InputError

SMALL = {"train": 3000, "test": 500, "labels": 400, "labels_per_document": 4.0, "words_per_document": 50.0}


def source(**changes):
    return SyntheticSource(**{**SMALL, "vocabulary": 5000, **changes})


@pytest.fixture(scope="module")
def documents():
    return list(source().documents("train"))


def test_printed_numbers(documents):
    assert len(documents) == 3000
    assert np.mean([len(labels) for _, labels in documents]) == pytest.approx(4.0, rel=0.05)
    assert np.mean([len(text.split()) for text, _ in documents]) == pytest.approx(50, rel=0.05)
    assert all(len(set(labels)) == len(labels) for _, labels in documents)
    counts = Counter(label for _, labels in documents for label in labels)
    assert len(counts) == 400  # every label at least once
    assert counts["l0"] / 3000 == pytest.approx(0.05, rel=0.5)
    assert len({word for text, _ in documents for word in text.split()}) > 4000


def test_a_tail_by_zipf(documents):
    counts = Counter(label for _, labels in documents for label in labels)
    ranked = sorted(counts.values(), reverse=True)
    assert sum(ranked[:40]) > 0.25 * sum(ranked)  # the head tenth
    assert sum(ranked[200:]) < 0.35 * sum(ranked)


@pytest.mark.parametrize("correlation, least, most", [(0.0, 0.0, 0.15), (0.5, 0.5, 0.85), (1.0, 0.8, 1.0)])
def test_planted_correlation(correlation, least, most):
    """Share of documents with two labels of one cluster."""
    together = total = 0
    for _, labels in source(correlation=correlation, labels=2000).documents("train"):
        clusters = [int(label[1:]) // 8 for label in labels]
        total += len(labels) > 1
        together += len(set(clusters)) < len(clusters)
    assert least <= together / total <= most


def test_words_tell_of_the_labels():
    """Documents with a rare label share words that others do not have; without signal they do not."""

    def shared(signal):
        by_label = {}
        for text, labels in islice(source(signal=signal).documents("train"), 2000):
            for label in labels:
                by_label.setdefault(label, []).append({word for word in text.split() if int(word[1:]) > 1000})
        pairs = [texts[:2] for label, texts in by_label.items() if int(label[1:]) > 200 and len(texts) > 1]
        return np.mean([len(a & b) for a, b in pairs])

    assert shared(0.5) > 2 * shared(0.0) + 0.5


def test_the_same_every_time_and_from_any_chunk():
    first, second = (list(source().documents("train")) for _ in range(2))
    assert first == second
    assert list(source().chunk("train", 1)) == first[1024:2048]
    assert list(source(seed=1).chunk("train", 1)) != first[1024:2048]
    assert list(source().documents("test")) != first[:500]
    assert source(seed=1).fingerprint() != source().fingerprint()


def test_a_part_of_the_corpus_is_its_beginning():
    """dataset.train=1500 with dataset.like: the same documents, as far as they go."""
    few, many = (SyntheticSource("eurlex", train=n, test=10, words_per_document=20.0) for n in (1500, 2500))
    assert list(islice(few.documents("train"), 1024)) == list(islice(many.documents("train"), 1024))


@pytest.mark.parametrize("like, words", [("wiki500k", 808.66), ("amazoncat13k", 246.61), ("amazon3m", None)])
def test_like_a_registered_dataset(like, words):
    if words is None:
        with pytest.raises(InputError, match="dataset.words_per_document: must be given, dataset.like=amazon3m"):
            SyntheticSource(like)
    made = SyntheticSource(like, words_per_document=words or 100.0)
    card = synthetic.registered()[like]
    assert made.parts() == ["train", "test"] and made.settings["train"] == card.documents["train"]
    assert made.labels == card.labels and made.settings["labels_per_document"] == card.labels_per_document
    sample = list(islice(made.documents("train"), 1024))
    assert np.mean([len(labels) for _, labels in sample]) == pytest.approx(card.labels_per_document, rel=0.08)
    assert np.mean([len(text.split()) for text, _ in sample]) == pytest.approx(words or 100, rel=0.08)


def test_more_labels_than_documents():
    made = source(labels=9000, labels_per_document=5.0)
    counts = Counter(label for _, labels in made.documents("train") for label in labels)
    assert len(counts) > 8000  # three a document are owed, as far as it has room


def test_law_of_zipf():
    random = np.random.default_rng(0)
    for size, offset in ((1, 0.0), (10, 0.0), (1000, 2.7), (200_000, 50.0)):
        counts = np.bincount(Zipf(size, offset).draw(random, 400_000), minlength=size)
        assert len(counts) == size
        total = math.log((size + 1 + offset) / (1 + offset))
        for rank in (0, min(3, size - 1)):
            expected = math.log((rank + 2 + offset) / (rank + 1 + offset)) / total
            assert counts[rank] / 400_000 == pytest.approx(expected, rel=0.1)
    assert offset_for(10, 1.0) == pytest.approx(0, abs=1e-6)
    assert 0 < offset_for(1000, 0.01) < 1000


@pytest.mark.parametrize("change, line", [
    ({"train": 0}, "dataset.train=0: expected at least 1"),
    ({"correlation": 1.5}, "dataset.correlation=1.5"),
    ({"most_frequent": 0}, "dataset.most_frequent=0"),
    ({"like": "wiki50k"}, "dataset.like=wiki50k: not a registered dataset, choose from"),
    ({"vocabulary": None}, "dataset.vocabulary: must be given"),
])  # fmt: skip
def test_what_cannot_be_generated(change, line):
    with pytest.raises(InputError, match=line):
        source(**change)
