"""`dataset.subset`: documents of frequent or of rare labels of any dataset, without a change to whole ones."""

import csv
import os
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from omegaconf import OmegaConf

from xmtc.config import compose_checked, config_dir, register_resolvers
from xmtc.config.make import make
from xmtc.data.preparation import dataset_sha256, prepare
from xmtc.data.sources.subset import SubsetSource, make_source
from xmtc.data.text import Words
from xmtc.errors import InputError

DATASETS = sorted(path.stem for path in (config_dir() / "dataset").glob("*.yaml"))
EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def dataset(name, tmp_path, *words):
    """The resolved node of `dataset=NAME` and overrides."""
    path = (
        [f"dataset.path={tmp_path}"] if name in ("corpus", "csv", "folder", "huggingface", "jsonl", "parquet") else []
    )
    register_resolvers()
    config = compose_checked([f"dataset={name}", f"paths.data_dir={tmp_path}", *path, *words])
    config = OmegaConf.masked_copy(config, ["dataset", "paths", "encoder", "recipe", "head"])
    return OmegaConf.to_container(config.dataset, resolve=True)


@pytest.mark.parametrize("name", ["arxiv", "csv", "eurlex57k", "pubmed", "toy"])
def test_any_dataset_can_be_cut_to_a_subset(name, tmp_path):
    words = (
        "dataset.subset=tail",
        "dataset.head_share=0.2",
        "dataset.max_head_labels=1",
        "dataset.subset_parts=[test]",
    )
    source = make_source(dataset(name, tmp_path, *words))
    assert isinstance(source, SubsetSource)
    assert (source.keep, source.head_share, source.max_head_labels, source.filtered) == ("tail", 0.2, 1, ["test"])
    assert type(source.whole) is type(make_source(dataset(name, tmp_path)))


def test_every_dataset_has_the_keys():
    for name in DATASETS:
        (first, *_) = OmegaConf.load(config_dir() / "dataset" / f"{name}.yaml").defaults
        assert first == "/subset@_here_", name


@pytest.mark.parametrize("word, line", [
    ("dataset.subset=rare", "dataset.subset: expected one of head, tail or null"),
    ("dataset.subset_parts=[dev]", "dataset.subset_parts: expected a list of one of train, validation, test"),
    ("dataset.head_share=0", "dataset.head_share: expected a number above 0"),
    ("dataset.max_head_labels=-1", "dataset.max_head_labels: expected a whole number of at least 0"),
])  # fmt: skip
def test_what_no_subset_is(word, line):
    with pytest.raises(InputError) as error:
        compose_checked([word])
    assert line in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["toy", "reuters"])
def test_without_a_subset_the_data_are_those_of_the_committed_rows(name, tmp_path):
    """So their prepared stores are found again, and new rows stand beside old ones."""
    data = Path(os.environ.get("XMTC_DATA", "data"))
    if name == "reuters" and not (data / "reuters21578").is_dir():
        pytest.skip("Reuters-21578 is not here")
    with (EXPERIMENTS / name / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if "dataset." not in row["command"]]
    (expected,) = {row["dataset_sha256"] for row in rows}
    assert dataset_sha256(make_source(dataset(name, data)), tmp_path) == expected


def test_a_subset_is_other_data_of_the_same_name(tmp_path):
    """Head and tail by a loop over what the whole holds, and three hashes: no table joins them."""
    small = ("dataset.source.train=80", "dataset.source.validation=9", "dataset.source.test=40")
    kept = {None: (), "head": ("dataset.subset=head", "dataset.head_share=0.7"), "tail": ("dataset.subset=tail",)}
    whole = make(dataset("toy", tmp_path, *small)["source"])
    counts = Counter(label for _, labels in whole.documents("train") for label in set(labels))
    order = sorted(counts, key=lambda label: (-counts[label], label))
    most = {"head": set(order[: -(-7 * len(order) // 10)]), "tail": set(order[: -(-len(order) // 10)])}
    belongs = {
        None: lambda labels: True,
        "head": lambda labels: labels and set(labels) <= most["head"],
        "tail": lambda labels: labels and len(set(labels) & most["tail"]) <= 2,
    }
    hashes = set()
    for keep, words in kept.items():
        node = dataset("toy", tmp_path, *small, *words)
        store = prepare(make_source(node), node["name"], Words(), tmp_path / "cache", 1)
        assert store.folder.name.startswith("toy-")
        hashes.add(store.meta["dataset_sha256"])
        for part in whole.parts():
            assert len(store.parts[part]) == sum(bool(belongs[keep](labels)) for _, labels in whole.documents(part))
    assert len(hashes) == 3


def test_keys_that_a_dataset_is_without_have_their_defaults(tmp_path):
    node = dataset("toy", tmp_path)
    bare = make_source({"name": "toy", "subset": "tail", "source": node["source"]})
    assert (bare.head_share, bare.max_head_labels, bare.filtered) == (0.1, 2, ["train", "validation", "test"])


def test_a_dataset_file_of_ones_own(tmp_path):
    """With the line that includes the keys, and without."""
    from xmtc.training.build import ranking_metrics

    (tmp_path / "dataset").mkdir()
    own = (config_dir() / "dataset" / "toy.yaml").read_text(encoding="utf-8").replace("name: toy", "name: mine")
    (tmp_path / "dataset" / "mine.yaml").write_text(own)
    (tmp_path / "dataset" / "bare.yaml").write_text(own.replace("defaults: [/subset@_here_, _self_]\n", ""))
    folder = f"hydra.searchpath=[{tmp_path}]"
    mine = compose_checked([folder, "dataset=mine", "dataset.subset=head"])
    assert mine.dataset.subset == "head" and mine.dataset.name == "mine"
    bare = compose_checked([folder, "dataset=bare"]).dataset
    assert type(make_source(OmegaConf.to_container(bare))).__name__ == "ToySource"
    brief = {"defaults": ["/subset@_here_", "_self_"], "name": "brief", "source": mine.dataset.source}
    (tmp_path / "dataset" / "brief.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(brief)))
    config = compose_checked([folder, "dataset=brief"])
    assert config.data.validation_size == 500 and config.dataset.propensity == {"a": 0.55, "b": 1.5}
    store = SimpleNamespace(num_labels=3, label_frequency=np.array([5, 2, 1]), parts={"train": range(6)})
    found = [ranking_metrics(store, {"dataset": given}) for given in (config.dataset, {})]
    assert found[0].class_weight.tolist() == found[1].class_weight.tolist()
