"""The linear example: its scores go into the ensemble and the head as its docstring says."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from xmtc.data.lists import read_lists
from xmtc.data.sources.toy import ToySource
from xmtc.enhancing.job import enhance_scores
from xmtc.ensemble import ensemble
from xmtc.labels import LabelTable


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    import importlib.util
    from pathlib import Path

    path = Path(__file__).parents[2] / "experiments" / "examples" / "linear_scores.py"
    spec = importlib.util.spec_from_file_location("linear_scores", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("linear")
    small = [f"dataset.source.{part}={size}" for part, size in (("train", 160), ("validation", 40), ("test", 41))]
    module.main([str(folder), "dataset=toy", *small, "--folds", "2", "--jobs", "1"])
    return folder


def test_scores_are_those_of_the_machines(linear):
    source = ToySource(train=160, validation=40, test=41)
    train, test = list(source.documents("train")), list(source.documents("test"))
    labels, lists = LabelTable(linear / "labels.tsv"), read_lists(linear / "predictions.npz")
    assert lists.labels.shape == (41, 100) and len(read_lists(linear / "train.npz")) == 160
    vectorizer = TfidfVectorizer(sublinear_tf=True, dtype=np.float32).fit([text for text, _ in train])
    x, y = (vectorizer.transform([text for text, _ in part]) for part in (train, test))
    for label in (3, 50):
        positive = [labels.ids[label] in own for _, own in train]
        assert labels[label].frequency == sum(positive)
        margins = LinearSVC(tol=0.1).fit(x, positive).decision_function(y)
        rows, columns = np.nonzero(lists.labels == label)
        p = lists.scores[rows, columns]
        assert np.corrcoef(margins[rows], np.log(p / (1 - p)))[0, 1] > 0.99
    gold = np.split(lists.gold.ids.numpy(), lists.gold.offsets.numpy()[1:-1])
    assert [sorted(labels.ids[i] for i in own) for own in gold if (own < len(labels)).all()] == [
        sorted(own) for (_, own), ids in zip(test, gold, strict=True) if (ids < len(labels)).all()
    ]


def test_training_scores_do_not_know_the_answers(linear):
    """Cross-validated: about as good as those of test documents, not near-perfect."""

    def first_hit(name):
        lists = read_lists(linear / name)
        gold = np.split(lists.gold.ids.numpy(), lists.gold.offsets.numpy()[1:-1])
        return np.mean([row[0] in own for row, own in zip(lists.labels, gold, strict=True)])

    assert first_hit("train.npz") < first_hit("predictions.npz") + 0.1


def test_they_go_into_an_ensemble_and_a_head(linear, run, tmp_path):
    result = ensemble([run, linear], tmp_path / "both")
    assert result["test"]["P@1"] > 0
    enhanced = enhance_scores(
        str(linear / "train.npz"), str(tmp_path / "enhanced"), scale="probability", rank=4, epochs=2,
        validation_scores=str(linear / "predictions_validation.npz"), test_scores=str(linear / "predictions.npz"),
    )  # fmt: skip
    assert set(enhanced["test"]) == {"before", "after"}
    assert LabelTable(tmp_path / "enhanced" / "labels.tsv").ids == LabelTable(linear / "labels.tsv").ids
