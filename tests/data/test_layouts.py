"""Each layout read back from files as their authors write them, and what is said of files that are not."""

import gzip
import json

import numpy as np
import pytest

from xmtc.data.preparation import prepare
from xmtc.data.sources.corpus import LAYOUTS, CorpusSource
from xmtc.data.sources.match import MatchSource
from xmtc.data.sources.subset import SubsetSource
from xmtc.data.text import Words
from xmtc.errors import InputError
from xmtc.testing.corpora import Listed
from xmtc.testing.formats import WRITERS, numbered_documents, write_corpus

PARTS = {
    "train": numbered_documents(40, 0),
    "validation": numbered_documents(7, 1),
    "test": numbered_documents(9, 2, labels=14),
}


def read(source):
    return {part: list(source.documents(part)) for part in source.parts()}


def complaint(source):
    with pytest.raises(InputError) as error:
        source.check()
        read(source)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_every_layout_has_a_writer():
    assert list(WRITERS) == list(LAYOUTS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_round_trip(tmp_path, layout):
    expected = write_corpus(tmp_path / "corpus", layout, PARTS)
    source = CorpusSource(str(tmp_path / "corpus"))
    assert source.layout() == layout
    source.check()
    assert read(source) == expected
    assert all(path.is_file() for path in [*source.files(), *source.name_files()])
    json.dumps(source.fingerprint())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_parts_and_names_are_found_only_in_their_own_layout(tmp_path, layout):
    write_corpus(tmp_path / "corpus", layout, PARTS)
    others = [other for other in LAYOUTS if other != layout]
    assert CorpusSource(str(tmp_path / "corpus"), others).layout() is None
    for other in others:
        assert "expected" in complaint(LAYOUTS[other](str(tmp_path / "corpus")))


@pytest.mark.parametrize("layout", ["pecos", "xml_repository", "bag_of_words", "match", "labelcorank", "eurlex57k"])
def test_names_of_labels(tmp_path, layout):
    write_corpus(tmp_path / "corpus", layout, PARTS)
    names = CorpusSource(str(tmp_path / "corpus")).label_names()
    assert names["0"] == "label 0" and names["13"] == "label 13" and len(names) == 14


@pytest.mark.parametrize("layout, parents", [
    ("match", {"1": ["0"], "2": ["0"], "3": ["1"]}),
    ("eurlex57k", {str(i): ["0"] for i in range(1, 14)}),
])  # fmt: skip
def test_hierarchy_reaches_the_store(tmp_path, layout, parents):
    write_corpus(tmp_path / "corpus", layout, PARTS)
    source = CorpusSource(str(tmp_path / "corpus"))
    assert source.label_parents() == parents
    store = prepare(source, "small", Words(), tmp_path / "cache", 1)
    assert store.label_parents() == [(child, above) for child in sorted(parents) for above in parents[child]]
    assert "label 3" in store.label_names


def test_names_change_the_store_and_not_what_a_score_depends_on(tmp_path):
    write_corpus(tmp_path / "corpus", "eurlex57k", PARTS)
    first = prepare(CorpusSource(str(tmp_path / "corpus")), "small", Words(), tmp_path / "cache", 1)
    (tmp_path / "corpus" / "EURLEX57K.json").write_text(json.dumps({"0": {"label": "zero"}}))
    second = prepare(CorpusSource(str(tmp_path / "corpus")), "small", Words(), tmp_path / "cache", 1)
    assert second.folder != first.folder and second.label_names[0] == "zero"
    assert second.meta["dataset_sha256"] == first.meta["dataset_sha256"]


def test_many_files_are_one_hash(tmp_path):
    parts = PARTS | {"train": numbered_documents(120, 0)}
    write_corpus(tmp_path / "corpus", "eurlex57k", parts)
    (tmp_path / "corpus" / "train" / "3000000.json").rename(tmp_path / "corpus" / "train" / "30000000.json")
    first = prepare(CorpusSource(str(tmp_path / "corpus")), "small", Words(), tmp_path / "cache", 1)
    assert list(first.meta["content"]["files"]) == ["136 files"]
    path = tmp_path / "corpus" / "train" / "3000007.json"
    path.write_text(path.read_text().replace("Regulation", "Decision"))
    again = prepare(CorpusSource(str(tmp_path / "corpus")), "small", Words(), tmp_path / "cache", 1)
    assert again.meta["dataset_sha256"] != first.meta["dataset_sha256"]


def test_a_law_that_moves_to_another_part_is_another_corpus(tmp_path):
    write_corpus(tmp_path / "corpus", "eurlex57k", PARTS)
    law = min((tmp_path / "corpus" / "train").iterdir()).rename(tmp_path / "corpus" / "train" / "law.json")
    first = prepare(CorpusSource(str(tmp_path / "corpus")), "small", Words(), tmp_path / "cache", 1)
    law.rename(tmp_path / "corpus" / "test" / "law.json")
    second = prepare(CorpusSource(str(tmp_path / "corpus")), "small", Words(), tmp_path / "cache", 1)
    assert [len(store.parts["train"]) for store in (first, second)] == [40, 39]
    assert second.meta["dataset_sha256"] != first.meta["dataset_sha256"]


def test_a_named_corpus_is_the_same_store_as_its_folder(tmp_path):
    """What a corpus is called and how it was found do not change what was measured on it."""
    write_corpus(tmp_path / "corpus", "folder", PARTS)
    named = CorpusSource(str(tmp_path / "corpus"), ["pecos", "folder"], name="x")
    plain = LAYOUTS["folder"](str(tmp_path / "corpus"))
    stores = [prepare(source, "small", Words(), tmp_path / "cache", 1) for source in (named, plain)]
    assert stores[0].folder == stores[1].folder


@pytest.mark.parametrize("layout", ["match", "laco", "sgm", "hedwig", "labelcorank", "pecos"])
def test_compressed_files(tmp_path, layout):
    expected = write_corpus(tmp_path / "corpus", layout, PARTS)
    for path in (tmp_path / "corpus").iterdir():
        if path.suffix != ".npz":
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    assert read(CorpusSource(str(tmp_path / "corpus"))) == expected


def replaced(path, old, new):
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    assert old in data, path
    data = data.replace(old, new, 1)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.mark.parametrize("layout, name, change, expected", [
    ("xml_repository", "trn.json.gz", (b'"target_ind": [', b'"target_ind": ["a", '), "line 1: expected a list"),
    ("xml_repository", "trn.json.gz", (b'"title": "', b'"title": 3, "x": "'), "line 1: expected a text under 'title'"),
    ("xml_repository", "trn.json.gz", (b'{"uid": "2"', b'{uid: "2"'), "line 3: malformed JSON"),
    ("xml_repository", "trn.json.gz", (b'"target_ind"', b'"labels"'), "under 'target_ind', found only uid, title"),
    ("bag_of_words", "train.txt", (b"40 ", b"41 "), "line 1 announces 41 documents, found 40"),
    ("bag_of_words", "train.txt", (b"40 ", b"39 "), "line 41: line 1 announces 39"),
    ("bag_of_words", "train.txt", (b"40 ", b"forty "), "line 1: expected 'documents features labels'"),
    ("bag_of_words", "train.txt", (b":1.000000", b""), "line 2: expected feature:value"),
    ("bag_of_words", "train.txt", (b":1.000000 ", b":1.000000 999:1 "), "feature numbers below"),
    ("bag_of_words", "test.txt", (b" 14\n", b" 14\n77,"), "line 2: expected label numbers below 14, found '77'"),
    ("match", "train.json", (b'"label": [', b'"label": [7, '), "line 1: expected a list of texts under 'label'"),
    ("match", "train.json", (b'"text": "', b'"text": "99999 '), "word numbers of vocabulary.txt, found str '99999'"),
    ("match", "vocabulary.txt", (b"\t", b" "), "vocabulary.txt, line 1: expected 'number<TAB>word'"),
    ("laco", "train_data.json", (b'"predicate"', b'"predikat"'), "line 1, spo_list 1: expected a text under"),
    ("laco", "dev_data.json", (b'"spo_list": [', b'"spo_list": ["x", '), "line 1: expected a list of objects"),
    ("sgm", "train.tgt", (b"\n", b"\n1\n"), "train.src ended after line 40, train.tgt goes on with line 41"),
    ("hedwig", "train.tsv", (b"\t", b" "), "train.tsv, line 1: expected"),
    ("hedwig", "dev.tsv", (b"\n", b"\n0"), "dev.tsv, line 2: expected 14 bits, a tab and a text"),
    ("hedwig", "dev.tsv", (b"0", b"2"), "dev.tsv, line 1: expected 14 bits"),
    ("labelcorank", "train.csv", (b"\r\n", b",x\r\n"), "line 1: expected a text and its labels, found 3 columns"),
    ("labelcorank", "train.csv", (b",", b",cat "),
     "line 1: expected label numbers, found 'cat'; a table with a header line is dataset=csv"),
    ("labelcorank", "train.csv", (b"w", b'"w'), "malformed CSV"),
    ("pecos", "X.trn.txt", (b"\n", b"\n\n"), "X.trn.txt, line 41: Y.trn.npz has 40 rows, expected more"),
    ("pecos", "X.tst.txt", (b"\n", b" "), "X.tst.txt ended after line 8, Y.tst.npz has 9 rows"),
    ("eurlex57k", "train/3000004.json", (b'"concepts": [', b'"concepts": [4, '), "3000004.json: expected a list"),
    ("eurlex57k", "train/3000004.json", (b"{", b"["), "3000004.json: malformed JSON"),
])  # fmt: skip
def test_one_line_that_names_file_line_and_what_was_expected(tmp_path, layout, name, change, expected):
    write_corpus(tmp_path / "corpus", layout, PARTS)
    replaced(tmp_path / "corpus" / name, *change)
    message = complaint(CorpusSource(str(tmp_path / "corpus")))
    assert expected in message and str(tmp_path / "corpus") in message


@pytest.mark.parametrize("arrays, expected", [
    ({"format": np.array(b"csc")}, "expected a sparse matrix by rows (csr), found csc"),
    ({"indptr": np.array([0, 1])}, "expected 41 offsets"),
    ({"indices": None}, "expected a matrix written by scipy.sparse.save_npz"),
    ({"indices": np.array([{}], object)}, "expected a matrix written by scipy.sparse.save_npz"),
])  # fmt: skip
def test_a_label_matrix_that_is_none(tmp_path, arrays, expected):
    write_corpus(tmp_path / "corpus", "pecos", PARTS)
    path = tmp_path / "corpus" / "Y.trn.npz"
    held = {**np.load(path), **arrays}
    np.savez(path, **{name: array for name, array in held.items() if array is not None})
    assert expected in complaint(CorpusSource(str(tmp_path / "corpus")))
    path.write_bytes(b"not a zip")
    assert "save_npz" in complaint(CorpusSource(str(tmp_path / "corpus")))


def test_scipy_agrees_on_the_label_matrix(tmp_path):
    sparse = pytest.importorskip("scipy.sparse")
    write_corpus(tmp_path / "corpus", "pecos", PARTS)
    theirs = sparse.load_npz(tmp_path / "corpus" / "Y.trn.npz")
    theirs.eliminate_zeros()
    assert [[str(i) for i in row.indices] for row in theirs] == [labels for _, labels in PARTS["train"]]
    sparse.save_npz(tmp_path / "corpus" / "Y.trn.npz", theirs)
    assert list(CorpusSource(str(tmp_path / "corpus")).documents("train")) == PARTS["train"]


def test_metadata_as_tokens_before_the_text(tmp_path):
    write_corpus(tmp_path / "corpus", "match", PARTS)
    source = MatchSource(str(tmp_path / "corpus"), metadata=["venue", "author", "reference"])
    text, _ = next(source.documents("train"))
    assert text == "VENUE-UbiComp AUTHOR-a1 AUTHOR-b-2 " + PARTS["train"][0][0]
    for style in ("fast", "papers"):
        assert Words(style).tokenise(text)[:3] == ["venue-ubicomp", "author-a1", "author-b-2"]
    assert source.fingerprint() != MatchSource(str(tmp_path / "corpus")).fingerprint()


def test_word_numbers_may_be_taken_as_they_are(tmp_path):
    write_corpus(tmp_path / "corpus", "match", PARTS)
    text, _ = next(MatchSource(str(tmp_path / "corpus"), numbers=False).documents("train"))
    assert all(word.isdigit() for word in text.split())
    (tmp_path / "corpus" / "vocabulary.txt").unlink()
    assert "expected vocabulary.txt" in complaint(MatchSource(str(tmp_path / "corpus"), numbers=True))


def test_values_that_are_no_counts_stand_once(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name in ("train.txt", "test.txt"):
        (folder / name).write_text("2 3 2\n0,1 0:0.25 2:3 1:2.5\n 1:1\n")
    assert list(CorpusSource(str(folder)).documents("train")) == [("f0 f2 f2 f2 f1", ["0", "1"]), ("f1", [])]


def test_unknown_and_missing_layouts(tmp_path):
    with pytest.raises(InputError, match="unknown layout, choose from folder, pecos"):
        CorpusSource(str(tmp_path), ["pecs"])
    assert "no such corpus folder" in complaint(CorpusSource(str(tmp_path / "x"), name="wiki500k"))
    assert "xmtc.data download wiki500k" in complaint(CorpusSource(str(tmp_path), ["sgm", "pecos"], name="wiki500k"))
    assert "expected train.src" in complaint(CorpusSource(str(tmp_path), ["sgm"]))


HEADED = {
    "train": [("a", ["h", "h"]), ("b", ["h", "x"]), ("c", ["x"]), ("d", ["h", "y"]), ("e", []), ("f", ["z"])],
    "test": [("g", ["h"]), ("i", ["new"]), ("j", ["h", "x", "new"]), ("k", ["h", "x"])],
}


@pytest.mark.parametrize("keep, most, texts", [
    ("head", 0, ["g"]),
    ("tail", 0, ["i"]),
    ("tail", 1, ["g", "i", "j", "k"]),
])  # fmt: skip
def test_head_and_tail_documents(keep, most, texts):
    """h is the one head label (10 % of four, rounded up)."""
    source = SubsetSource(Listed(**HEADED), keep, max_head_labels=most)
    assert source.head() == {"h"} and source.reader() is source
    assert [text for text, _ in source.documents("test")] == texts
    only_test = SubsetSource(Listed(**HEADED), keep, max_head_labels=most, parts=["test"])
    assert len(list(only_test.documents("train"))) == 6
    assert len({json.dumps(s.fingerprint()) for s in (source, only_test, Listed(**HEADED))}) == 3


def test_no_subset_is_the_corpus_itself(tmp_path):
    whole = Listed(**HEADED)
    assert SubsetSource(whole).reader() is whole
    with pytest.raises(InputError, match="dataset.subset=head: the test part holds no documents"):
        list(SubsetSource(Listed(train=HEADED["train"], test=[("a", ["x"])]), "head").documents("test"))
