"""The example that puts LibMultiLabel beside a run; scikit-learn and a small network stand in for the package."""

import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
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


class Counting(torch.nn.Module):
    """A network whose answer is known: a class' logit is how often its word stands in the text, or the opposite."""

    def __init__(self, classes, words):
        super().__init__()
        self.classes, self.words = classes, words
        self.sign = torch.nn.Parameter(torch.tensor(-1.0))

    def forward(self, batch):
        return self.sign * torch.stack([(batch["text"] == self.words.get(name, -1)).sum(1) for name in self.classes], 1)


def network_stand_in():
    """What the example asks of libmultilabel.nn and lightning. The second of three epochs is good."""
    tools, utils, lightning = (
        types.ModuleType("data_utils"),
        types.ModuleType("nn_utils"),
        types.ModuleType("lightning"),
    )
    tools.tokenize = lambda text: text.lower().split()

    def load_datasets(training_data, val_data):
        frames = {"train": training_data, "val": val_data}
        return {
            part: [{"text": tools.tokenize(row.text), "label": row.label.split()} for row in frame.itertuples()]
            for part, frame in frames.items()
        }

    def text_dict(data, embed_file, silent):
        rows = dict(line.split(" ", 1) for line in Path(embed_file).read_text().splitlines())
        words = {
            word: i for i, word in enumerate(["<pad>", "<unk>", *sorted({w for row in data for w in row["text"]})])
        }
        return words, {word: [float(x) for x in rows[word].split()] for word in words if word in rows}

    def loader(data, classes, device, words_a_text, batch_size, shuffle, data_workers, word_dict):
        assert (batch_size, words_a_text, data_workers) == (8, 512, 0)
        ids = [torch.tensor([word_dict.get(word, 1) for word in row["text"]] or [1]) for row in data]
        pad = torch.nn.utils.rnn.pad_sequence
        return [{"text": pad(ids[i : i + 2], batch_first=True)} for i in range(0, len(ids), 2)]

    def init_model(network, network_config, classes, embed_vecs, **settings):
        assert {"l0", "more"} <= embed_vecs.keys() and {len(row) for row in embed_vecs.values()} == {8}
        assert network_config["filter_sizes"] == [2, 4, 8] and settings["val_metric"] == "nDCG@5"
        return Counting(classes, utils.words)

    class Trainer:
        def __init__(self, folder, epochs, patience, stop_metric, metric, **settings):
            self.callbacks, self.epochs, self.global_step = [writes()], epochs, 0

        def fit(self, model, train, validation):
            for self.current_epoch, (sign, score) in enumerate([(-1.0, 0.2), (1.0, 0.9), (-1.0, 0.3)][: self.epochs]):
                model.sign.data.fill_(sign)
                self.global_step += len(train)
                self.callback_metrics = {"nDCG@5": torch.tensor(score)}
                for callback in self.callbacks:
                    callback.on_validation_end(self, model)

    def remembered(data, **settings):
        utils.words, vectors = text_dict(data, **settings)
        return utils.words, vectors

    vars(tools).update(load_datasets=load_datasets, load_or_build_text_dict=remembered, get_dataset_loader=loader)
    tools.load_or_build_label = lambda held: sorted(
        {name for part in held.values() for row in part for name in row["label"]}
    )
    vars(utils).update(init_model=init_model, init_trainer=Trainer, set_seed=lambda seed: setattr(utils, "seed", seed))
    lightning.Callback, writes = object, type("ModelCheckpoint", (), {})
    lightning.pytorch = types.SimpleNamespace(callbacks=types.SimpleNamespace(ModelCheckpoint=writes))
    return tools, utils, lightning


@pytest.fixture
def example(monkeypatch):
    package = types.ModuleType("libmultilabel")
    package.linear = types.ModuleType("libmultilabel.linear")
    vars(package.linear).update(Preprocessor=Preprocessor, train_1vsrest=train_1vsrest, predict_values=predict_values)
    monkeypatch.setitem(sys.modules, "libmultilabel", package)
    monkeypatch.setitem(sys.modules, "libmultilabel.linear", package.linear)
    tools, utils, lightning = network_stand_in()
    package.nn = types.SimpleNamespace(data_utils=tools, nn_utils=utils)
    monkeypatch.setitem(sys.modules, "libmultilabel.nn", package.nn)
    monkeypatch.setitem(sys.modules, "lightning", lightning)
    path = Path(__file__).parents[2] / "experiments" / "examples" / "peer_libmultilabel.py"
    spec = importlib.util.spec_from_file_location("peer_libmultilabel", path)
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


def test_a_network_is_scored_with_its_best_weights(example, tmp_path):
    """A corpus without a validation part: labels are words of their texts, so that counting words is right."""
    corpus, names = tmp_path / "corpus", [f"l{i}" for i in range(7)]
    corpus.mkdir()
    for part, count in (("train", 90), ("test", 21)):
        labels = [[names[i % 7], names[(i * i + 3) % 7]] for i in range(count)]
        (corpus / f"{part}_texts.txt").write_text("".join(f"{a} {b} {a} more words\n" for a, b in labels))
        (corpus / f"{part}_labels.txt").write_text("".join(f"{a} {b}\n" for a, b in labels))
    xmtc.run(["dataset=folder", f"dataset.path={corpus}", "dataset.validation_size=20", "encoder=kimcnn", "head=none",
              "embedding.size=8", "logger=csv", "debug=fast", f"hydra.run.dir={tmp_path / 'run'}",
              f"paths.cache_dir={tmp_path / 'cache'}"])  # fmt: skip
    example.main([str(tmp_path / "run"), str(tmp_path / "peer"), "--network", "KimCNN", "--seed", "3"])
    result, peer = json.loads((tmp_path / "peer" / "metrics.json").read_text()), read_run(tmp_path / "peer")
    assert result["test"]["P@1"] == result["validation"]["P@1"] == 1 and result["test"]["nDCG@3"] > 0.9
    assert peer.complete and peer.encoder == "libmultilabel-kimcnn" and peer.seed == 3
    assert sys.modules["libmultilabel.nn"].nn_utils.seed == 3
    with pytest.raises(SystemExit):
        example.main([str(tmp_path / "run"), str(tmp_path / "other"), "--network", "Nothing"])
