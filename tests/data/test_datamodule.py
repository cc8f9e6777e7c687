"""A store's parts as Lightning sees them."""

import logging
import math
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from xmtc.data.datamodule import XMTCData, count_of
from xmtc.data.text import Words
from xmtc.errors import InputError
from xmtc.testing.corpora import random_documents, small_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small_store(tmp_path_factory.mktemp("split"))


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    parts = {"train": random_documents(30, 0), "validation": random_documents(7, 1), "test": random_documents(9, 2)}
    return small_store(tmp_path_factory.mktemp("official"), **parts)


def data(store, **settings):
    settings = {"batch_size": 8, "validation_size": 10} | settings
    return XMTCData(store, Words(), settings.pop("layout", "padded"), 0, **settings)


@pytest.mark.parametrize("size, count", [(10, 10), (1, 1), (30, 30), (59, 59), (0.25, 15), (0.11, 7)])
def test_split_is_that_of_the_papers_code(store, size, count, caplog):
    with caplog.at_level(logging.INFO):
        made = data(store, validation_size=size)
    train, held = train_test_split(np.arange(60), test_size=size, random_state=1240)
    assert len(held) == count and f"{count} documents split off" in caplog.text
    assert (f"{60 - count} documents are left to train on" in caplog.text) == (count > 30)
    assert made.train.numbers.tolist() == sorted(train) and made.validation.numbers.tolist() == sorted(held)
    assert made.validation.part is store.parts["train"] and len(made.test) == 20


def test_a_validation_part_is_used_as_it_is(official):
    made = data(official, validation_size=10_000)
    assert (len(made.train), len(made.validation), len(made.test)) == (30, 7, 9)
    assert made.validation.part is official.parts["validation"]


@pytest.mark.parametrize(
    "settings, line",
    [
        ({"validation_size": 0}, "validation_size: expected 1 to 59 of 60 documents, got 0"),
        ({"validation_size": 60}, "validation_size"),
        ({"validation_size": -1}, "validation_size"),
        ({"validation_size": 0.999}, "validation_size"),
        ({"validation_size": 1.5}, "validation_size"),
    ],
)
def test_settings_that_cannot_be_used(store, settings, line):
    with pytest.raises(InputError, match=line):
        data(store, **settings)


@pytest.mark.parametrize("layout", ["padded", "bag"])
@pytest.mark.parametrize("bucketing", [False, True])
def test_loaders_give_every_document_once(store, layout, bucketing):
    made = data(store, layout=layout, bucketing=bucketing, evaluation_batch_size=6)
    for loader, documents, batch_size in (
        (made.train_dataloader(), made.train, 8),
        (made.val_dataloader(), made.validation, 6),
        (made.test_dataloader(), made.test, 6),
    ):
        batches = list(loader)
        assert sorted(i for batch in batches for i in batch.documents.tolist()) == list(range(len(documents)))
        assert len(loader) == len(batches) and max(map(len, batches)) == batch_size


def test_evaluation_batch_size_follows_batch_size(store):
    assert len(next(iter(data(store).test_dataloader()))) == 8


def test_limit(store):
    made = data(store, limit=5)
    assert [len(part) for part in (made.train, made.validation, made.test)] == [5, 5, 5]


def test_a_share_of_the_training_documents_is_always_the_same_and_nested(store, official):
    whole = data(store).train.numbers
    shares = [data(store, fraction=share).train.numbers for share in (1 / 16, 0.25, 0.5, 1.0)]
    assert [len(share) for share in shares] == [4, 13, 25, 50]  # of 50, rounded up
    for small, large in zip(shares, shares[1:], strict=False):
        assert set(small.tolist()) < set(large.tolist()) <= set(whole.tolist())
    assert all(np.array_equal(share, np.sort(share)) for share in shares) and np.array_equal(shares[-1], whole)
    made = XMTCData(store, Words(), "padded", 99, batch_size=8, validation_size=10, fraction=0.25)  # another seed
    assert np.array_equal(made.train.numbers, shares[1])
    assert np.array_equal(made.validation.numbers, data(store).validation.numbers) and len(made.test) == 20
    assert made.train_label_counts().sum() == len(made.train.gold().ids)
    assert shares[1].max() > 13  # drawn, not the first ones
    both = data(official, fraction=0.5, limit=4)
    assert [len(part) for part in (both.train, both.validation, both.test)] == [4, 4, 4]


def test_a_share_is_the_decimal_number_that_was_written(store):
    """As floats, 0.14 * 50 and 0.07 * 100 are more than 7, 0.28 * 50 is more than 14."""
    assert [len(data(store, fraction=share).train) for share in (0.14, 0.28, 0.3, 0.281, 1)] == [7, 14, 15, 15, 50]
    assert [count_of(share, 100) for share in (0.07, 1e-05, 1 / 3)] == [7, 1, 34]
    of_kept_rows = [(0.0625, 45_000), (0.25, 7270), (0.55, 7270), (0.0889, 45_000), (0.1025, 39_017), (1.0, 45_000)]
    for share, documents in of_kept_rows:
        assert count_of(share, documents) == math.ceil(share * documents)


def test_label_counts_leave_validation_out(store):
    made = data(store)
    counts = np.zeros(store.num_labels, int)
    part = store.parts["train"]
    for number in made.train.numbers:
        counts[part.label_ids[part.label_offsets[number] : part.label_offsets[number + 1]]] += 1
    assert made.train_label_counts().tolist() == counts.tolist() and counts.sum() < store.label_frequency.sum()


def test_processes(store):
    made = data(store)
    seen = []
    for rank in range(3):
        made.trainer = SimpleNamespace(global_rank=rank, world_size=3, accelerator=None)
        seen += [i for batch in made.test_dataloader() for i in batch.documents.tolist()]
    assert seen == list(range(20))
    made = data(store, limit=2)
    made.trainer = SimpleNamespace(global_rank=0, world_size=3, accelerator=None)
    with pytest.raises(InputError, match="3 processes for 2 training documents"):
        made.train_dataloader()


@pytest.mark.parametrize("done, expected", [(1, (4, 1)), (2, (5, 0)), (7, (5, 0))])
def test_an_epoch_that_the_trainer_cuts_short_is_over_at_its_last_step(store, done, expected):
    made, loop = data(store), SimpleNamespace(batch_progress=SimpleNamespace(current=SimpleNamespace(completed=done)))
    made.trainer = SimpleNamespace(global_rank=0, world_size=1, accelerator=None, num_training_batches=2)
    made.trainer.fit_loop = SimpleNamespace(epoch_loop=loop)
    made.train_dataloader().sampler.set_epoch(4)
    assert tuple(made.state_dict().values()) == expected


def test_evaluation_of_an_encoder_that_reads_padding_has_one_width(official):
    """The longest training text, cut at the length, whatever batch a document is in; training batches stay short."""
    longest = int(np.diff(official.parts["train"].token_offsets).max())
    for length, width in ((None, longest), (5, 5), (1000, longest)):
        made = XMTCData(official, Words(length=length), "padded", 0, reads_padding=True, limit=3)
        assert made.width == width
        for documents in (made.validation, made.test):
            assert {documents[[i]].tokens.shape[1] for i in range(3)} == {width}
        assert made.train[[0]].tokens.shape[1] == made.train.lengths()[0]
    assert {data(official).test[[i]].tokens.shape[1] for i in range(9)} == set(data(official).test.lengths().tolist())
