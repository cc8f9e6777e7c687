"""The contract of the run directory and of metrics.json."""

import csv
import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from xmtc.data.batch import Labels
from xmtc.metrics.ranking import RankingMetrics
from xmtc.training.record import process_bytes


def test_files_are_there(finished):
    _, folder = finished
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    expected = {"config.yaml", "overrides.yaml", "metrics.json", "curves.csv", "labels.tsv", "predictions.npz"}
    expected |= {"predictions_validation.npz", "checkpoints/last.ckpt", "checkpoints/best.ckpt", "text/vocabulary.txt"}
    assert expected <= names
    assert not [name for name in names if ".tmp" in name]


def test_metrics_hold_scores_and_their_birth_certificate(finished):
    result, folder = finished
    stored = json.loads((folder / "metrics.json").read_text())
    for part in ("test", "validation"):
        for name in ("P@1", "P@3", "P@5", "nDCG@1", "nDCG@3", "nDCG@5", "PSP@1", "R@5", "R-precision@5", "micro-F1"):
            assert 0 <= stored[part][name] <= 1
    assert {"train_seconds", "documents_per_second", "peak_memory_bytes", "parameters", "steps"} <= set(stored)
    birth = stored["provenance"]
    assert birth["format"] == 1 and birth["dataset"] == "toy" and birth["seed"] == 5 and birth["world_size"] == 1
    assert birth["resumed_from_step"] is None and len(birth["dataset_sha256"]) == 64
    assert birth["torch"] == torch.__version__ and birth["precision"] == "32-true"
    assert stored["steps"] == 9  # 160 documents in batches of 64, three epochs


def test_configuration_is_resolved_and_overrides_are_kept(finished):
    _, folder = finished
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["head"]["rank"] == 4 and config["dataset"]["name"] == "toy"
    assert "${" not in (folder / "config.yaml").read_text()
    assert "head=lcenet" in yaml.safe_load((folder / "overrides.yaml").read_text())


def test_predictions_give_the_reported_scores(finished):
    result, folder = finished
    kept = np.load(folder / "predictions.npz")
    assert kept["labels"].shape == kept["scores"].shape and kept["labels"].shape[0] == 41
    assert kept["labels"].dtype == np.int64 and kept["scores"].dtype == np.float32
    assert (np.diff(kept["scores"], axis=1) <= 0).all()
    rows = [line.split("\t") for line in (folder / "labels.tsv").read_text().splitlines()]
    frequency = torch.tensor([int(row[3]) for row in rows])
    metrics = RankingMetrics(len(rows), frequency, 160)
    gold = Labels(torch.from_numpy(kept["gold_indices"]), torch.from_numpy(kept["gold_offsets"]))
    metrics.update(torch.from_numpy(kept["labels"]), gold)
    again = metrics.compute()
    assert again == {name: result["test"][name] for name in again}


def test_curves_have_a_row_an_evaluation(finished):
    result, folder = finished
    with open(folder / "curves.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["3", "6", "9"]
    assert {"step", "epoch", "seconds", "loss", "val/nDCG@5"} <= set(rows[0])
    assert max(float(row["val/nDCG@5"]) for row in rows) == result["best"]["score"]


def test_best_weights_give_the_reported_validation_score(finished):
    result, _ = finished
    assert result["validation"]["nDCG@5"] == pytest.approx(result["best"]["score"], abs=1e-6)


def test_floor_is_the_most_frequent_labels(finished):
    result, folder = finished
    kept = np.load(folder / "predictions.npz")
    frequency = [int(line.split("\t")[3]) for line in (folder / "labels.tsv").read_text().splitlines()]
    best = int(np.argmax(frequency))
    gold = np.split(kept["gold_indices"], kept["gold_offsets"][1:-1])
    assert result["floor"]["P@1"] == pytest.approx(np.mean([best in labels for labels in gold]))


def test_the_same_seed_gives_the_same_numbers(train):
    options = ("encoder=xmlcnn", "head=cornet", "head.rank=4", "encoder.filters=4", "encoder.bottleneck=8", "seed=3")
    first, second = train(*options)[0], train(*options)[0]
    assert first["test"] == second["test"] and first["best"] == second["best"]


def test_wandb_writes_one_offline_run_and_finishes(train, monkeypatch):
    import wandb

    monkeypatch.setenv("XMTC_SWEEP", "a sweep")
    _, folder = train("encoder=bow", "encoder.embedding.size=16", "head=none", "logger=wandb")
    assert len(list((folder / "wandb").glob("offline-run-*"))) == 1
    assert wandb.run is None
    text = (folder / "config.yaml").read_text()
    assert "offline: true" in text
    (offline,) = (folder / "wandb").glob("offline-run-*")
    assert offline.name.endswith((folder / "wandb_id").read_text())  # what a continued run goes on with
    words = (b"best/test/nDCG@5", b"best/validation/P@1", b"a sweep", b"toy bow none seed 0")
    deadline = time.monotonic() + 30  # a process of W&B's own writes it, which ends when this one does
    while missing := [word for word in words if not any(word in file.read_bytes() for file in offline.glob("*.wandb"))]:
        assert time.monotonic() < deadline, missing
        time.sleep(0.1)


def test_tensorboard_writes_events(train):
    _, folder = train("encoder=bow", "encoder.embedding.size=16", "head=none", "logger=tensorboard")
    assert list((folder / "tensorboard").rglob("events.out.tfevents.*"))


def test_debug_fast_goes_the_whole_way(train):
    result, folder = train("debug=fast", "encoder=bow", "encoder.embedding.size=16", "data.limit=20")
    assert result["steps"] == 2 and (folder / "predictions.npz").exists()


def test_curves_of_label_sets(train):
    """With recipe.validation.sets, of probabilities of one half; the one evaluation is that of the weights kept."""
    from sklearn.metrics import f1_score

    words = ["encoder=bow", "head=lcenet", "head.rank=4", "recipe.validation.sets=true", "recipe.optimizer.lr=0.1"]
    _, folder = train(*words, "recipe.max_epochs=1")
    with open(folder / "curves.csv") as file:
        (row,) = csv.DictReader(file)
    kept = np.load(folder / "predictions_validation.npz")
    count = len((folder / "labels.tsv").read_text().splitlines())
    gold, answered = (np.zeros((len(kept["labels"]), count), bool) for _ in range(2))
    for document, (start, stop) in enumerate(zip(kept["gold_offsets"], kept["gold_offsets"][1:])):
        gold[document, kept["gold_indices"][start:stop]] = True
        answered[document, kept["labels"][document][kept["scores"][document] >= 0.5]] = True
    assert answered.sum(1).max() > 5  # more than the ranking metrics look at
    for average in ("micro", "macro"):
        expected = f1_score(gold, answered, average=average, zero_division=0)
        assert 0 < expected < 1 and float(row[f"val/{average}-F1"]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not tell a peak since a moment")
def test_memory_is_of_the_run_and_not_of_one_before_it_in_the_process(train):
    """Jobs of a sweep under Hydra's own launcher share a process: the smaller ones told the largest one's peak."""
    np.ones(2**27)  # a GiB, given back at once
    before = process_bytes("VmHWM")
    result, _ = train("encoder=bow", "head=none", "encoder.embedding.size=4", "recipe.max_epochs=1")
    assert result["peak_memory_bytes"] < before - 2**29
