"""The whole path in two processes: trained as by one, tested and written once, every document counted once."""

import json
import os
import socket
import subprocess

import numpy as np
import pytest
import torch

from xmtc.data.batch import Labels
from xmtc.metrics.ranking import RankingMetrics

DDP = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.devices=2"]
TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--no-python"]
SLURM = {
    "SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "xmtc", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_NODEID": "0",
    "SLURM_NODELIST": "127.0.0.1",
}  # fmt: skip


@pytest.mark.slow(30)
def test_two_processes_train_what_one_trains_and_score_every_document_once(small, train, tmp_path, python):
    """131 documents in batches of 2 x 16: the steps of one process with batches of 32, with the same statistics. The
    last one of an epoch has two documents in one process and one in the other."""
    folder = tmp_path / "run"
    encoder = ["encoder=xmlcnn", "encoder.filters=6", "encoder.bottleneck=10", "encoder.normalise=batch"]
    options = [*encoder, "encoder.dropout=0", "head=lcenet", "head.rank=4", "recipe.max_epochs=3", "data.limit=131"]
    options += ["recipe.optimizer.eps=1e-3"]  # Adam without it makes steps out of rounding where a gradient is nought
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [python, "-m", "xmtc.run", *small, *options, *DDP, "data.batch_size=16"]
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
    losses, wanted = (np.genfromtxt(run / "curves.csv", delimiter=",", names=True)["loss"] for run in (folder, alone))
    np.testing.assert_allclose(losses, wanted, rtol=1e-3)


@pytest.mark.slow(20)
def test_processes_that_torchrun_or_srun_starts_make_one_run(small, tmp_path, python):
    """No hydra.run.dir is given. srun: its variables, and the port of a free one, for no cluster is here."""
    words = ["-m", "xmtc.run", *small, "encoder=bow", "encoder.embedding.size=16", "head=none", *DDP]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def finished(name, *started):
        errors = [process.communicate(timeout=250)[1] for process in started]
        assert [process.returncode for process in started] == [0] * len(started), errors[0][-2000:]
        (folder,) = (tmp_path / name).glob("*/*/*")  # one run directory
        assert (folder / ".hydra").is_dir() and (folder / "run.log").is_file()
        assert "train_ddp_process" not in (folder / ".hydra" / "hydra.yaml").read_text()
        result = json.loads((folder / "metrics.json").read_text())
        assert result["provenance"]["world_size"] == 2
        return folder.name, result["test"]

    def start(name, *before, **more):
        command = [python, *before, *words, f"paths.runs={tmp_path / name}"]
        return subprocess.Popen(command, env=environment | more, stderr=subprocess.PIPE, text=True)

    _, expected = finished("own", start("own"))
    _, found = finished("torchrun", start("torchrun", *TORCHRUN, python))
    assert found == expected
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    tasks = [{"SLURM_PROCID": rank, "SLURM_LOCALID": rank, "MASTER_PORT": port} for rank in ("0", "1")]
    folder, found = finished("srun", *(start("srun", **SLURM | task) for task in tasks))
    assert found == expected and folder == "slurm-4711.0"
