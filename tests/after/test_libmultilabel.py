"""The example that puts LibMultiLabel's linear model beside a run, with scikit-learn standing in for the package."""

import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import MultiLabelBinarizer
from sklearn.svm import LinearSVC

import xmtc
from xmtc.data.sources.toy import ToySource
from xmtc.reporting.runs import read_run

SIZES = {"train": 160, "validation": 40, "test": 41}


class Preprocessor:
    def __init__(self, tfidf_params):
        self.vectorizer, self.binarizer = TfidfVectorizer(**tfidf_params), MultiLabelBinarizer(sparse_output=True)

    def fit_transform(self, dataset):
        x, y = self.vectorizer.fit_transform(dataset["train"]["x"]), self.binarizer.fit_transform(dataset["train"]["y"])
        self.label_mapping = self.binarizer.classes_
        return {"train": {"x": x, "y": y}}


def train_1vsrest(y, x, multiclass, options):
    assert not multiclass and options == "-s 1 -B 1 -e 0.1 -q"
    machines = [LinearSVC(tol=0.1, random_state=0).fit(x, y[:, [j]].toarray().ravel()) for j in range(y.shape[1])]
    return types.SimpleNamespace(weights=np.stack([machine.coef_[0] for machine in machines], 1), machines=machines)


def predict_values(model, x):
    return np.stack([machine.decision_function(x) for machine in model.machines], 1)


@pytest.fixture
def example(monkeypatch):
    package = types.ModuleType("libmultilabel")
    package.linear = types.ModuleType("libmultilabel.linear")
    vars(package.linear).update(Preprocessor=Preprocessor, train_1vsrest=train_1vsrest, predict_values=predict_values)
    monkeypatch.setitem(sys.modules, "libmultilabel", package)
    monkeypatch.setitem(sys.modules, "libmultilabel.linear", package.linear)
    path = Path(__file__).parents[2] / "experiments" / "examples" / "libmultilabel_linear.py"
    spec = importlib.util.spec_from_file_location("libmultilabel_linear", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_its_row_stands_beside_the_runs(example, tmp_path):
    small = [f"dataset.source.{part}={size}" for part, size in SIZES.items()]
    ours = xmtc.run(["encoder=br", "head=none", "encoder.jobs=1", "logger=csv", *small,
                     f"hydra.run.dir={tmp_path / 'run'}", f"paths.cache_dir={tmp_path / 'cache'}"])  # fmt: skip
    example.main([str(tmp_path / "run"), str(tmp_path / "peer")])
    result = json.loads((tmp_path / "peer" / "metrics.json").read_text())
    source = ToySource(**SIZES)
    model = Preprocessor({"sublinear_tf": True})
    texts, labels = zip(*source.documents("train"), strict=True)
    made = model.fit_transform({"train": {"x": texts, "y": labels}})["train"]
    machines = train_1vsrest(made["y"], made["x"], False, "-s 1 -B 1 -e 0.1 -q")
    texts, labels = zip(*source.documents("test"), strict=True)
    first = model.label_mapping[predict_values(machines, model.vectorizer.transform(texts)).argmax(1)]
    expected = np.mean([label in own for label, own in zip(first, labels, strict=True)])
    assert result["test"]["P@1"] == pytest.approx(expected) and expected > 0.5
    assert result["test"].keys() == ours["test"].keys() and result["floor"] == ours["floor"]
    run, peer = read_run(tmp_path / "run"), read_run(tmp_path / "peer")
    assert peer.complete and peer.dataset_sha256 == run.dataset_sha256 and peer.encoder == "libmultilabel"
    assert "-s 1" in peer.facts["command"] and peer.facts["train_seconds"] > 0
    with pytest.raises(SystemExit, match="is there already"):
        example.main([str(tmp_path / "run"), str(tmp_path / "peer")])
