"""Tables after training are read as the table of the training was: its columns, its separators, its metadata."""

import csv
import json

import pytest

import xmtc
from xmtc.data.sources.toy import ToySource
from xmtc.errors import InputError
from xmtc.explain import main as explain
from xmtc.predicting.evaluated import digest
from xmtc.predicting.evaluation import evaluate_file
from xmtc.predicting.gold import Labelled
from xmtc.predicting.inputs import Columns
from xmtc.predicting.job import predict_file

TABLE = ["dataset.delimiter=\";\"", "dataset.label_separator=\",\"", "dataset.quote=none", "dataset.text_column=body",
         "dataset.label_column=tags", "dataset.metadata_columns=[venue]", "dataset.test=test.csv"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tables of the toy corpus whose texts begin with a quotation mark, and whose venue is a document's first label."""
    folder = tmp_path_factory.mktemp("corpus")
    source = ToySource(train=160, validation=40, test=41)
    for part in ("train", "validation", "test"):
        rows = [f'"{text};{own[0]};{",".join(own)}\n' for text, own in source.documents(part)]
        (folder / f"{part}.csv").write_text("body;venue;tags\n" + "".join(rows))
    return folder


@pytest.fixture(scope="module")
def trained(folder, cache):
    run = folder / "run"
    xmtc.run(["dataset=csv", f"dataset.path={folder}", *TABLE, "encoder=bow", "head=none", "recipe.max_epochs=4",
              "encoder.embedding.size=16", "logger=csv",
              f"paths.cache_dir={cache}", f"hydra.run.dir={run}", "prepare_workers=1"])  # fmt: skip
    return run


def own(run):
    return json.loads((run / "metrics.json").read_text())["test"]


def text_of(line):
    body, venue, _ = line.split(";")
    return f"VENUE-{venue.replace('.', '-')} {body}"


def test_its_own_test_file_gives_its_own_scores(trained, folder):
    assert evaluate_file(str(trained), str(folder / "test.csv"))["test"] == own(trained)


def test_other_kinds_of_tables_keep_the_columns_and_have_their_own_separators(trained, folder, tmp_path):
    with open(folder / "test.csv") as file:
        cells = list(csv.reader(file, delimiter=";", quoting=csv.QUOTE_NONE))[1:]
    rows = [{"body": body, "venue": venue, "tags": tags.replace(",", " ")} for body, venue, tags in cells]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "a.tsv").write_text("body\tvenue\ttags\n" + "".join("\t".join(row) + "\n" for row in cells))
    for name in ("a.jsonl", "a.tsv"):
        assert evaluate_file(str(trained), str(tmp_path / name))["test"] == own(trained)
    with pytest.raises(InputError, match=r"no column 'body', found a; set text_column or delimiter"):
        (tmp_path / "b.csv").write_text("a\nb\n")
        evaluate_file(str(trained), str(tmp_path / "b.csv"))


def test_predictions_and_explanations_read_the_metadata(trained, folder, tmp_path):
    """A venue that is left out is another answer: those of the run itself come of the whole row."""
    answers = tmp_path / "answers.jsonl"
    predict_file(str(trained), str(folder / "test.csv"), str(answers), k=3)
    texts = [text_of(line) for line in (folder / "test.csv").read_text().splitlines()[1:]]
    model = xmtc.load(trained)
    assert [json.loads(line)["labels"] for line in answers.read_text().splitlines()] == [
        answer.labels for answer in model.predict(texts, k=3)
    ]
    bare = tmp_path / "bare.jsonl"
    predict_file(str(trained), str(folder / "test.csv"), str(bare), k=3, metadata_columns=[])
    assert bare.read_text() != answers.read_text()
    (tmp_path / "none.csv").write_text("body;tags\nn3;x\n")
    with pytest.raises(
        InputError, match=r"no column 'venue', found body, tags; set metadata_columns \(\[\] for none\)"
    ):
        predict_file(str(trained), str(tmp_path / "none.csv"))
    (tmp_path / "odd.jsonl").write_text('{"body": "n3", "venue": 1.5}\n')
    with pytest.raises(InputError, match=r"line 1: column 'venue' expected a text or a list of texts, found float 1.5"):
        predict_file(str(trained), str(tmp_path / "odd.jsonl"))


def test_explain_reads_the_same_documents(trained, folder, capsys):
    assert explain([str(trained), "--input", str(folder / "test.csv"), "--no-words", "--json", "-k", "1"]) == 0
    explained = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    lines = (folder / "test.csv").read_text().splitlines()[1:]
    wanted = xmtc.load(trained).predict([text_of(line) for line in lines], k=1)
    assert [found["enhanced"][0] for found in explained] == [answer.labels[0] for answer in wanted]


def test_quotes_that_belong_to_the_text_are_told_how_to_be_read(trained, folder):
    with pytest.raises(InputError, match=r"line 3: malformed CSV \(.*\); where cells are not quoted, quote=none"):
        evaluate_file(str(trained), str(folder / "test.csv"), quote='"')
    with pytest.raises(InputError, match="^delimiter='ab': expected one character or 'tab'"):
        evaluate_file(str(trained), str(folder / "test.csv"), delimiter="ab")
    with pytest.raises(InputError, match="^quote=';': expected one character, not that between columns, or 'none'"):
        evaluate_file(str(trained), str(folder / "test.csv"), quote=";")


def test_said_or_not_the_same_reading_is_the_same_data(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("text\tlabels\n")
    said = [digest(Labelled(str(path), "csv", None, Columns(["text"]), ";", *marks), "exact", [])
            for marks in ((None, None), ("tab", '"'), ("\t", None), (None, "none"), (",", None))]  # fmt: skip
    assert len(set(said[:3])) == 1 and len(set(said)) == 3
