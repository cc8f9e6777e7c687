"""LibMultiLabel's one-vs-rest linear SVMs on the files of a run, as one more run directory for the report.

    pip install libmultilabel==0.10.0
    python -m xmtc.run encoder=br dataset=eurlex57k hydra.run.dir=RUN
    python experiments/examples/libmultilabel_linear.py RUN OUTPUT [--documents 1000]
    python -m xmtc.report RUN OUTPUT

Texts and labels are read from the corpus itself; words, TF-IDF (sublinear counts) and training (`-s 1 -B 1 -e 0.1`:
squared hinge, a bias, LIBLINEAR's tolerance) are LibMultiLabel's. Scores, threshold and files are as of any run, from
its 100 best labels a document. Memory: documents x labels of decision values a block, words x labels of weights.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import libmultilabel.linear as linear
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

BLOCK = 2048  # documents scored at a time; the dense weights are gone through for each


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run", type=Path, help="a run directory on that data set")
    parser.add_argument("output", type=Path, help="a new folder")
    parser.add_argument("--options", default="-s 1 -B 1 -e 0.1 -q", help="of LIBLINEAR")
    parser.add_argument("--documents", type=int, help="train on the first N only, for a try")
    given = parser.parse_args(argv)
    if given.output.exists():
        raise SystemExit(f"{given.output}: is there already")
    config = yaml.safe_load((given.run / "config.yaml").read_text(encoding="utf-8"))
    store = open_store(config, make(config["encoder"]["text"]))
    data = XMTCData(store, make(config["encoder"]["text"]), "bag", config["seed"], **config["data"])
    source = make(config["dataset"]["source"])
    texts, labels = zip(*source.documents("train"), strict=True)
    texts, labels = texts[: given.documents], [list(dict.fromkeys(own)) for own in labels[: given.documents]]

    started = time.monotonic()
    preprocessor = linear.Preprocessor(tfidf_params={"sublinear_tf": True})
    made = preprocessor.fit_transform({"data_format": "txt", "train": {"x": list(texts), "y": labels}})
    features = time.monotonic() - started
    model = linear.train_1vsrest(made["train"]["y"], made["train"]["x"], False, given.options)
    seconds = time.monotonic() - started

    places = {label: place for place, label in enumerate(store.labels)}
    ours = np.array([places[label] for label in preprocessor.label_mapping])
    result: dict = {"test": None}
    scored, k = [], min(KEPT, len(ours))
    for part, documents in (("validation", data.validation), ("test", data.test)):
        held, metrics = Predictions(len(documents), k), ranking_metrics(store, config)
        matrix = preprocessor.vectorizer.transform([text for text, _ in source.documents(part)])
        if matrix.shape[0] != len(documents):
            raise InputError(f"{part}: the corpus has {matrix.shape[0]} documents, the run's store {len(documents)}")
        for start in range(0, len(documents), BLOCK):
            values = torch.from_numpy(np.asarray(linear.predict_values(model, matrix[start : start + BLOCK])))
            best = values.topk(k)
            rows = torch.arange(start, start + len(values))
            held.add(rows, torch.from_numpy(ours)[best.indices], best.values)
            metrics.update(torch.from_numpy(held.labels[start : start + BLOCK]), documents[rows.numpy()].labels)
        result[part] = metrics.compute()
        scored.append((part, held, documents))
    given.output.mkdir(parents=True)
    result["floor"] = floor(ranking_metrics(store, config), data)
    set_scores(result, scored, store, given.output)
    names = {"encoder": "libmultilabel", "head": "none", "recipe": config["names"]["recipe"]}
    result |= {
        "train_seconds": round(seconds, 2),
        "feature_seconds": round(features, 2),
        "documents_per_second": round(len(texts) / seconds, 1),
        "peak_memory_bytes": peak_memory_bytes(),
        "parameters": int(np.prod(model.weights.shape)),
        "steps": 0,
        "provenance": provenance(names)
        | {
            "dataset": config["dataset"]["name"],
            "dataset_sha256": store.meta["dataset_sha256"],
            "seed": config["seed"],
            "command": f"python experiments/examples/libmultilabel_linear.py RUN OUTPUT --options '{given.options}'",
        },
    }
    system = {"options": given.options, "documents": given.documents}
    config |= {"encoder": system, "names": config["names"] | names}
    (given.output / "labels.tsv").write_bytes((given.run / "labels.tsv").read_bytes())
    (given.output / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (given.output / "overrides.yaml").write_text(f"- dataset={config['dataset']['name']}\n", encoding="utf-8")
    write_json(given.output / "metrics.json", result)


if __name__ == "__main__":
    main()
