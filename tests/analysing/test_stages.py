"""Re-rankers and case studies: what needs the texts of a run's test documents, or its model."""

import importlib
import json
import shutil
import sys

import numpy as np
import pytest
import torch

import xmtc
import xmtc.analyse
from xmtc.analysing.cases import case_studies
from xmtc.analysing.rerank import reranked, reranker_of
from xmtc.data.batch import Labels
from xmtc.data.lists import Lists, read_lists
from xmtc.data.sources.toy import ToySource
from xmtc.errors import InputError
from xmtc.labels import LabelTable
from xmtc.reporting.runs import read_run
from xmtc.testing.pretrained import tiny_bert

SIZES = {"train": 120, "validation": 20, "test": 12}
SMALL = ["dataset=toy", "logger=csv", "prepare_workers=1", *(f"dataset.source.{k}={v}" for k, v in SIZES.items())]
DOCUMENTS = list(ToySource(**SIZES).documents("test"))
OWN = """
seen = []

def turned(texts, names, scores):
    '''The last three first, one that is made up, one twice.'''
    seen.append((texts, names, scores))
    return [[*own[:-4:-1], "made up", own[-1]] for own in names]

def late(texts, names, scores):
    return names[1:]

def words(texts, names, scores):
    return [own[0] for own in names]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bag of words with a head that says something else."""
    place = tmp_path_factory.mktemp("made")
    words = ["encoder=bow", "encoder.embedding.size=8", "head=cornet", "head.rank=4", "recipe.max_epochs=2"]
    xmtc.run([*SMALL, *words, f"paths.cache_dir={place / 'cache'}", f"hydra.run.dir={place / 'run'}"])
    return place / "run"


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The user's own module, in the current folder."""
    (tmp_path / "own_rerankers.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.delitem(sys.modules, "own_rerankers", raising=False)
    return "own_rerankers"


def test_a_re_ranker_of_ones_own(run, module, capsys):
    """It gets texts, names and probabilities; what it leaves out follows as it was."""
    assert xmtc.analyse.main([str(run), "--rerank", f"{module}:turned", "--cases", "0"]) == 0
    (result,) = json.loads((run / "analysis.json").read_text())
    lists, labels = read_lists(run / "predictions.npz"), LabelTable(run / "labels.tsv")
    ((texts, names, scores),) = importlib.import_module(module).seen
    assert texts == [text for text, _ in DOCUMENTS]
    assert names == [[labels[i].name for i in row] for row in lists.labels[:, :10].tolist()]
    np.testing.assert_array_equal(np.array(scores, np.float32), lists.scores[:, :10])
    hits = 0
    for row, (_, own) in zip(lists.labels.tolist(), DOCUMENTS, strict=True):
        order = [row[9], row[8], row[7], *row[:7]]
        hits += sum(labels[i].id in own for i in order[:5])
    assert result["ranking"][f"the best 10 by {module}:turned"]["P@5"] == pytest.approx(hits / 5 / len(DOCUMENTS))
    assert f"the best 10 by {module}:turned | 12 |" in capsys.readouterr().out


def test_a_function_of_the_python_api(run):
    before = xmtc.analyse.analyse([run], cases=0)
    same = xmtc.analyse.analyse([run], cases=0, rerank=lambda texts, names, scores: [[] for _ in texts])
    (line,) = [line for line in same.splitlines() if "the best 10 by <lambda>" in line]
    assert line.replace("the best 10 by <lambda>", "all") in before  # an empty answer changes nothing


def test_no_re_ranker_is_asked_unless_one_is_named(run, monkeypatch):
    monkeypatch.setattr("xmtc.analysing.run.reranker_of", lambda given: pytest.fail("asked"))
    assert "the best 10 by" not in xmtc.analyse.analyse([run], cases=0)


@pytest.mark.parametrize("given, line", [
    ("own_rerankers", "rerank: expected module:function, got own_rerankers"),
    ("no_such_module:x", "rerank=no_such_module:x: no_such_module cannot be imported"),
    ("own_rerankers:none", "own_rerankers has no function none"),
    ("own_rerankers:late", "rerank: expected a list of names for each of 12 texts, got 11"),
    ("own_rerankers:words", "rerank: an answer: expected a list of label names"),
])  # fmt: skip
def test_what_is_no_re_ranker(run, module, given, line, capsys):
    assert xmtc.analyse.main([str(run), "--rerank", given]) == 2
    said = capsys.readouterr().err
    assert line in said and said.count("\n") == 1 and not (run / "analysis.md").exists()


def test_candidates_of_short_lists_and_of_one_name(tmp_path):
    (tmp_path / "labels.tsv").write_text("0\ta\tsame\t3\n1\tb\tother\t2\n2\tc\tsame\t1\n")
    lists = Lists(np.array([[2, 1, 0], [1, -1, -1]]), np.ones((2, 3), np.float32), _gold([[0], []]))
    labels = LabelTable(tmp_path / "labels.tsv")
    found = reranked(lists, labels, ["x", "y"], lambda texts, names, scores: [["same", "same", "same", 3], ["same"]])
    assert found.tolist() == [[2, 0, 1], [1, -1, -1]]
    assert callable(reranker_of("json:dumps"))


def _gold(rows):
    ids = [i for row in rows for i in row]
    return Labels(torch.tensor(ids, dtype=torch.int64), torch.tensor(np.cumsum([0, *map(len, rows)])))


def test_a_case_has_truth_text_and_every_stage(run):
    xmtc.analyse.main([str(run), "--documents", "7,2"])
    (result,) = json.loads((run / "analysis.json").read_text())
    model, lists = xmtc.load(run), read_lists(run / "predictions.npz")
    assert [case["document"] for case in result["cases"]] == [7, 2] and result["cases_note"] == ""
    for case in result["cases"]:
        text, own = DOCUMENTS[case["document"]]
        (raw,), (enhanced,) = model.both([text])
        assert case["text"] == text and set(case["true"]) == {
            model.labels.names[model.labels.ids.index(i)] for i in own
        }
        assert [name for name, _ in case["raw"]] == raw.names != enhanced.names
        assert [name for name, _ in case["answered"]] == [
            model.labels.names[i] for i in lists.labels[case["document"], :5]
        ]
    markdown = (run / "analysis.md").read_text()
    assert f"Test document 7\n\n> {DOCUMENTS[7][0]}\n\n* true: " in markdown and "* without the head: " in markdown


def test_the_most_changed_documents(run):
    xmtc.analyse.analyse([run], most_changed=True, cases=4)
    (result,) = json.loads((run / "analysis.json").read_text())
    raw, enhanced = xmtc.load(run).both([text for text, _ in DOCUMENTS])
    new = [len(set(after.names) - set(before.names)) for before, after in zip(raw, enhanced, strict=True)]
    expected = sorted(range(len(new)), key=lambda i: -new[i])[:4]
    assert [case["document"] for case in result["cases"]] == expected
    assert expected != [0, 1, 2, 3] and max(new) > 0


def test_the_first_stage_and_the_labels_that_re_read(tmp_path):
    folder, place = tiny_bert(tmp_path / "bert", positions=40), tmp_path / "run"
    words = ["encoder=labelcorank", f"encoder.name={folder}", "encoder.heads=4", "encoder.gamma=3", "encoder.inner=8"]
    words += ["encoder.text.length=16", "head=none", "recipe.max_epochs=1", "offline=true", f"hydra.run.dir={place}"]
    xmtc.run([*SMALL, *words, f"paths.cache_dir={tmp_path / 'cache'}"])
    run, labels = read_run(place), LabelTable(place / "labels.tsv")
    cases, note = case_studies(run, read_lists(place / "predictions.npz"), labels, documents=[3])
    model = xmtc.load(place)
    logits, asked = model.encoder.propose(model.encode([DOCUMENTS[3][0]]))
    (case,) = cases
    assert not note and "raw" not in case and case["text"] == DOCUMENTS[3][0]
    assert case["asked"] == [labels[i].name for i in asked[0].tolist()]
    assert [name for name, _ in case["first"]] == [labels[i].name for i in logits[0].topk(5).indices.tolist()]


def test_what_is_missing_is_said_and_the_rest_shown(run, caplog):
    (run / "checkpoints" / "best.ckpt").unlink()
    found = xmtc.analyse.analyse([run], cases=1)
    assert "No more than this: the run's checkpoint is not here" in found and f"> {DOCUMENTS[0][0]}" in found
    assert "no checkpoints/best.ckpt" in caplog.text and str(run) not in found
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("noise: 6", "noise: 5"))
    found = xmtc.analyse.analyse([run], cases=1)
    assert "No more than this: the corpus of the run is not here or is another one" in found
    assert "* true: " in found and "* answered: " in found and "\n> " not in found
    with pytest.raises(InputError, match="its corpus has changed since"):
        xmtc.analyse.analyse([run], rerank=lambda *given: given[1])
    with pytest.raises(InputError, match="documents: expected numbers from 0 to 11, got 12"):
        xmtc.analyse.analyse([run], documents=[12])


def test_a_model_without_an_earlier_stage(tmp_path):
    place = tmp_path / "run"
    words = ["encoder=bow", "encoder.embedding.size=8", "head=none", "recipe.max_epochs=1", f"hydra.run.dir={place}"]
    xmtc.run([*SMALL, *words, f"paths.cache_dir={tmp_path / 'cache'}"])
    given = read_run(place), read_lists(place / "predictions.npz"), LabelTable(place / "labels.tsv")
    cases, note = case_studies(*given, count=2)
    assert [set(case) for case in cases] == [{"document", "true", "answered", "text"}] * 2 and not note
    assert case_studies(*given, count=2, most_changed=True) == (cases, "the model has one stage")
    assert case_studies(*given, count=0) == ([], "")
