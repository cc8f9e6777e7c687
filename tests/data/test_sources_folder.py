"""The plain-text layout: values, tolerated oddities, and every complaint."""

import gzip
import lzma

import pytest

from xmtc.data.preparation import prepare
from xmtc.data.sources.folder import FolderSource
from xmtc.data.text import Words
from xmtc.errors import InputError


def write(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


@pytest.fixture
def corpus(tmp_path):
    return write(
        tmp_path / "corpus",
        train_texts="a\x85b\u2028c\n\nlast",
        train_labels="x y x\n\nz\n",
        test_texts="t\r\nu\r\n",
        test_labels="z\r\n\r\n",
    )


def complaint(source, part=None):
    with pytest.raises(InputError) as caught:
        list(source.documents(part)) if part else source.check()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_documents_labels_and_files(corpus):
    source = FolderSource(str(corpus))
    source.check()
    assert source.parts() == ["train", "test"]
    assert list(source.documents("train")) == [("a\x85b\u2028c", ["x", "y", "x"]), ("", []), ("last", ["z"])]
    assert list(source.documents("test")) == [("t", ["z"]), ("u", [])]
    assert [path.name for path in source.files()] == [
        "train_texts.txt",
        "train_labels.txt",
        "test_texts.txt",
        "test_labels.txt",
    ]
    assert source.label_names() == {}


@pytest.mark.parametrize("prefix", ["dev", "val", "valid"])
def test_validation_under_each_name(corpus, prefix):
    write(corpus, **{f"{prefix}_texts": "v\n", f"{prefix}_labels": "x\n"})
    source = FolderSource(str(corpus))
    assert source.parts() == ["train", "validation", "test"]
    assert list(source.documents("validation")) == [("v", ["x"])]


def test_two_validation_parts_are_refused(corpus):
    write(corpus, dev_texts="v\n", dev_labels="x\n", val_texts="v\n", val_labels="x\n")
    assert "found dev_* and val_*; remove one of them" in complaint(FolderSource(str(corpus)))


def test_compressed_files_and_label_names(corpus):
    for name, opener in (("train_texts", lzma.open), ("test_labels", gzip.open)):
        path = corpus / f"{name}.txt"
        suffix = ".xz" if opener is lzma.open else ".gz"
        with opener(f"{path}{suffix}", "wb") as stream:
            stream.write(path.read_bytes())
        path.unlink()
    with gzip.open(corpus / "labels.tsv.gz", "wt", encoding="utf-8") as stream:
        stream.write("x\tÄx\nz\tzed\tmore\n")
    source = FolderSource(str(corpus))
    assert [text for text, _ in source.documents("train")] == ["a\x85b\u2028c", "", "last"]
    assert list(source.documents("test")) == [("t", ["z"]), ("u", [])]
    assert source.label_names() == {"x": "Äx", "z": "zed"}
    assert source.files()[-1].name == "labels.tsv.gz"


def test_byte_order_mark_is_no_text(corpus):
    write(corpus, test_texts=b"\xef\xbb\xbft\nu\n")
    assert [text for text, _ in FolderSource(str(corpus)).documents("test")] == ["t", "u"]


def test_raw_texts_of_attentionxml(corpus):
    for part in ("train", "test"):
        (corpus / f"{part}_texts.txt").rename(corpus / f"{part}_raw_texts.txt")
    source = FolderSource(str(corpus))
    assert [text for text, _ in source.documents("test")] == ["t", "u"]


def test_missing_folder_names_keys(tmp_path):
    message = complaint(FolderSource(str(tmp_path / "eurlex")))
    assert str(tmp_path / "eurlex") in message and "XMTC_DATA" in message and "dataset.path" in message


def test_a_file_in_place_of_the_folder(corpus):
    assert "is a file, expected a corpus folder" in complaint(FolderSource(str(corpus / "train_texts.txt")))


@pytest.mark.parametrize("name", ["train_texts", "train_labels", "test_texts", "test_labels"])
def test_missing_file_is_named(corpus, name):
    (corpus / f"{name}.txt").unlink()
    assert f"expected {name}.txt (or .gz or .xz), found t" in complaint(FolderSource(str(corpus)))


def test_missing_validation_labels_are_named(corpus):
    write(corpus, dev_texts="v\n")
    assert "expected dev_labels.txt" in complaint(FolderSource(str(corpus)))


@pytest.mark.parametrize("texts, labels, short", [("a\nb\nc\n", "x\ny\n", "labels"), ("a\nb\n", "x\ny\nz\n", "texts")])
def test_unequal_lengths_name_the_line(corpus, texts, labels, short):
    write(corpus, train_texts=texts, train_labels=labels)
    message = complaint(FolderSource(str(corpus)), "train")
    long = {"labels": "texts", "texts": "labels"}[short]
    assert f"train_{short}.txt ended after line 2, train_{long}.txt goes on with line 3" in message


def test_undecodable_bytes_name_file_line_and_byte(corpus):
    write(corpus, train_texts=b"fine\nab\xff\nc\n")
    message = complaint(FolderSource(str(corpus)), "train")
    assert "train_texts.txt, line 2: expected UTF-8 text, found byte 0xff at column 3" in message


def test_empty_part(corpus):
    write(corpus, test_texts="", test_labels="")
    assert "test_texts.txt: the test part holds no documents" in complaint(FolderSource(str(corpus)))


@pytest.mark.parametrize("suffix, compress", [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_truncated_archives(corpus, suffix, compress):
    path = corpus / "train_texts.txt"
    data = compress(b"".join(b"line %d\n" % n for n in range(3)))
    (corpus / f"train_texts.txt{suffix}").write_bytes(data[:-6])
    path.unlink()
    assert f"train_texts.txt{suffix}: the compressed file is cut short" in complaint(FolderSource(str(corpus)), "train")


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_what_is_no_archive(corpus, suffix):
    (corpus / "train_texts.txt").rename(corpus / f"train_texts.txt{suffix}")
    assert f"train_texts.txt{suffix}: the file is damaged after line 0" in complaint(FolderSource(str(corpus)), "train")


@pytest.mark.parametrize("line", ["y two", "y\tz\tall"])
def test_malformed_hierarchy(corpus, line):
    (corpus / "label_parents.tsv").write_text(f"x\ty\n\nx\tz\n{line}\n")
    with pytest.raises(InputError, match="label_parents.tsv, line 4: expected 'id<TAB>id of the label above', found"):
        FolderSource(str(corpus)).label_parents()
    (corpus / "label_parents.tsv").write_text("x\ty\n\nx\tz\n")
    assert FolderSource(str(corpus)).label_parents() == {"x": ["y", "z"]}


def test_a_label_without_a_name_is_called_by_its_id(corpus, tmp_path):
    (corpus / "labels.tsv").write_text("x\t\nz\tZed\n")
    store = prepare(FolderSource(str(corpus)), "small", Words(), tmp_path / "cache", 1)
    assert store.label_names[store.labels.index("x")] == "x"


def test_malformed_label_names(corpus):
    (corpus / "labels.tsv").write_text("x\tone\ny two\n")
    with pytest.raises(InputError, match=r"labels.tsv, line 2: expected 'id<TAB>name', found 'y two'"):
        FolderSource(str(corpus)).label_names()
