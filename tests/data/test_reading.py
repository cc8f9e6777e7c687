"""New texts become the tokens that preparing them would have given."""

import json
import logging

import numpy as np
import pytest

from xmtc.data.collate import Documents
from xmtc.data.preparation import prepare
from xmtc.data.reading import TextReader, read_vocabulary
from xmtc.data.text import HuggingFace, Words
from xmtc.errors import InputError
from xmtc.testing.corpora import Listed

TRAIN = [("The first text, of 3.5 words", ["a"]), ("another Text", ["b"]), ("the text again", ["a"])]
TEST = [("the unseen text", ["a"]), ("", ["b"]), ("?! --", ["a"]), ("über \x00 half \ud800 text " * 9, []), ("x", [])]


@pytest.fixture
def hugging_face(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    from transformers import PreTrainedTokenizerFast

    model = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]"}
    trainer = tokenizers.trainers.WordPieceTrainer(vocab_size=60, special_tokens=["[UNK]", "x", "[PAD]"])
    model.train_from_iterator([text for text, _ in TRAIN], trainer)
    PreTrainedTokenizerFast(tokenizer_object=model, **special).save_pretrained(tmp_path / "tokenizer")
    return HuggingFace(str(tmp_path / "tokenizer"), length=7)


@pytest.fixture(params=["fast", "papers", "hugging_face"])
def spec(request):
    own = request.param == "hugging_face"
    return request.getfixturevalue("hugging_face") if own else Words(request.param, length=7)


def reader_of(store, spec, layout="padded", **facts):
    vocabulary = store.vocabulary
    facts = {"padding": vocabulary.padding, "unknown": vocabulary.unknown, "num_documents": 3, "width": 1} | facts
    (store.folder / "text" / "meta.json").write_text(json.dumps(facts))
    return TextReader(spec, read_vocabulary(store.folder / "text")[0], layout, facts["width"])


@pytest.mark.parametrize("layout", ["padded", "bag"])
def test_tokens_and_batches_are_those_of_a_store(tmp_path, spec, layout):
    store = prepare(Listed(train=TRAIN, test=TEST), "small", spec, tmp_path / "store", 1)
    reader = reader_of(store, spec, layout)
    part, texts = store.parts["test"], [text for text, _ in TEST]
    mine = reader.tokens(texts)
    assert mine.tokens.tolist() == part.tokens.tolist() and mine.token_offsets.tolist() == part.token_offsets.tolist()
    theirs = Documents(part, spec, layout, padding=store.vocabulary.padding)[np.arange(len(TEST))]
    batch = reader.batch(texts)
    if layout == "bag":
        for name in ("word_ids", "counts", "offsets"):
            assert getattr(batch.bags, name).tolist() == getattr(theirs.bags, name).tolist()
    else:
        assert batch.tokens.tolist() == theirs.tokens.tolist() and batch.lengths.tolist() == theirs.lengths.tolist()
    assert len(batch.labels) == len(TEST) and len(batch.labels.ids) == 0
    assert len(reader.documents([])) == 0 and len(reader.words(texts[3])) == (
        7 if layout == "padded" else int(np.diff(part.token_offsets)[3])
    )


def test_rows_are_as_wide_as_asked_and_wider_for_longer_texts(tmp_path):
    store = prepare(Listed(train=TRAIN, test=TEST), "small", Words(length=None), tmp_path / "store", 1)
    reader = reader_of(store, Words(length=None), width=6)
    assert reader.batch(["the"]).tokens.shape == (1, 6) and reader.batch(["the " * 9]).tokens.shape == (1, 9)
    assert read_vocabulary(store.folder / "text")[1] == 6


def test_what_is_missing_or_differs(tmp_path, caplog):
    spec = Words("papers")
    store = prepare(Listed(train=TRAIN, test=TEST), "small", spec, tmp_path / "store", 1)
    reader_of(store, spec, splitter=spec.splitter())
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        reader_of(store, spec, splitter="another")
    assert "split by another in training" in caplog.text
    gone = Words("papers", prefer="/no/longer/there.txt")  # only preparing reads it
    reader_of(store, gone, splitter=spec.splitter())
    folder = store.folder / "text"
    vocabulary, _ = read_vocabulary(folder)
    (folder / "vocabulary.txt").write_bytes(b"\xff")
    with pytest.raises(InputError, match="vocabulary.txt: not readable"):
        TextReader(spec, vocabulary, "padded")
    (folder / "document_frequency.npy").write_bytes(b"")
    with pytest.raises(InputError, match="document_frequency.npy: not readable"):
        read_vocabulary(folder)
    for content, complaint in (("{", "not readable"), ('{"padding": 0}', "found no num_documents")):
        (folder / "meta.json").write_text(content)
        with pytest.raises(InputError, match=f"meta.json: .*{complaint}"):
            read_vocabulary(folder)
