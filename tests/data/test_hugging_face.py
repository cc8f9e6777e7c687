"""Data sets that the `datasets` library saved to disk."""

import pytest

from xmtc.data.sources.hugging_face import HuggingFaceSource
from xmtc.data.sources.tables import JsonlSource
from xmtc.errors import InputError

datasets = pytest.importorskip("datasets")
ROWS = {"text": ["one", "two", None], "labels": [["a", "b"], [], ["c"]], "venue": ["X y", None, "Z"]}


@pytest.fixture
def saved(tmp_path):
    def saved(rows=ROWS, features=None, splits=("train", "test")):
        table = datasets.Dataset.from_dict(rows, features=features)
        datasets.DatasetDict({split: table for split in splits}).save_to_disk(str(tmp_path / "d"))
        return str(tmp_path / "d")

    return saved


def test_texts_and_lists_of_labels(saved):
    source = HuggingFaceSource(saved(splits=("train", "val", "test")))
    assert source.parts() == ["train", "validation", "test"]
    expected = [("one", ["a", "b"]), ("two", []), ("", ["c"])]
    assert [list(source.documents(part)) for part in source.parts()] == [expected] * 3
    names = {path.name for path in source.files()}
    assert "dataset_info.json" in names and any(name.endswith(".arrow") for name in names)


@pytest.mark.parametrize("many", [True, False])
def test_class_labels_are_read_by_name(saved, many):
    kind = datasets.ClassLabel(names=["sport", "politics"])
    features = {"text": datasets.Value("string"), "labels": datasets.List(kind) if many else kind}
    labels = [[1], [0, 1]] if many else [1, 0]
    path = saved({"text": ["a", "b"], "labels": labels}, datasets.Features(features))
    expected = [["politics"], ["sport", "politics"]] if many else [["politics"], ["sport"]]
    assert [labels for _, labels in HuggingFaceSource(path).documents("train")] == expected


def test_columns_and_metadata(saved):
    source = HuggingFaceSource(saved(), text_column=["text", "venue"], metadata_columns=["venue"])
    assert next(source.documents("train")) == ("VENUE-X-y one X y", ["a", "b"])
    assert [text for text, _ in source.documents("train")][1] == "two "
    with pytest.raises(InputError, match="no column 'tags', found text, labels, venue; set dataset.label_column"):
        HuggingFaceSource(saved(), label_column="tags").check()


def test_what_is_no_data_set(saved, tmp_path):
    with pytest.raises(InputError, match="no such file or folder; set dataset.path"):
        HuggingFaceSource(str(tmp_path / "nowhere")).check()
    with pytest.raises(InputError, match="expected test/state.json"):
        HuggingFaceSource(saved(splits=("train",))).check()
    path = saved()
    for file in (tmp_path / "d" / "train").glob("*.arrow"):
        file.write_bytes(b"broken")
    with pytest.raises(InputError, match="expected what Dataset.save_to_disk leaves"):
        HuggingFaceSource(path).check()


def test_metadata_of_any_table(tmp_path):
    for name in ("train", "test"):
        row = '{"text": "t", "labels": ["a"], "authors": ["J. Doe", "X"], "year": 1999}\n'
        (tmp_path / f"{name}.jsonl").write_text(row)
    source = JsonlSource(str(tmp_path), metadata_columns=["authors", "year"])
    assert next(source.documents("train")) == ("AUTHORS-J-Doe AUTHORS-X YEAR-1999 t", ["a"])
    assert source.fingerprint() != JsonlSource(str(tmp_path)).fingerprint()
    assert "metadata_columns" not in JsonlSource(str(tmp_path)).fingerprint()  # stores made before stay valid
    with pytest.raises(InputError, match="no column 'venue'.*set dataset.metadata_columns"):
        JsonlSource(str(tmp_path), metadata_columns=["venue"]).check()
    with pytest.raises(InputError, match="expected a text or a list of texts, found float"):
        (tmp_path / "train.jsonl").write_text('{"text": "t", "labels": [], "year": 1.5}\n')
        JsonlSource(str(tmp_path), metadata_columns=["year"]).check()
