"""CSV, JSON lines and Parquet: values, and every complaint."""

import gzip
import json
import sys

import pytest

from xmtc.data.preparation import prepare
from xmtc.data.sources.parquet import ParquetSource
from xmtc.data.sources.tables import CsvSource, JsonlSource
from xmtc.data.text import Words
from xmtc.errors import InputError

GOOD_CSV = "text,labels\nw,q\n"
GOOD_JSON = '{"text": "w", "labels": ["q"]}\n'


def folder(tmp_path, ending, train, test=None):
    tests = {"csv": GOOD_CSV, "jsonl": GOOD_JSON}
    (tmp_path / f"train.{ending}").write_bytes(train if isinstance(train, bytes) else train.encode())
    (tmp_path / f"test.{ending}").write_text(test or tests[ending])
    return str(tmp_path)


def complaint(source, part="train"):
    with pytest.raises(InputError) as caught:
        list(source.documents(part))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_csv_values(tmp_path):
    long = "x" * 200_000
    content = f'text,labels,id\r\n"a, ""b""\nc",x y; z;x,1\r\n{long},,2\r\n\r\n,q,3\r\n'
    source = CsvSource(folder(tmp_path, "csv", content))
    source.check()
    assert source.parts() == ["train", "test"]
    assert list(source.documents("train")) == [('a, "b"\nc', ["x y", "z", "x"]), (long, []), ("", ["q"])]
    assert [path.name for path in source.files()] == ["train.csv", "test.csv"]


def test_csv_columns_separator_and_delimiter(tmp_path):
    path = folder(tmp_path, "csv", "title\tbody\ttags\nT\tB\tx|y\n")
    source = CsvSource(path, text_column=["title", "body"], label_column="tags", label_separator="|", delimiter="tab")
    assert list(source.documents("train")) == [("T B", ["x", "y"])]
    assert source.fingerprint()["delimiter"] == "\t"
    assert source.fingerprint() != CsvSource(path).fingerprint()
    with pytest.raises(InputError, match="no column 'text', found title\tbody\ttags; set.* or dataset.delimiter"):
        list(CsvSource(path).documents("train"))


def test_a_hierarchy_beside_the_table_is_no_part_of_what_a_score_depends_on(tmp_path):
    path = folder(tmp_path, "jsonl", GOOD_JSON)
    assert JsonlSource(path).label_parents() == {} and JsonlSource(path).name_files() == []
    (tmp_path / "label_parents.tsv").write_text("cod\tfish\ncod\tfood\n")
    for place in (path, str(tmp_path / "train.jsonl")):
        source = JsonlSource(place)
        assert source.label_parents() == {"cod": ["fish", "food"]}
        assert [file.name for file in source.name_files()] == ["label_parents.tsv"]
        assert "label_parents.tsv" not in [file.name for file in source.files()]


def test_named_files_and_a_train_file_as_path(tmp_path):
    folder(tmp_path, "csv", GOOD_CSV)
    (tmp_path / "held.csv").write_text("text,labels\nh,q\n")
    source = CsvSource(str(tmp_path / "train.csv"), validation="held.csv", test=str(tmp_path / "held.csv"))
    assert source.parts() == ["train", "validation", "test"]
    assert list(source.documents("test")) == list(source.documents("validation")) == [("h", ["q"])]


def test_the_same_files_as_other_parts_are_another_store(tmp_path):
    (tmp_path / "a.csv").write_text("text,labels\none,x\ntwo,y\n")
    (tmp_path / "b.csv").write_text("text,labels\nthree,x\n")
    stores = [
        prepare(CsvSource(str(tmp_path), train=train, test=test), "small", Words(), tmp_path / "cache", 1)
        for train, test in (("a.csv", "b.csv"), ("b.csv", "a.csv"))
    ]
    assert [(len(store.parts["train"]), store.labels) for store in stores] == [(2, ["x", "y"]), (1, ["x"])]
    assert stores[0].meta["dataset_sha256"] != stores[1].meta["dataset_sha256"]


def test_validation_is_found_and_gz_is_read(tmp_path):
    with gzip.open(tmp_path / "dev.csv.gz", "wt") as stream:
        stream.write("text,labels\nv,q\n")
    assert list(CsvSource(folder(tmp_path, "csv", GOOD_CSV)).documents("validation")) == [("v", ["q"])]


@pytest.mark.parametrize(
    "content, message",
    [
        ("body,labels\na,x\n", "train.csv, line 1: no column 'text', found body, labels; set dataset.text_column"),
        ("text,tags\na,x\n", "train.csv, line 1: no column 'labels', found text, tags; set dataset.label_column"),
        ("text,labels,text\na,x,b\n", "column 'text' stands 2 times, expected once"),
        ("text,labels\na,x\nb\n", "train.csv, line 3: expected 2 columns as in the header, found 1"),
        ('text,labels\na,x\n"b,y\n', "train.csv, line 3: malformed CSV (unexpected end of data)"),
        (b"text,labels\na,\xe9\n", "train.csv, line 2: expected UTF-8 text, found byte 0xe9"),
        ('text,labels\na,"x\ty"\n', "line 2: expected labels without tabs and line ends"),
        ("text,labels\n", "the train part holds no documents"),
        ("", "the train part holds no documents"),
    ],
)
def test_csv_complaints(tmp_path, content, message):
    assert message in complaint(CsvSource(folder(tmp_path, "csv", content)))


def test_missing_files(tmp_path):
    assert "no such file or folder; set dataset.path" in complaint(CsvSource(str(tmp_path / "none")))
    (tmp_path / "train.csv").write_text(GOOD_CSV)
    assert "expected test.csv, found none; set dataset.test" in complaint(CsvSource(str(tmp_path)))
    assert "other.csv: no such file; set dataset.test" in complaint(CsvSource(str(tmp_path), test="other.csv"))


def test_settings_that_cannot_be():
    with pytest.raises(InputError, match="dataset.label_separator is empty"):
        CsvSource("x", label_separator="")
    with pytest.raises(InputError, match="dataset.delimiter=';;': expected one character"):
        CsvSource("x", delimiter=";;")


def test_jsonl_values(tmp_path):
    rows = [
        {"text": "a\nb", "labels": ["x y", "z", "x"]},
        {"text": None, "labels": None},
        {"text": "c", "labels": "x  y"},
        {"text": "d", "labels": [3, 4]},
        {"text": "e", "labels": 5},
    ]
    source = JsonlSource(folder(tmp_path, "jsonl", "\n".join(map(json.dumps, rows)) + "\n\n"))
    assert list(source.documents("train")) == [
        ("a\nb", ["x y", "z", "x"]),
        ("", []),
        ("c", ["x", "y"]),
        ("d", ["3", "4"]),
        ("e", ["5"]),
    ]


@pytest.mark.parametrize(
    "line, message",
    [
        ('{"text": "a"', "train.jsonl, line 2: malformed JSON ("),
        ('["a"]', "train.jsonl, line 2: expected a JSON object, found list ['a']"),
        ('{"body": "a", "labels": []}', "line 2: no column 'text', found body, labels; set dataset.text_column"),
        ('{"text": "a"}', "line 2: no column 'labels', found text; set dataset.label_column"),
        ('{"text": 7, "labels": []}', "line 2: column 'text' expected a text, found int 7"),
        ('{"text": "a", "labels": [1.5]}', "column 'labels' expected a list of labels"),
        ('{"text": "a", "labels": {"x": 1}}', "found dict {'x': 1}; set dataset.label_column"),
        ('{"text": "a", "labels": true}', "found bool True"),
        ('{"text": "a\\ud800", "labels": []}', "found a lone surrogate at character 2"),
    ],
)
def test_jsonl_complaints(tmp_path, line, message):
    assert message in complaint(JsonlSource(folder(tmp_path, "jsonl", GOOD_JSON + line + "\n")))


def parquet_folder(tmp_path, columns):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    for part in ("train", "test"):
        parquet.write_table(pyarrow.table(columns), tmp_path / f"{part}.parquet")
    return str(tmp_path)


def test_parquet_values(tmp_path):
    path = parquet_folder(tmp_path, {"text": ["a", None], "labels": [["x", "y", "x"], None], "id": [1, 2]})
    source = ParquetSource(path)
    source.check()
    assert list(source.documents("train")) == [("a", ["x", "y", "x"]), ("", [])]


def test_parquet_string_labels_and_missing_column(tmp_path):
    path = parquet_folder(tmp_path, {"text": ["a"], "labels": ["x|y z"]})
    assert list(ParquetSource(path, label_separator="|").documents("train")) == [("a", ["x", "y z"])]
    message = complaint(ParquetSource(path, label_column="tags"))
    assert "train.parquet: no column 'tags', found text, labels; set dataset.label_column" in message


def test_damaged_parquet(tmp_path):
    path = parquet_folder(tmp_path, {"text": ["a"], "labels": ["x"]})
    (tmp_path / "train.parquet").write_bytes((tmp_path / "train.parquet").read_bytes()[:-9])
    assert "train.parquet: expected a whole Parquet file, failed after row 0" in complaint(ParquetSource(path))


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    path = parquet_folder(tmp_path, {"text": ["a"], "labels": ["x"]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert complaint(ParquetSource(path)) == "dataset=parquet needs pyarrow: pip install 'xmtc[parquet]'"
