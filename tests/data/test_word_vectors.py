"""Initial word vectors: random, from a file, and learnt from the corpus."""

import gzip
import logging
import lzma
import random
from dataclasses import replace
from string import ascii_lowercase

import numpy as np
import pytest
import torch

from xmtc.data import word_rows as rows
from xmtc.data.embedding import Random
from xmtc.data.glove import Glove
from xmtc.data.word2vec import Word2Vec
from xmtc.errors import InputError
from xmtc.testing.corpora import small_store

TRAIN = [("court law law", ["a"]), ("court law /SEP/ é", ["b"]), ("court unique", ["b"])]
LINES = """, 9 9 9
. 1 2 3
at name@domain.com 8 8 8
court 0.5 -0.25 1e-3
. . . 7 7 7
court 9 9 9
absent x y z
é 4 5 6
"""


@pytest.fixture
def store(tmp_path):
    return small_store(tmp_path / "cache", train=TRAIN, test=TRAIN)


@pytest.fixture
def glove(tmp_path):
    def write(text=LINES, name="glove.txt"):
        opener = {".gz": gzip.open, ".xz": lzma.open}.get(name[-3:], open)
        with opener(tmp_path / name, "wb") as file:
            file.write(text.encode())
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", ["glove.txt", "glove.txt.gz", "glove.txt.xz"])
@pytest.mark.parametrize("head", ["", "8 3\n"])
def test_words_take_their_vectors(store, glove, name, head, caplog):
    with caplog.at_level(logging.INFO):
        table = Glove(str(glove(head + LINES, name)), 3).table(store.vocabulary)
    words = store.vocabulary.words()
    assert words == ["<PAD>", "<UNK>", "court", "law", "/SEP/", "é", "unique"]
    row = dict(zip(words, table, strict=True))
    assert row["court"].tolist() == pytest.approx([0.5, -0.25, 1e-3])  # the first of two
    assert row["é"].tolist() == [4, 5, 6] and row["/SEP/"].tolist() == [1, 2, 3]  # that of "."
    for word in ("<UNK>", "law", "unique"):
        assert row[word].abs().max() <= 1 and row[word].any()
    assert "3 of 5 words have a vector" in caplog.text
    embedding = Glove(str(glove(head + LINES, name)), 3, trainable=False).make(store.vocabulary, extra=2)
    assert embedding.weight.shape == (9, 3) and not embedding.weight[0].any() and not embedding.weight.requires_grad


def test_unknown_words_are_uniform(store, glove):
    torch.manual_seed(0)
    glove = Glove(str(glove()), 3)
    draws = torch.stack([glove.table(store.vocabulary)[[1, 3, 6]] for _ in range(500)])
    assert draws.min() < -0.99 and draws.max() > 0.99 and abs(draws.mean()) < 0.03
    assert draws.std() == pytest.approx(3**-0.5, rel=0.03)


def test_the_file_is_read_once_for_a_store(store, glove, monkeypatch):
    path = glove()
    first = Glove(str(path), 3).table(store.vocabulary)
    (kept,) = (store.folder / "vectors").glob("*.npy")
    assert np.load(kept).shape == (7, 3)
    monkeypatch.setattr("xmtc.data.glove.word_rows", None)
    again = Glove(str(path), 3).table(store.vocabulary.cut(2))
    assert torch.equal(again[2], first[2]) and len(again) == 4
    path.write_text(LINES.replace("0.5", "0.75"))
    with pytest.raises(TypeError):  # another file is read
        Glove(str(path), 3).table(store.vocabulary)


@pytest.mark.parametrize(
    "text, size, line",
    [
        (LINES + "short 1 2\n", 3, r"glove.txt, line 9: expected a word and 3 numbers, found 2"),
        (LINES.replace("-0.25", "a.25"), 3, r"glove.txt, line 4: expected 3 numbers"),
        (LINES.replace("-0.25", ""), 3, r"glove.txt, line 4: expected 3 numbers"),
        (LINES.replace("-0.25", "nan"), 3, r"glove.txt, line 4: a number that is not finite"),
        (LINES + "\n", 3, r"glove.txt, line 9"),
        (LINES, 2, r"vectors of 3 numbers, embedding.size is 2: set it to 3"),
        (LINES, 300, r"vectors of 3 numbers, embedding.size is 300"),
        ("words without numbers\n", 3, r"glove.txt, line 1: expected a word and its numbers"),
        ("", 3, r"found no line"),
    ],
)
def test_files_that_cannot_be_used(store, glove, text, size, line):
    with pytest.raises(InputError, match=line) as error:
        Glove(str(glove(text)), size).table(store.vocabulary)
    assert "\n" not in str(error.value)
    assert list((store.folder / "vectors").iterdir()) == []


def test_a_compressed_file_that_is_cut_short(store, glove):
    path = glove(LINES * 50, "glove.txt.gz")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="cut short|damaged"):
        Glove(str(path), 3).table(store.vocabulary)


def test_a_missing_file_says_where_to_get_it(store, tmp_path):
    with pytest.raises(InputError) as error:
        Glove(str(tmp_path / "none.txt")).table(store.vocabulary)
    for word in ("none.txt", "Stanford", "840B.300d", "embedding=word2vec", "embedding=random"):
        assert word in str(error.value)


def test_vectors_of_words_need_words(store, glove, tmp_path):
    with pytest.raises(InputError, match="text=words"):
        Glove(str(glove()), 3).table(replace(store.vocabulary, folder=tmp_path))


def test_only_wanted_rows_come_out(glove):
    path = glove("".join(f"w{i} {i} 1\n" for i in range(1000)))
    found = rows.word_rows(path, {b"w3", b"w999"})
    assert next(found) == (4, b"w3", b"3 1", 2)
    assert list(found) == [(1000, b"w999", b"999 1", 2)]


@pytest.mark.parametrize("kind, spread", [("uniform", 0.5 * 3**-0.5), ("normal", 0.5)])
def test_random(kind, spread, make_vocabulary):
    embedding = Random(50, kind=kind, scale=0.5).make(make_vocabulary(400))
    assert embedding.weight[1:].std().item() == pytest.approx(spread, rel=0.05)
    assert not embedding.weight[0].any() and embedding.sparse and embedding.weight.requires_grad


def test_padding_of_another_id(make_vocabulary):
    embedding = Random(3).make(replace(make_vocabulary(5), padding=4, unknown=3))
    assert embedding.padding_idx == 4 and not embedding.weight[4].any() and embedding.weight[0].any()


def test_word2vec_is_learnt_once_and_scaled(tmp_path, monkeypatch):
    pytest.importorskip("gensim")
    store = small_store(tmp_path)
    vectors = Word2Vec(8, epochs=1, min_count=20, workers=1, scale=0.1)
    table = vectors.table(store.vocabulary)
    monkeypatch.setattr(Word2Vec, "_train", None)
    again = vectors.table(store.vocabulary)
    known = (table == again).all(dim=1)
    counts = np.bincount(store.parts["train"].tokens, minlength=store.vocabulary.size)
    assert known.tolist() == [i > 1 and count >= 20 for i, count in enumerate(counts)] and known.any()
    assert table[known].std(correction=0) == pytest.approx(0.1, rel=1e-4)
    assert len(list((store.folder / "vectors").glob("*.npy"))) == 1


@pytest.mark.parametrize("share, epochs", [(0.5, 2), (2.0, 2), (2.5, 3), (7.0, 7), (1000.0, 50)])
def test_word2vec_reads_enough_words(tmp_path, monkeypatch, share, epochs):
    """Vectors of few words are no better than none."""
    pytest.importorskip("gensim")
    from gensim.models import Word2Vec as Model

    asked = []
    whole = Model.train
    monkeypatch.setattr(Model, "train", lambda *a, epochs, **k: asked.append(epochs) or whole(*a, epochs=1, **k))
    store = small_store(tmp_path)
    monkeypatch.setattr("xmtc.data.word2vec.WORDS", int(share * len(store.parts["train"].tokens)))
    Word2Vec(4, min_count=20, workers=1).table(store.vocabulary)
    assert asked == [epochs]


def test_word2vec_of_a_corpus_too_small(tmp_path):
    pytest.importorskip("gensim")
    store = small_store(tmp_path, train=TRAIN, test=TRAIN)
    with pytest.raises(InputError, match="embedding.min_count"):
        Word2Vec(8).table(store.vocabulary)


def test_joint_vectors_bring_words_of_one_label_together(tmp_path):
    pytest.importorskip("gensim")
    # six labels, each with two dialects of 26 words that are never in one text: only the label joins them
    choose = random.Random(0)
    dialects = [[f"w{label}{dialect}{letter}" for letter in ascii_lowercase] for label in range(6) for dialect in "xy"]
    picked = [choose.randrange(12) for _ in range(2000)]
    texts = [(" ".join(choose.choices(dialects[dialect], k=12)), [f"l{dialect // 2}"]) for dialect in picked]
    store = small_store(tmp_path, train=texts, test=texts[:6])
    place = {word: i for i, word in enumerate((store.folder / "text" / "vocabulary.txt").read_text().splitlines())}
    gap = {}
    for labels in (False, True):
        table = Word2Vec(16, epochs=5, min_count=1, workers=1, skip_gram=True, labels=labels).table(store.vocabulary)
        middles = torch.stack([table[[place[word] for word in words]].mean(dim=0) for words in dialects])
        near = torch.nn.functional.normalize(middles - middles.mean(dim=0), dim=1)
        near = (near @ near.T)[::2, 1::2]  # label x label, first against second dialect
        gap[labels] = float(near.diag().mean() - (near.sum() - near.diag().sum()) / 30)
    assert gap[True] > gap[False] + 0.1
    assert len(list((store.folder / "vectors").glob("*.npy"))) == 2


def test_joint_vectors_do_not_see_labels_that_are_not_trained_on(tmp_path):
    """Two corpora that differ in the labels of documents outside the training: the same vectors, others with them."""
    pytest.importorskip("gensim")

    choose = random.Random(0)
    texts = [" ".join(f"w{choose.randrange(500)}" for _ in range(30)) for _ in range(400)]

    def table(name, labels, trained):
        documents = list(zip(texts, labels, strict=True))
        store = small_store(tmp_path / name, train=documents, test=documents[:2])
        vocabulary = replace(store.vocabulary, trained=trained)
        torch.manual_seed(0)
        return Word2Vec(8, epochs=5, min_count=1, workers=1, labels=True).table(vocabulary)

    one = [["a"] if i % 2 else ["b"] for i in range(400)]
    other = [*one[:300], *(["b"] if i % 2 else ["a"] for i in range(300, 400))]
    assert torch.equal(table("one", one, np.arange(300)), table("other", other, np.arange(300)))
    assert not torch.equal(table("one", one, np.arange(400)), table("other", other, np.arange(400)))
    assert not torch.equal(table("one", one, np.arange(300)), table("one", one, np.arange(400)))  # kept apart
