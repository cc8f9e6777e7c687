"""Binary files of word vectors give what gensim reads from them."""

import gzip

import numpy as np
import pytest
import torch

from xmtc.data.binary_vectors import binary_rows
from xmtc.data.glove import Glove
from xmtc.errors import InputError
from xmtc.testing.corpora import small_store

TRAIN = [("court law law", ["a"]), ("court law é", ["b"]), ("court unique", ["b"])]
WORDS = ["absent", "court", "é", "law", "two words"]
VECTORS = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


def write(path, ends=b"\n"):
    rows = b"".join(word.encode().replace(b" ", b"_") + b" " + vector.tobytes() + ends
                    for word, vector in zip(WORDS, VECTORS, strict=True))  # fmt: skip
    data = b"5 4\n" + rows
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.fixture
def store(tmp_path):
    return small_store(tmp_path / "cache", train=TRAIN, test=TRAIN)


@pytest.mark.parametrize("ends", [b"\n", b""])
@pytest.mark.parametrize("name", ["v.bin", "v.bin.gz"])
def test_word2vec(tmp_path, store, ends, name):
    path = write(tmp_path / name, ends)
    table = Glove(str(path), size=4).table(store.vocabulary)
    words = store.vocabulary.words()
    for word, vector in zip(WORDS, VECTORS, strict=True):
        if word in words:
            assert torch.equal(table[words.index(word)], torch.from_numpy(vector))
    assert table[words.index("unique")].abs().max() <= 1 and {"court", "é", "law"} <= set(words)


def test_only_wanted_rows_come_out_and_gensim_agrees(tmp_path):
    models = pytest.importorskip("gensim.models")
    path = write(tmp_path / "v.bin")
    theirs = models.KeyedVectors.load_word2vec_format(path, binary=True)
    mine = {word.decode(): vector for _, word, vector in binary_rows(path, {b"court", b"law", b"nothing"})}
    assert set(mine) == {"court", "law"}
    assert all(np.array_equal(vector, theirs[word]) for word, vector in mine.items())
    theirs.save_word2vec_format(tmp_path / "w.bin", binary=True)
    again = {word.decode() for _, word, _ in binary_rows(tmp_path / "w.bin", {word.encode() for word in WORDS})}
    assert again == {"absent", "court", "é", "law"}


def test_fasttext_spells_unknown_words(tmp_path, store):
    fasttext = pytest.importorskip("gensim.models.fasttext")
    sentences = [["court", "courts", "law"], ["law", "lawful", "court"]] * 5
    model = fasttext.FastText(sentences, vector_size=4, min_count=1, epochs=1, workers=1, seed=0, bucket=100)
    fasttext.save_facebook_model(model, str(tmp_path / "ft.bin"))
    found = {word.decode(): vector for _, word, vector in binary_rows(tmp_path / "ft.bin", [b"court", b"courtly"])}
    assert np.allclose(found["court"], model.wv["court"], atol=1e-6)
    assert np.allclose(found["courtly"], model.wv["courtly"], atol=1e-6)
    words = store.vocabulary.words()
    table = Glove(str(tmp_path / "ft.bin"), size=4).table(store.vocabulary)
    assert np.allclose(table[words.index("law")].numpy(), model.wv["law"], atol=1e-6)


@pytest.mark.parametrize("change, line", [
    (lambda data: data[:-9], "cut short after word 4 of 5"),
    (lambda data: data.replace(b"5 4\n", b"5 -4\n", 1), "announces 5 words of -4 numbers"),
    (lambda data: data.replace(b"5 4\n", b"5 4000000000000\n", 1), "announces 5 words of 4000000000000 numbers"),
    (lambda data: data.replace(b"5 4\n", b"-5 4\n", 1), "announces -5 words"),
    (lambda data: data.replace(b"5 4\n", b"6 4\n", 1), "word 6: expected a word and a blank"),
    (lambda data: b"five four\n" + data, "expected word2vec's binary format"),
    (lambda data: b"", "expected word2vec's binary format"),
    (lambda data: data.replace(b"5 4\n", b"5 3\n", 1), "expected a word and a blank|found more"),
    (lambda data: data.replace(b"5 4\n", b"4 4\n", 1), "line 1 announces 4 words of 4 numbers, found more"),
    (lambda data: b"\xba\x16O/" + data, "expected a whole fastText model"),
])  # fmt: skip
def test_files_that_cannot_be_used(tmp_path, store, change, line):
    path = write(tmp_path / "v.bin")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=line):
        Glove(str(path), size=4).table(store.vocabulary)
