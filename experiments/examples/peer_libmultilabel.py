"""LibMultiLabel's models on the files of a run, as one more run directory for the report.

    pip install libmultilabel==0.10.0            # for a network, in an environment of its own: 'libmultilabel[nn]'
    python -m xmtc.run encoder=br dataset=eurlex57k hydra.run.dir=RUN
    python experiments/examples/peer_libmultilabel.py RUN OUTPUT [--documents 1000]
    python -m xmtc.run encoder=kimcnn embedding=word2vec dataset=reuters hydra.run.dir=RUN
    python experiments/examples/peer_libmultilabel.py RUN OUTPUT --network KimCNN
    python -m xmtc.report RUN OUTPUT

Texts and labels are read from the corpus itself; words, features, networks and training are LibMultiLabel's. Linear:
TF-IDF with sublinear counts, `-s 1 -B 1 -e 0.1` (squared hinge, a bias, LIBLINEAR's tolerance). A network: widths,
filters and rate of its KimCNN tutorial, batches of 8, the run's word vectors to start from, the weights of the epoch
with the best nDCG@5 on validation, stopped five epochs behind it. Scores, threshold and files are as of any run, from
the 100 best labels a document.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import yaml

from xmtc.config.make import make
from xmtc.data.datamodule import XMTCData
from xmtc.errors import InputError
from xmtc.training.build import open_store, ranking_metrics
from xmtc.training.predictions import Predictions
from xmtc.training.provenance import provenance
from xmtc.training.record import peak_memory_bytes
from xmtc.training.results import KEPT, floor, set_scores, write_json

BLOCK = 2048  # documents scored at a time
NETWORKS = {"KimCNN": {"num_filter_per_size": 128}, "XMLCNN": {"num_filter_per_size": 256, "hidden_dim": 512}}
OF_ALL = {"filter_sizes": [2, 4, 8], "embed_dropout": 0.2, "post_encoder_dropout": 0.2}
RATE, BATCH, WORDS, PATIENCE = 3e-4, 8, 512, 5


class Linear:
    """One-vs-rest. Memory: documents x labels of decision values a block, words x labels of weights."""

    name, steps = "libmultilabel", 0

    def __init__(self, given: argparse.Namespace):
        self.options = given.options
        self.settings = {"options": given.options}

    def train(self, train, _validation, _vectors) -> None:
        import libmultilabel.linear as linear

        started = time.monotonic()
        self._values, self._made = linear.predict_values, linear.Preprocessor(tfidf_params={"sublinear_tf": True})
        texts, labels = train
        data = self._made.fit_transform({"data_format": "txt", "train": {"x": texts, "y": labels}})["train"]
        self.feature_seconds = time.monotonic() - started
        self._model = linear.train_1vsrest(data["y"], data["x"], False, self.options)
        self.classes, self.parameters = list(self._made.label_mapping), int(np.prod(self._model.weights.shape))

    def scores(self, texts: list[str]) -> torch.Tensor:
        return torch.from_numpy(np.asarray(self._values(self._model, self._made.vectorizer.transform(texts))))


class Network:
    """A network by its name in the library, trained by the library's trainer on a CPU."""

    def __init__(self, given: argparse.Namespace):
        self.name, self.seed, self.epochs = f"libmultilabel-{given.network.lower()}", given.seed, given.epochs
        self.network, self.feature_seconds = given.network, 0.0
        self.settings = {"network": given.network, **OF_ALL, **NETWORKS[given.network], "learning_rate": RATE}
        self.settings |= {"batch_size": BATCH, "words": WORDS, "patience": PATIENCE, "epochs": given.epochs}

    def train(self, train, validation, vectors) -> None:
        import lightning
        import pandas
        from libmultilabel.nn import data_utils, nn_utils

        nn_utils.set_seed(self.seed)
        started, self._tools = time.monotonic(), data_utils
        frames = [
            pandas.DataFrame({"label": map(" ".join, labels), "text": texts}) for texts, labels in (train, validation)
        ]
        held = data_utils.load_datasets(training_data=frames[0], val_data=frames[1])
        self.classes = data_utils.load_or_build_label(held)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vectors.txt"
            rows = (f"{word} {' '.join(f'{x:.6g}' for x in row)}" for word, row in vectors if not word.isspace())
            path.write_text("\n".join(rows), encoding="utf-8")
            self._words, embedded = data_utils.load_or_build_text_dict(held["train"], embed_file=str(path), silent=True)
        self.feature_seconds = time.monotonic() - started
        given = dict(network_config=OF_ALL | NETWORKS[self.network], classes=self.classes, embed_vecs=embedded)
        measured = dict(monitor_metrics=["nDCG@5"], val_metric="nDCG@5", learning_rate=RATE, silent=True)
        self._model = nn_utils.init_model(self.network, **given, **measured)
        self.parameters = sum(each.numel() for each in self._model.parameters())
        trainer = nn_utils.init_trainer(
            None, self.epochs, PATIENCE, "nDCG@5", "nDCG@5", silent=True, use_cpu=True, save_checkpoints=False
        )
        best = {"score": -1.0}

        class Keep(lightning.Callback):
            def on_validation_end(self, trainer, module):
                score = float(trainer.callback_metrics["nDCG@5"])
                print(
                    f"epoch {trainer.current_epoch}: validation nDCG@5 {100 * score:.2f}", file=sys.stderr, flush=True
                )
                if score > best["score"]:
                    best.update(score=score, weights={k: v.clone() for k, v in module.state_dict().items()})

        # the library's own would still be written into the working directory
        kept = (each for each in trainer.callbacks if not isinstance(each, lightning.pytorch.callbacks.ModelCheckpoint))
        trainer.callbacks = [*kept, Keep()]
        trainer.fit(self._model, self._loader(held["train"], True), self._loader(held["val"]))
        self.steps = trainer.global_step
        self._model.load_state_dict(best["weights"])
        self._model.eval()

    def _loader(self, data, shuffle: bool = False):
        cpu = torch.device("cpu")
        return self._tools.get_dataset_loader(
            data, self.classes, cpu, WORDS, BATCH, shuffle, data_workers=0, word_dict=self._words
        )

    def scores(self, texts: list[str]) -> torch.Tensor:
        data = [{"text": self._tools.tokenize(text), "label": []} for text in texts]
        with torch.inference_mode():
            return torch.cat([self._model(batch) for batch in self._loader(data)])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run", type=Path, help="a run directory on that data set")
    parser.add_argument("output", type=Path, help="a new folder")
    parser.add_argument("--options", default="-s 1 -B 1 -e 0.1 -q", help="of LIBLINEAR")
    parser.add_argument("--network", choices=NETWORKS, help="in place of the linear model")
    parser.add_argument("--epochs", type=int, default=50, help="of a network, at most")
    parser.add_argument("--seed", type=int, default=0, help="of a network")
    parser.add_argument("--documents", type=int, help="train on the first N only, for a try")
    given = parser.parse_args(argv)
    if given.output.exists():
        raise SystemExit(f"{given.output}: is there already")
    config = yaml.safe_load((given.run / "config.yaml").read_text(encoding="utf-8"))
    text = make(config["encoder"]["text"])
    store = open_store(config, text)
    data = XMTCData(store, text, "bag", config["seed"], **config["data"])
    source = make(config["dataset"]["source"])
    parts = {
        part: _read(source, store, documents)
        for part, documents in {"train": data.train, "validation": data.validation, "test": data.test}.items()
    }
    train = [each[: given.documents] for each in parts["train"]]

    system = Network(given) if given.network else Linear(given)
    started = time.monotonic()
    system.train(train, parts["validation"], _vectors(config, store) if given.network else None)
    seconds = time.monotonic() - started

    places = {label: place for place, label in enumerate(store.labels)}
    ours = torch.tensor([places[label] for label in system.classes])
    result: dict = {"test": None}
    scored, k = [], min(KEPT, len(ours))
    for part, documents in (("validation", data.validation), ("test", data.test)):
        held, metrics = Predictions(len(documents), k), ranking_metrics(store, config)
        for start in range(0, len(documents), BLOCK):
            best = system.scores(parts[part][0][start : start + BLOCK]).topk(k)
            rows = torch.arange(start, start + len(best.values))
            held.add(rows, ours[best.indices], best.values)
            metrics.update(torch.from_numpy(held.labels[start : start + BLOCK]), documents.gold(rows.numpy()))
        result[part] = metrics.compute()
        scored.append((part, held, documents))
    given.output.mkdir(parents=True)
    result["floor"] = floor(ranking_metrics(store, config), data)
    set_scores(result, scored, store, given.output)
    names = {"encoder": system.name, "head": "none", "recipe": config["names"]["recipe"]}
    seed = given.seed if given.network else config["seed"]
    words = f"--network {given.network} --epochs {given.epochs}" if given.network else f"--options '{given.options}'"
    result |= {
        "train_seconds": round(seconds, 2),
        "feature_seconds": round(system.feature_seconds, 2),
        "documents_per_second": round(len(train[0]) / seconds, 1),
        "peak_memory_bytes": peak_memory_bytes(),
        "parameters": system.parameters,
        "steps": system.steps,
        "provenance": provenance(names)
        | {
            "dataset": config["dataset"]["name"],
            "dataset_sha256": store.meta["dataset_sha256"],
            "seed": seed,
            "command": f"python experiments/examples/peer_libmultilabel.py RUN OUTPUT {words} --seed {seed}",
        },
    }
    config |= {
        "encoder": system.settings | {"documents": given.documents},
        "names": config["names"] | names,
        "seed": seed,
    }
    (given.output / "labels.tsv").write_bytes((given.run / "labels.tsv").read_bytes())
    (given.output / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (given.output / "overrides.yaml").write_text(f"- dataset={config['dataset']['name']}\n", encoding="utf-8")
    write_json(given.output / "metrics.json", result)


def _read(source, store, documents) -> tuple[list[str], list[list[str]]]:
    """Texts and labels of documents of the store, from the corpus itself: validation may be some of train's."""
    (name,) = (name for name, part in store.parts.items() if part is documents.part)
    held = list(source.documents(name))
    if len(held) != len(documents.part):
        raise InputError(f"{name}: the corpus has {len(held)} documents, the run's store {len(documents.part)}")
    mine = [held[number] for number in documents.numbers]
    return [text for text, _ in mine], [list(dict.fromkeys(labels)) for _, labels in mine]


def _vectors(config: dict, store):
    """(word, vector) of the run's word vectors, before its training."""
    table = make(config["encoder"]["embedding"]).table(store.vocabulary)
    return zip(store.vocabulary.words()[2:], table[2:].tolist(), strict=True)


if __name__ == "__main__":
    main()
