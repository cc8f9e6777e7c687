"""An opened store: what it says of itself, and how it travels to other processes."""

import pickle
from collections import Counter

import numpy as np
import pytest

from xmtc.data.preparation import prepare
from xmtc.data.store import Part, Store
from xmtc.data.text import Words
from xmtc.data.vocabulary import Vocabulary
from xmtc.errors import InputError
from xmtc.testing.corpora import Listed, random_documents, small_store

PARTS = {"train": random_documents(300, 0), "validation": random_documents(40, 1, labels=16)}
PARTS["test"] = random_documents(40, 2, labels=20)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small_store(tmp_path_factory.mktemp("store"))


def test_arrays_stay_on_disk(store):
    again = Store(store.folder)
    assert all(isinstance(array, np.memmap) for array in vars(again.parts["train"]).values() if hasattr(array, "dtype"))
    assert again.num_labels == len(again.labels) == len(again.label_names) == len(again.label_frequency)
    assert (again.vocabulary.padding, again.vocabulary.unknown) == (0, 1)
    assert len(again.parts["train"]) == 60


def test_a_part_travels_as_its_folders_name(store):
    sent = pickle.dumps(store.parts["train"])
    assert len(sent) < 500
    received = pickle.loads(sent)
    assert isinstance(received.tokens, np.memmap) and np.array_equal(received.tokens, store.parts["train"].tokens)
    own = Part(*(np.arange(3) for _ in range(4)))
    assert np.array_equal(pickle.loads(pickle.dumps(own)).label_ids, own.label_ids)


def test_labels_with_odd_characters_survive(tmp_path):
    odd = ["a\x85b", "c\u2028d", "é", "e\x0cf", "g h"]
    store = small_store(tmp_path, train=[("w", odd[:3])], test=[("w", odd)])
    assert store.labels == sorted(odd[:3]) and store.unseen_labels == sorted(odd[3:])


def test_a_store_from_before_special_ids_were_kept(store, tmp_path):
    meta = store.folder / "meta.json"
    kept = meta.read_text()
    meta.write_text(kept.replace('"padding"', '"padding_"').replace('"unknown"', '"unknown_"'))
    assert (Store(store.folder).vocabulary.padding, Store(store.folder).vocabulary.unknown) == (0, 1)
    meta.write_text(kept)


def test_only_training_documents_count(tmp_path):
    """Labels that only validation has are in the store, and never met."""
    store = small_store(tmp_path, **PARTS)
    trained = Counter(label for _, labels in PARTS["train"] for label in set(labels))
    assert store.label_frequency.tolist() == [trained[label] for label in store.labels]
    assert (store.label_frequency == 0).any()


def test_parents_are_pairs_of_labels_of_the_store(tmp_path):
    class Tree(Listed):
        def label_parents(self):
            return {"l1": ["l0", "root"], "l2": ["l1"], "unknown": ["l0"]}

    store = prepare(Tree(**PARTS), "small", Words(), tmp_path, 1)
    number = {label: i for i, label in enumerate(store.labels)}
    assert store.parents() == sorted([(number["l1"], number["l0"]), (number["l2"], number["l1"])])
    assert len(store.label_parents()) == 4


def test_a_corpus_without_hierarchy(store):
    assert store.parents() == []


@pytest.mark.parametrize("least, size", [(0, 6), (1, 5), (2, 4), (3, 3), (9, 2)])
def test_cut(least, size):
    vocabulary = Vocabulary(6, np.array([0, 0, 3, 2, 1, 0]), 7, padding=0, unknown=1).cut(least)
    assert (vocabulary.size, len(vocabulary.document_frequency), vocabulary.num_documents) == (size, size, 7)


def test_a_damaged_store_without_checksums_is_refused_in_one_line(tmp_path):
    """As one from before there were any. Every byte of the small files, some of the others."""
    folder = small_store(tmp_path).folder
    (folder / "checksums").unlink()
    refused = 0
    for name in (
        "meta.json",
        "labels.tsv",
        "train/tokens.npy",
        "test/label_offsets.npy",
        "text/document_frequency.npy",
    ):
        path = folder / name
        content = path.read_bytes()
        for place in range(0, len(content), max(1, len(content) // 60)):
            for harmed in (content[:place], content[:place] + b"\xff" + content[place + 1 :]):
                path.write_bytes(harmed)
                try:
                    Store(folder)
                except InputError as error:
                    assert "damaged store" in str(error)
                    refused += 1
        path.write_bytes(content)
    assert refused > 100 and Store(folder).num_labels
