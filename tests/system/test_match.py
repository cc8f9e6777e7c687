"""MATCH with metadata and a label hierarchy, from files to predictions; by every execution; with every head."""

import json
import logging

import numpy as np
import pytest
import torch

import xmtc
from xmtc.config import config_dir
from xmtc.errors import InputError

OWN = ["encoder=match", "encoder.feedforward=16", "encoder.cls=2", "encoder.layers=2", "embedding.size=8"]
BASE = ["dataset=jsonl", "logger=csv", "prepare_workers=1", "recipe.max_epochs=2", "data.batch_size=16", "head=none"]
VENUES = ["UbiComp", "KDD 2020"]


def write(folder, parents=True):
    """The venue alone says whether a document is of fish and cod, or of trade."""
    random = np.random.default_rng(0)
    for part, count in (("train", 64), ("validation", 16), ("test", 16)):
        rows = []
        for _ in range(count):
            kind = int(random.integers(2))
            row = {
                "text": " ".join(f"w{n}" for n in random.integers(0, 9, 4)),
                "labels": [["fish", "cod"], ["trade"]][kind],
            }
            row |= {"venue": VENUES[kind] if random.random() < 0.9 else None, "authors": ["a 1"]}
            rows.append(json.dumps(row) + "\n")
        (folder / f"{part}.jsonl").write_text("".join(rows))
    if parents:  # what is no label is left out
        (folder / "label_parents.tsv").write_text("cod\tfish\nfish\tfood\n")


def go(folder, *overrides):
    run = folder / "runs" / str(len(list((folder / "runs").glob("*"))))
    paths = [f"dataset.path={folder}", f"paths.cache_dir={folder / 'cache'}", f"hydra.run.dir={run}"]
    return xmtc.run([*OWN, *BASE, *paths, *overrides]), run


def rows(run):
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    names = [line.split("\t")[1] for line in (run / "labels.tsv").read_text().splitlines()]
    return state, {name: state["decoder.weight"][place] for place, name in enumerate(names)}


def test_metadata_are_tokens_and_the_hierarchy_changes_the_weights(tmp_path, caplog):
    write(tmp_path)
    caplog.set_level(logging.INFO)
    metadata = ["dataset.metadata_columns=[venue,authors]", "recipe.optimizer.lr=0.05"]
    result, run = go(tmp_path, *metadata, "encoder.parameter_weight=0.5", "encoder.output_weight=0.5")
    words = (run / "text" / "vocabulary.txt").read_text().split("\n")
    assert {"venue-ubicomp", "venue-kdd-2020", "authors-a-1"} <= set(words)
    assert "hypernymy regularisers: 1 pairs" in caplog.text
    state, near = rows(run)
    assert not [name for name in state if "pairs" in name]
    _, plain = go(tmp_path, *metadata, "encoder.parameter_weight=0", "encoder.output_weight=0")
    far = rows(plain)[1]
    assert (near["cod"] - near["fish"]).norm() < 0.5 * (far["cod"] - far["fish"]).norm()
    assert set(near) == {"cod", "fish", "trade"}
    model = xmtc.load(run)  # which needs no hierarchy; and a document may come without metadata
    scores, _ = model.predict_batch(["VENUE-UbiComp w1 w2", "w1 w2", ""], 3)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("execution", [["execution=chunked", "execution.chunk=2"], ["execution=sharded"]])
def test_by_every_execution(tmp_path, execution):
    write(tmp_path)
    asked = [
        "encoder.parameter_weight=0.01",
        "encoder.output_weight=0.1",
        "encoder.dropout=0",
        "head=cornet",
        "head.rank=2",
    ]
    found = [
        rows(go(tmp_path, *asked, *words)[1])[0] for words in ([], [*execution], [*execution, "data.micro_batch=5"])
    ]
    for other in found[1:]:  # a bias that all keys share has no gradient but rounding errors, which Adam makes large
        for name, value in found[0].items():
            if not name.endswith("key.bias"):
                torch.testing.assert_close(other[name], value, rtol=1e-3, atol=1e-4)


def test_what_cannot_be_had_is_one_line(tmp_path):
    write(tmp_path, parents=False)
    with pytest.raises(InputError, match="encoder.output_weight: the corpus has no hierarchy of its labels") as caught:
        go(tmp_path, "encoder.output_weight=1e-6")
    assert "\n" not in str(caught.value)
    go(tmp_path, "recipe.max_epochs=1")
    (tmp_path / "label_parents.tsv").write_text("cod\tfish\n")
    with pytest.raises(InputError, match="encoder.parameter_weight, encoder.output_weight: .* without an update"):
        go(tmp_path, "execution=chunked", "execution.update=adam", "recipe.averaging=null")


@pytest.mark.parametrize("head", sorted(path.stem for path in (config_dir() / "head").glob("*.yaml")))
def test_every_head_on_the_toy_corpus(small, head):
    own = [] if head == "none" else ["head.rank=8"]
    result = xmtc.run([*small, "encoder=match", "debug=fast", "encoder.cls=2", f"head={head}", *own])
    assert 0 <= result["test"]["nDCG@5"] <= 1
