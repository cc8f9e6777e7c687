"""Run directories as `xmtc.run` leaves them, without training."""

import json

import numpy as np
import pytest
import yaml

METRICS = ("P@1", "P@3", "P@5", "nDCG@3", "nDCG@5")
BINS = ("head", "torso", "tail")


@pytest.fixture
def make_run(tmp_path):
    """`make_run("a/0", head="lcenet", score=0.5, ...)`: a folder below tmp_path; answers it. frequency: training
    documents of each label; without it the run does not say its labels."""

    def make(name, encoder="bow", head="none", seed=0, score=0.5, skill=0.5, complete=True, recipe="modern",
             sha="a" * 64, dataset="toy", curve=(0.1, 0.3, 0.4), ended=None, frequency=(), more=None,
             **settings):  # fmt: skip
        folder = tmp_path / name
        folder.mkdir(parents=True)
        config = {"dataset": {"name": dataset}, "seed": seed, "paths": {"runs": str(folder)}, "head": settings}
        config["names"] = {"encoder": encoder, "head": head, "recipe": recipe}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        (folder / "overrides.yaml").write_text("[]\n")
        rows = [f"{10 * i},{i},{5.0 * i},1,{value}" for i, value in enumerate(curve, start=1)]
        (folder / "curves.csv").write_text("\n".join(["step,epoch,seconds,loss,val/nDCG@5", *rows]) + "\n")
        if ended:
            (folder / "job.json").write_text(json.dumps({"state": ended, "exit_code": 1}))
        if complete:
            test = {m: score for m in METRICS} | {f"{m}/{b}": score / 2 for m in ("P@5", "nDCG@5", "R@5") for b in BINS}
            test |= more or {}
            birth = {
                "dataset": dataset,
                "dataset_sha256": sha,
                "seed": seed,
                "command": f"python -m xmtc.run seed={seed}",
            }
            birth |= {"encoder": encoder, "head": head, "recipe": recipe, "commit": "c0ffee", "device": "cpu"}
            facts = {"test": test, "train_seconds": 60.0, "steps": 30, "peak_memory_bytes": 2**30, "provenance": birth}
            (folder / "metrics.json").write_text(json.dumps(facts))
            predictions(folder / "predictions.npz", skill, seed)
            if frequency:
                table = [f"{n}\tl{n}\tL{n}\t{count}\n" for n, count in enumerate(frequency)]
                (folder / "labels.tsv").write_text("".join(table))
        return folder

    return make


@pytest.fixture
def grid(make_run):
    """`grid(head, fraction, seed, skill)`: a run; skill is how good its lists are."""

    def make(head, fraction, seed, skill=0.5, lr_factor=1.0, where="", **keywords):
        name = f"{where}/{head}-{fraction}-{seed}-{lr_factor}".lstrip("/")
        folder = make_run(name, head=head, seed=seed, skill=skill, **keywords)
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config |= {"data": {"fraction": fraction}, "recipe": {"head_lr_factor": lr_factor, "prior_bias": True}}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        return folder

    return make


def predictions(path, skill, seed, documents=200, labels=30):
    """Ranked lists in which each true label is near the front with probability `skill`; gold the same for all."""
    gold_random, random = np.random.default_rng(0), np.random.default_rng(seed + 1)
    gold = [np.sort(gold_random.choice(labels, gold_random.integers(0, 4), replace=False)) for _ in range(documents)]
    lists = []
    for true in gold:
        order = random.permutation(labels)
        front = np.isin(order, true) & (random.random(labels) < skill)
        lists.append(np.concatenate([order[front], order[~front]])[:10])
    np.savez(
        path, labels=np.array(lists), scores=np.zeros((documents, 10), np.float32),
        gold_indices=np.concatenate(gold), gold_offsets=np.cumsum([0, *map(len, gold)]),
    )  # fmt: skip
