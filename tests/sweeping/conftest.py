"""Sweeps of tiny jobs, started as a person would."""

import os
import subprocess

import pytest

TINY = [
    "dataset=toy",
    "dataset.source.train=160",
    "dataset.source.validation=40",
    "dataset.source.test=41",
    "encoder=bow",
    "encoder.embedding.size=16",
    "recipe.lcenet.rank=4",
    "logger=csv",
    "recipe.max_epochs=1",
    "prepare_workers=1",
]


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def command(cache, tmp_path, python):
    """`command("head=none,lcenet")`: words of a sweep into tmp_path/sweep."""

    def command(*words, launcher="local"):
        folders = [f"paths.cache_dir={cache}", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
        launch = [f"hydra/launcher={launcher}"] if launcher else []
        return [python, "-m", "xmtc.run", "-m", *TINY, *folders, *launch, *words]

    return command


@pytest.fixture
def sweep(command, tmp_path):
    """Runs a sweep to its end; answers the finished process, its output as text."""

    def sweep(*words, **options):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            command(*words, **options), env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=280
        )

    return sweep
