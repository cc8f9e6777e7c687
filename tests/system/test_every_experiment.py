"""Every job of every experiment=...: composed, built and trained for one step, on generated data in its own layout.

Sizes are small, everything else is as the experiment says; jobs that differ in what a step does not depend on are tried
once. In one process, without a Trainer.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from xmtc.config import compose_jobs, config_dir
from xmtc.fitted.base import is_fitted
from xmtc.sweeping.settings import flat
from xmtc.testing.formats import numbered_documents, write_corpus
from xmtc.testing.pretrained import tiny_bert
from xmtc.training.build import build
from xmtc.training.fitted import fitted_session
from xmtc.training.optimizers import parameter_groups, scaled
from xmtc.training.session import fit_execution

ROOT = config_dir() / "experiment"
EXPERIMENTS = sorted(
    str(path.relative_to(ROOT).with_suffix("")) for path in ROOT.rglob("*.yaml") if "figure" not in path.name
)  # a figure is the runs of a table
# of many alike
ONE_OF = {
    name: ["seed=0", "data.fraction=0.25", "recipe.prior_bias=true"] for name in EXPERIMENTS if name.startswith("study")
}
ONE_OF["reuters"] = ["seed=0"]
# what makes a model large, by its name in any component
SMALL = {
    "hidden": 4, "bottleneck": 8, "filters": 4, "mlp": [4], "feedforward": 8, "inner": 8, "heads": 2, "gamma": 3,
    "partners": 5, "rank": 4, "jobs": 1, "layers": 1, "cls": 2, "chunk": 5, "label_size": 8,
}  # fmt: skip
LABELS, POSITIONS = 12, 40


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the corpora, their stores and a pretrained model, filled as they are asked for."""
    folder = tmp_path_factory.mktemp("experiments")
    tiny_bert(folder / "bert", words=60, positions=POSITIONS)
    return folder


@pytest.fixture(scope="module")
def tried():
    return set()


def small(config, place):
    """The resolved configuration with small sizes; its corpus generated where it should lie. Changes `config`."""
    OmegaConf.set_struct(config, False)
    config.pop("logger", None)
    config.paths.data_dir, config.paths.cache_dir, config.prepare_workers = str(place), str(place / "cache"), 1
    config.recipe.prefer_words = None  # a file of vectors, which nobody has here
    plain = OmegaConf.to_container(config, resolve=True)
    plain["data"] |= {"batch_size": 4, "evaluation_batch_size": 4, "validation_size": 5}
    for part in ("encoder", "head", "execution"):
        plain[part] = _small(plain[part], place)
    source = plain["dataset"]["source"]
    if "path" in source:
        layout = next((name for name in source["layouts"] if name != "folder"), "folder")
        parts = {name: numbered_documents(20, seed) for seed, name in enumerate(("train", "validation", "test"))}
        if not Path(source["path"]).exists():
            write_corpus(Path(source["path"]), layout, parts)
    else:
        source |= {"train": 20, "validation": 5, "test": 5}
    return plain


def _small(node, place):
    if not isinstance(node, dict):
        return node
    target = node.get("_target_", "")
    if "embedding" in target or "glove" in target or "word2vec" in target:
        return {"_target_": "xmtc.data.embedding.Random", "size": 8, "trainable": node.get("trainable", True)}
    node = {
        key: SMALL[key] if key in SMALL and value is not None else _small(value, place) for key, value in node.items()
    }
    if target.endswith(".LSAN"):  # its label vectors are word vectors
        node["hidden"] = node["embedding"]["size"]
    if "name" in node:  # of a pretrained model
        node["name"] = str(place / "bert")
    if "length" in node:
        joint = target.endswith((".LACO", ".SeqTag"))
        node["length"] = POSITIONS if joint else 8
    return node


def what_a_step_sees(plain):
    left_out = ("seed", "data.fraction", "recipe.max_epochs", "trainer.max_epochs", "paths", "names")
    settings = {key: value for key, value in flat(plain).items() if not key.startswith(left_out)}
    return json.dumps(settings, sort_keys=True, default=str)


def one_step(plain, folder):
    """Trains on one batch and answers three documents; asserts that what is trained has moved."""
    if is_fitted(plain["encoder"]):
        result = fitted_session(plain, folder, {"head": "none"})
        assert 0 <= result["test"]["P@1"] <= 1
        return
    torch.manual_seed(plain["seed"])
    built = build(plain)
    module, execution = built.module, built.module.execution
    module.log = lambda *arguments, **keywords: None  # there is no Trainer
    fit_execution(execution, plain, 1)
    execution.start()
    optimizer = scaled(module.make_optimizer(parameter_groups(module)))
    execution.follow(optimizer)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    loss = module.train().training_step(built.data.train[np.arange(min(4, len(built.data.train)))], 0)
    assert torch.isfinite(loss)
    loss.backward()
    execution.finish_step(1.0)
    optimizer.step()
    moved = {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}
    assert any(name.startswith("decoder.") for name in moved) or any(name.startswith("encoder.") for name in moved)
    for i in range(len(module.head.blocks)):
        assert any(name.startswith(f"head.blocks.{i}.") for name in moved), f"block {i} has not moved"
    module.eval()
    with torch.no_grad():
        # a subset by frequency may be small in documents and labels
        count, k = min(3, len(built.data.test)), min(4, built.store.num_labels)
        scores, labels = execution.topk(module.encoder(built.data.test[np.arange(count)]), k)
    assert count and scores.shape == labels.shape == (count, k) and torch.isfinite(scores).all()


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_its_jobs_compose_and_train_one_step(experiment, place, tried, tmp_path):
    jobs = compose_jobs([f"experiment={experiment}", *ONE_OF.get(experiment, [])])
    assert jobs
    for number, (words, config) in enumerate(jobs):
        plain = small(config, place)
        seen = what_a_step_sees(plain)
        if seen in tried:
            continue
        try:
            one_step(plain, tmp_path / str(number))
        except Exception as error:
            error.add_note(f"experiment={experiment} {' '.join(words)}")
            raise
        tried.add(seen)
