"""The example of training scores that do not know the answers, and what they are for."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

import xmtc
from xmtc.data.lists import read_lists
from xmtc.data.sources.toy import ToySource
from xmtc.enhancing.job import enhance_scores
from xmtc.ensemble import ensemble
from xmtc.errors import InputError
from xmtc.labels import LabelTable


def example():
    path = Path(__file__).parents[2] / "experiments" / "examples" / "cross_validated.py"
    spec = importlib.util.spec_from_file_location("cross_validated", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    folder = tmp_path_factory.mktemp("linear")
    small = [f"dataset.source.{part}={size}" for part, size in (("train", 160), ("validation", 40), ("test", 41))]
    xmtc.run(["encoder=br", "head=none", "encoder.jobs=1", "logger=csv", *small, f"hydra.run.dir={folder}"])
    example().main([str(folder), "--folds", "2"])
    return folder


def test_a_document_is_scored_by_the_other_fold(linear):
    documents = list(ToySource(train=160, validation=40, test=41).documents("train"))
    fold = np.random.default_rng(0).permutation(160) % 2
    labels, lists = LabelTable(linear / "labels.tsv"), read_lists(linear / "train.npz")
    texts = np.array([text for text, _ in documents], dtype=object)
    features = TfidfVectorizer(sublinear_tf=True, dtype=np.float32, token_pattern=r"\S+").fit_transform(texts)
    inside, outside = np.flatnonzero(fold == 1), np.flatnonzero(fold == 0)
    for label in (3, 50):
        positive = np.array([labels.ids[label] in own for _, own in documents])
        margins = LinearSVC(tol=0.1).fit(features[inside], positive[inside]).decision_function(features[outside])
        rows, columns = np.nonzero(lists.labels[outside] == label)
        p = lists.scores[outside][rows, columns].astype(np.float64)
        assert len(rows) > 20
        assert np.corrcoef(margins[rows], np.log(p / (1 - p)))[0, 1] > 0.99


def test_training_scores_do_not_know_the_answers(linear):
    """Cross-validated: about as good as those of test documents, not near-perfect."""

    def first_hit(name):
        lists = read_lists(linear / name)
        gold = np.split(lists.gold.ids.numpy(), lists.gold.offsets.numpy()[1:-1])
        return np.mean([row[0] in own for row, own in zip(lists.labels, gold, strict=True)])

    assert first_hit("train.npz") < first_hit("predictions.npz") + 0.1


@pytest.mark.parametrize(
    "encoder, folds, line",
    [
        ("xmtc.encoders.bow.BagOfWords", "2", "expected a run of encoder=br"),
        ("xmtc.fitted.br.BinaryRelevance", "1", "at least 2"),
        (None, "2", "config.yaml"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, encoder, folds, line):
    if encoder:
        (tmp_path / "config.yaml").write_text(f"encoder: {{_target_: {encoder}}}\n")
    with pytest.raises(InputError, match=line):
        example().main([str(tmp_path), "--folds", folds])


def test_a_stopped_command_goes_on(linear, monkeypatch):
    before = read_lists(linear / "train.npz")
    module = example()
    monkeypatch.setattr(module.Lists, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        module.main([str(linear), "--folds", "2"])
    monkeypatch.undo()
    assert len(list(linear.glob("fold-*"))) == 2
    monkeypatch.setattr("xmtc.fitted.br.BinaryRelevance.fit", lambda *_: pytest.fail("fitted again"))
    module.main([str(linear), "--folds", "2"])
    after = read_lists(linear / "train.npz")
    assert (after.labels == before.labels).all() and (after.scores == before.scores).all()
    assert not list(linear.glob("fold-*"))


def test_they_go_into_an_ensemble_and_a_head(linear, run, tmp_path):
    result = ensemble([run, linear], tmp_path / "both")
    assert result["test"]["P@1"] > 0
    enhanced = enhance_scores(
        str(linear / "train.npz"), str(tmp_path / "enhanced"), scale="sigmoid", rank=4, epochs=2,
        validation_scores=str(linear / "predictions_validation.npz"), test_scores=str(linear / "predictions.npz"),
    )  # fmt: skip
    assert set(enhanced["test"]) == {"before", "after"}
    assert LabelTable(tmp_path / "enhanced" / "labels.tsv").ids == LabelTable(linear / "labels.tsv").ids
