"""Whole runs on a small toy corpus, in this process."""

import pytest

import xmtc

SMALL = [
    "dataset=toy",
    "dataset.source.train=160",
    "dataset.source.validation=40",
    "dataset.source.test=41",
    "logger=csv",
    "recipe.max_epochs=1",
    "embedding.size=16",
    "prepare_workers=1",
]


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def small(cache, tmp_path):
    """Overrides of a run of seconds; its directories go to tmp_path."""
    return [*SMALL, f"paths.cache_dir={cache}", f"paths.runs={tmp_path / 'runs'}"]


@pytest.fixture
def train(small, tmp_path):
    """Runs with further overrides; answers (what metrics.json holds, the run directory)."""

    def train(*overrides):
        before = set((tmp_path / "runs").glob("*/*/*"))
        result = xmtc.run([*small, *overrides])
        (folder,) = set((tmp_path / "runs").glob("*/*/*")) - before
        return result, folder

    return train


@pytest.fixture(scope="session")
def finished(tmp_path_factory, cache):
    """One finished run of three epochs: (what metrics.json holds, the run directory)."""
    base = tmp_path_factory.mktemp("finished")
    overrides = [*SMALL, f"paths.cache_dir={cache}", f"paths.runs={base}", "encoder=bow", "head=lcenet"]
    result = xmtc.run([*overrides, "encoder.embedding.size=16", "head.rank=4", "recipe.max_epochs=3", "seed=5"])
    (folder,) = base.glob("*/*/*")
    return result, folder
