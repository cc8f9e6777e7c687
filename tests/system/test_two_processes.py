"""The whole path in two processes: trained as by one, tested and written once, every document counted once."""

import json
import os
import subprocess

import numpy as np
import pytest
import torch

from xmtc.data.batch import Labels
from xmtc.metrics.ranking import RankingMetrics


@pytest.mark.slow(30)
def test_two_processes_train_what_one_trains_and_score_every_document_once(small, train, tmp_path, python):
    """160 documents in batches of 2 x 16: the steps of one process with batches of 32, with the same statistics."""
    folder = tmp_path / "run"
    encoder = ["encoder=xmlcnn", "encoder.filters=6", "encoder.bottleneck=10", "encoder.normalise=batch"]
    options = [*encoder, "encoder.dropout=0", "head=lcenet", "head.rank=4", "recipe.max_epochs=3"]
    options += ["recipe.optimizer.eps=1e-3"]  # Adam without it makes steps out of rounding where a gradient is nought
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.devices=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [python, "-m", "xmtc.run", *small, *options, *ddp, "data.batch_size=16"]
    command += [f"hydra.run.dir={folder}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads((folder / "metrics.json").read_text())
    assert result["provenance"]["world_size"] == 2
    kept = np.load(folder / "predictions.npz")
    assert len(kept["labels"]) == 41 and (kept["scores"] > 0).all()
    frequency = torch.tensor([int(line.split("\t")[3]) for line in (folder / "labels.tsv").read_text().splitlines()])
    metrics = RankingMetrics(len(frequency), frequency, 160)
    gold = Labels(torch.from_numpy(kept["gold_indices"]), torch.from_numpy(kept["gold_offsets"]))
    metrics.update(torch.from_numpy(kept["labels"]), gold)
    again = metrics.compute()
    assert again == {name: result["test"][name] for name in again}

    _, alone = train(*options, "data.batch_size=32")
    weights, expected = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in (folder, alone)
    )
    assert weights.keys() == expected.keys() and any("running_mean" in name for name in weights)
    for name, value in weights.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4, msg=lambda m: f"{name}: {m}")
