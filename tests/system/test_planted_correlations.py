"""On the built-in corpus a head finds what the corpus hides from a plain classifier (xmtc/data/sources/toy.py)."""

import pytest

import xmtc

OPTIONS = [
    "dataset=toy", "encoder=bow", "encoder.embedding.size=128", "recipe.optimizer.lr=1e-2", "recipe.max_epochs=10",
    "recipe.validation.epochs=2", "data.batch_size=128", "logger=csv", "prepare_workers=1",
]  # fmt: skip


@pytest.mark.slow(25)
def test_a_head_gains_more_than_the_spread_over_three_seeds(cache, tmp_path):
    scores = {}
    for head in ("none", "lcenet"):
        paths = [f"paths.cache_dir={cache}", f"paths.runs={tmp_path}"]
        runs = [xmtc.run([*OPTIONS, *paths, f"head={head}", f"seed={seed}"]) for seed in (0, 1, 2)]
        scores[head] = [run["test"]["P@5"] for run in runs]
    spread = max(max(values) - min(values) for values in scores.values())
    assert min(scores["lcenet"]) - max(scores["none"]) > spread, scores
    # all causes right and the effects of the group guessed would be 0.60: the head must really count causes
    assert min(scores["lcenet"]) > 0.85, scores
