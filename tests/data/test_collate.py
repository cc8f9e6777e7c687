"""Batches against loops over documents."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from xmtc.data import collate
from xmtc.data.collate import Documents, ranges
from xmtc.data.text import Words
from xmtc.testing.corpora import small_store
from xmtc.training.results import describe

POSITIONS = [[3, 0, 17, 3], [5], [], list(range(40)), np.array([7, 2])]


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    return small_store(tmp_path_factory.mktemp("store")).parts["train"]


def document(part, number, length):
    tokens = part.tokens[part.token_offsets[number] : part.token_offsets[number + 1]].tolist()[:length]
    labels = part.label_ids[part.label_offsets[number] : part.label_offsets[number + 1]].tolist()
    return tokens, labels


def check_labels(batch, part, numbers):
    rows = [document(part, number, None)[1] for number in numbers]
    assert batch.labels.ids.tolist() == [label for row in rows for label in row]
    assert batch.labels.offsets.tolist() == np.cumsum([0, *map(len, rows)]).tolist()
    assert batch.labels.ids.dtype == batch.labels.offsets.dtype == torch.int64


@pytest.mark.parametrize("layout, length", [("padded", 4), ("padded", None), ("bag", 4)])
def test_documents_that_are_cut_are_counted_and_told(part, caplog, layout, length):
    numbers = np.arange(3, 40)
    documents = Documents(part, Words(length=length), layout, numbers)
    longer = sum(len(document(part, number, None)[0]) > 4 for number in numbers)
    assert documents.cut() == (longer if (layout, length) == ("padded", 4) else 0) and longer
    data = SimpleNamespace(train=documents, validation=[], test=[], train_label_counts=lambda: np.ones(3))
    with caplog.at_level("INFO"):
        describe({"dataset": {"name": "mine"}}, data, SimpleNamespace(num_labels=3), "a model")
    line = f"of {longer} training documents ({100 * longer / 37:.1f} %) the first 4 tokens are read, and no more"
    assert (line in caplog.text) == ("are read" in caplog.text) == (documents.cut() > 0)


@pytest.mark.parametrize("positions", POSITIONS, ids=str)
@pytest.mark.parametrize("length, fixed", [(None, False), (4, False), (4, True), (50, True)])
@pytest.mark.parametrize("padding", [0, 9])
def test_padded(part, positions, length, fixed, padding):
    numbers = np.arange(len(part))[::-1][:45]
    documents = Documents(part, Words(length=length, fixed=fixed), "padded", numbers, padding)
    batch = documents[positions]
    rows = [document(part, numbers[p], length)[0] for p in positions]
    width = length if fixed else max(map(len, rows), default=1)
    assert batch.tokens.tolist() == [row + [padding] * (width - len(row)) for row in rows]
    assert batch.tokens.shape == (len(positions), width) and batch.tokens.dtype == torch.int64
    assert batch.lengths.tolist() == [len(row) for row in rows] and batch.lengths.dtype == torch.int64
    assert batch.documents.tolist() == list(positions) and batch.bags is None
    assert documents.lengths()[list(positions)].tolist() == [len(row) for row in rows]
    check_labels(batch, part, numbers[list(positions)])


@pytest.mark.parametrize("positions", POSITIONS, ids=str)
@pytest.mark.parametrize("length", [None, 4])
def test_bags_hold_whole_documents(part, positions, length):
    batch = Documents(part, Words(length=length), "bag", distinct=True)[positions]
    assert torch.equal(batch.bags.words[batch.bags.places], batch.bags.word_ids)
    assert batch.bags.words.tolist() == sorted(set(batch.bags.word_ids.tolist()))
    cut = batch.part(0, len(positions) // 2).bags
    assert torch.equal(cut.words[cut.places], cut.word_ids)
    rows = [sorted(Counter(document(part, p, None)[0]).items()) for p in positions]
    assert batch.bags.word_ids.tolist() == [word for row in rows for word, _ in row]
    assert batch.bags.counts.tolist() == [count for row in rows for _, count in row]
    assert batch.bags.offsets.tolist() == np.cumsum([0, *map(len, rows)]).tolist()
    assert (batch.bags.word_ids.dtype, batch.bags.counts.dtype) == (torch.int64, torch.float32)
    assert batch.tokens is None and batch.lengths is None
    check_labels(batch, part, positions)


@pytest.mark.parametrize("largest", [10, 2**31 // 3, 2**31 - 2])  # keys of 32 and of 64 bits
def test_bags_of_large_ids(largest):
    random = np.random.default_rng(0)
    tokens = (largest - random.integers(0, 5, 60)).astype(np.int32)
    lengths = np.array([20, 0, 39, 1])
    bags = collate._bags(tokens, lengths)
    rows = [sorted(Counter(piece.tolist()).items()) for piece in np.split(tokens, np.cumsum(lengths)[:-1])]
    assert bags.word_ids.tolist() == [word for row in rows for word, _ in row]
    assert bags.counts.tolist() == [count for row in rows for _, count in row]
    assert bags.offsets.tolist() == np.cumsum([0, *map(len, rows)]).tolist()


def test_gold_is_every_documents_labels_in_order(part):
    numbers = np.array([4, 9, 2])
    documents = Documents(part, Words(), "bag", numbers)
    gold = documents.gold()
    assert len(gold) == len(documents) == 3
    assert gold.ids.tolist() == [label for number in numbers for label in document(part, number, None)[1]]


def test_ranges():
    assert ranges(np.array([5, 0, 7]), np.array([2, 0, 3])).tolist() == [5, 6, 7, 8, 9]
    assert ranges(np.zeros(0, np.int64), np.zeros(0, np.int64)).tolist() == []


def test_batches_do_not_share_memory_with_the_store(part):
    batch = Documents(part, Words(), "padded")[[1]]
    before = part.tokens[part.token_offsets[1]]
    batch.tokens.fill_(-1)
    batch.labels.ids.fill_(-1)
    assert part.tokens[part.token_offsets[1]] == before


def test_batches_move_whole(part):
    for layout in ("padded", "bag"):
        batch = Documents(part, Words(), layout)[[1, 2]].to("meta")
        tensors = [batch.documents, batch.labels.ids, batch.tokens if layout == "padded" else batch.bags.counts]
        assert {tensor.device.type for tensor in tensors} == {"meta"} and len(batch) == 2


def test_loader_processes_give_the_same_batches(part):
    documents = Documents(part, Words(), "padded")
    sampler = [np.array([3, 1]), np.array([2])]
    loader = DataLoader(documents, batch_size=None, sampler=sampler, num_workers=1, multiprocessing_context="fork")
    for batch, positions in zip(loader, sampler, strict=True):
        assert torch.equal(batch.tokens, documents[positions].tokens)
