"""Every `dataset` of the configuration builds its source; the papers' facts are CorNet's and AttentionXML's."""

from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from xmtc.config import register_resolvers
from xmtc.data.sources.base import Source
from xmtc.errors import InputError

FOLDER = Path(__file__).parents[2] / "conf" / "dataset"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
OWN = ("folder", "csv", "jsonl", "parquet", "corpus", "huggingface")
GENERATED = ("toy", "synthetic")


def load(name, tmp_path):
    register_resolvers()
    shared = OmegaConf.load(FOLDER.parent / "subset.yaml")
    dataset = OmegaConf.merge(shared, OmegaConf.load(FOLDER / f"{name}.yaml"))
    if OmegaConf.is_missing(dataset, "path"):
        dataset.path = str(tmp_path)
    return OmegaConf.create({"dataset": dataset, "paths": {"data_dir": str(tmp_path)}}).dataset


@pytest.mark.parametrize("name", NAMES)
def test_dataset_builds_its_source(name, tmp_path):
    dataset = load(name, tmp_path)
    assert dataset.name == name and dataset.validation_size > 0 and dataset.length > 0
    assert set(dataset.propensity) == {"a", "b"} and "paper" in dataset
    source = instantiate(dataset.source)
    assert isinstance(source, Source)
    if name not in GENERATED:
        with pytest.raises(InputError, match=str(tmp_path)):
            source.check()


@pytest.mark.parametrize("name", OWN)
def test_own_corpora_demand_a_path(name):
    assert OmegaConf.is_missing(OmegaConf.load(FOLDER / f"{name}.yaml"), "path")


@pytest.mark.parametrize("name", ["eurlex", "amazoncat13k", "wiki500k"])
def test_missing_paper_corpora_say_what_gets_them(name, tmp_path):
    with pytest.raises(InputError) as caught:
        instantiate(load(name, tmp_path).source).check()
    message = str(caught.value)
    assert f"python -m xmtc.data download {name}" in message and "XMTC_DATA" in message
    assert f"{tmp_path / name}: no such corpus folder" in message and "\n" not in message


@pytest.mark.parametrize(
    "name, batch, epochs, averaging, rank, trainable, bottleneck, attention, validation",
    [
        ("eurlex", 40, 30, 10, 1000, False, None, (256, [256]), 200),
        ("amazoncat13k", 200, 10, 2, 1000, True, None, (200, [100]), 4000),
        ("wiki500k", 200, 15, 4, 100, True, 512, (512, [512, 256]), 4000),
    ],
)
def test_facts_of_the_papers(
    name, batch, epochs, averaging, rank, trainable, bottleneck, attention, validation, tmp_path
):
    dataset = load(name, tmp_path)
    facts = OmegaConf.to_container(dataset.paper)
    encoders = facts.pop("encoders")
    assert facts == {
        "batch_size": batch,
        "max_epochs": epochs,
        "averaging_start_epoch": averaging,
        "rank": rank,
        "blocks": 2,
        "embedding_trainable": trainable,
        "bottleneck": bottleneck,
    }
    assert (encoders["attentionxml"]["hidden"], encoders["attentionxml"]["mlp"]) == attention
    assert dataset.validation_size == validation and dataset.length == 500
    bertxml = {"eurlex": {"embedding_trainable": True}, "wiki500k": {"rank": 200, "blocks": 1}}
    assert encoders.get("bertxml") == bertxml.get(name)
    assert tuple(dataset.propensity.values()) == ((0.5, 0.4) if name == "wiki500k" else (0.55, 1.5))
