"""What safety costs a training run: checkpoints with their hashes, checksums of the store, provenance.

The same run with all of it, and with none. Differences of a few hundredths drown in a machine's noise, so each part is
also timed by itself within the run that has it: `share` is their sum over that run's time, the number to trust.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import xmtc
from xmtc.bench.compare import Bench
from xmtc.data import preparation
from xmtc.training import best, checkpoints, session
from xmtc.training.checkpoints import Checkpoints

# what is done for safety alone, and where it is called
PARTS = {
    "last.ckpt": (Checkpoints, "save_last"),
    "best.ckpt": (best.Best, "offer"),
    "best.ckpt, held back": (best.Best, "flush"),  # with last.ckpt it counts there
    "reading best.ckpt": (checkpoints, "is_whole"),
    "checksums of the store": (preparation, "damaged"),
    "checksums of the run": (session, "write_inputs"),
    "provenance": (session, "provenance"),
}


def overhead(documents: int = 20_000, labels: int = 4000, words: int = 200, epochs: int = 3, minutes: int = 5) -> Bench:
    """A bag of words of generated documents. minutes: between checkpoints, a run's default; 0 writes as often as
    `checkpoints.share` allows, the most that a run can spend."""
    folder = tempfile.TemporaryDirectory()
    base = Path(folder.name)
    told = [
        "dataset=synthetic", "dataset.like=eurlex", f"dataset.train={documents}", f"dataset.labels={labels}",
        f"dataset.validation={max(documents // 20, 20)}", f"dataset.test={max(documents // 20, 20)}",
        f"dataset.words_per_document={words}", "encoder=bow", "head=lcenet", "head.rank=100",
        f"recipe.max_epochs={epochs}", "recipe.validation.patience=null", "logger=csv",
        f"checkpoints.minutes={minutes}", f"paths.cache_dir={base / 'cache'}", f"hydra.run.dir={base / 'run'}",
    ]  # fmt: skip
    facts: dict = {"documents": documents, "labels": labels, "epochs": epochs}

    def run() -> dict:
        shutil.rmtree(base / "run", ignore_errors=True)
        with _quiet():
            return xmtc.run(told)

    def ours() -> dict:
        with timed() as seconds:
            began = time.perf_counter()
            result = run()
            whole = time.perf_counter() - began
        facts.update(
            seconds={name: round(value, 6) for name, value in seconds.items()},
            share=round(sum(seconds.values()) / whole, 4),
            share_of_training=round(result["checkpoint_seconds"] / result["train_seconds"], 4),
            parameters=result["parameters"],
            steps=result["steps"],
        )
        return result["test"]

    def baseline() -> dict:
        with unsafe():
            return run()["test"]

    ours.folder = folder  # lives as long
    return Bench(baseline, ours, facts)


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Seconds that each part has taken. A part within another counts as the outer one."""
    seconds = dict.fromkeys(PARTS, 0.0)
    within: list[str] = []

    def wrap(name: str, function: Callable) -> Callable:
        def wrapped(*arguments, **keywords):
            within.append(name)
            began = time.perf_counter()
            try:
                return function(*arguments, **keywords)
            finally:
                within.pop()
                if not within:
                    seconds[name] += time.perf_counter() - began

        return wrapped

    with ExitStack() as stack:
        for name, (owner, attribute) in PARTS.items():
            stack.enter_context(patch.object(owner, attribute, wrap(name, getattr(owner, attribute))))
        yield seconds


@contextmanager
def unsafe() -> Iterator[None]:
    """Runs save nothing but the best weights, in memory, check nothing and say nothing of where they come from."""
    held: dict = {}

    def load_best(checkpoints, trainer, module) -> dict:
        module.load_state_dict(held.pop("state_dict"))
        return dict(held)

    with ExitStack() as stack:
        for owner, attribute, other in (
            (Checkpoints, "save_last", lambda self, trainer: self.best.flush()),
            (best, "write", lambda path, save: save(path)),
            (best, "save_tensors", lambda content, path: held.update(_copy(content))),
            (Checkpoints, "load_best", load_best), (preparation, "damaged", lambda place: None),
            (session, "write_inputs", lambda folder, built: None), (session, "provenance", lambda names: {}),
        ):  # fmt: skip
            stack.enter_context(patch.object(owner, attribute, other))
        yield


def _copy(content: dict) -> dict:
    return content | {"state_dict": {name: value.clone() for name, value in content["state_dict"].items()}}


@contextmanager
def _quiet() -> Iterator[None]:
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
