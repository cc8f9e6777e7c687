"""The whole path in two processes: trained, tested and written once, every document counted once."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from xmtc.data.batch import Labels
from xmtc.metrics.ranking import RankingMetrics


@pytest.mark.slow
def test_ddp_scores_every_document_once(small, tmp_path):
    folder = tmp_path / "run"
    options = ["encoder=bow", "encoder.embedding.size=16", "head=lcenet", "head.rank=4", f"hydra.run.dir={folder}"]
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.devices=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "xmtc.run", *small, *options, *ddp]
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
