"""curves.csv, throughput, and the stop on divergence."""

import csv
import inspect
import subprocess
import sys

import numpy as np
import pytest
import torch

from xmtc.errors import InputError
from xmtc.training.checkpoints import Checkpoints
from xmtc.training.module import XMTCModule
from xmtc.training.record import COLUMNS, Record, peak_memory_bytes, process_bytes


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_an_evaluation_with_the_mean_loss_since_the_one_before(make_module, fit, tmp_path, monkeypatch):
    module, losses, step = make_module(), [], XMTCModule.training_step

    def kept(self, batch, number):
        losses.append(step(self, batch, number))
        return losses[-1]

    monkeypatch.setattr(XMTCModule, "training_step", kept)
    record = Record(tmp_path / "curves.csv")
    fit(module, record)
    found = rows(tmp_path / "curves.csv")
    assert [int(row["step"]) for row in found] == [2, 4, 6, 8, 10]
    assert [int(row["epoch"]) for row in found] == [0, 0, 1, 1, 1]
    means = [float(sum(losses[i : i + 2])) / 2 for i in range(0, 10, 2)]
    assert [float(row["loss"]) for row in found] == pytest.approx(means)
    assert tuple(found[0])[:4] == COLUMNS and {"val/P@1", "val/nDCG@5"} <= found[0].keys()
    seconds = [float(row["seconds"]) for row in found]
    assert seconds == sorted(seconds) and record.seconds >= record.training_seconds > 0
    assert record.documents == 20 and record.documents_per_second == pytest.approx(20 / record.training_seconds)
    assert [path.name for path in tmp_path.iterdir()] == ["curves.csv"]


def test_the_loss_of_collected_gradients_is_that_of_each_batch(make_module, fit, tmp_path):
    means = {}
    for batches in (1, 2):
        fit(make_module(lr=0), Record(tmp_path / "curves.csv"), accumulate_grad_batches=batches)
        means[batches] = [float(row["loss"]) for row in rows(tmp_path / "curves.csv")]
    assert means[2] == pytest.approx(means[1]) and means[1][0] > 0


def test_a_resumed_run_keeps_its_rows_and_adds_its_seconds(make_module, fit, tmp_path):
    fit(make_module(), first := Record(tmp_path / "a.csv"), Checkpoints(tmp_path), max_epochs=1)
    fit(make_module(), again := Record(tmp_path / "b.csv"), ckpt_path=tmp_path / "last.ckpt")
    assert [int(row["step"]) for row in rows(tmp_path / "b.csv")] == [2, 4, 6, 8, 10]
    assert rows(tmp_path / "b.csv")[:2] == rows(tmp_path / "a.csv")
    assert again.seconds > first.seconds and again.documents == 20


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_with_advice(make_module, fit, tmp_path, value):
    module = make_module()
    torch.nn.init.constant_(module.decoder.bias, value)
    with pytest.raises(InputError, match=r"at step 1: lower recipe\.optimizer\.lr"):
        fit(module, Record(tmp_path / "curves.csv"))


def test_peak_memory_is_in_bytes():
    assert 50e6 < peak_memory_bytes() < 1e12


def test_a_process_does_not_report_the_peak_of_the_one_that_started_it():
    """In a process that imports nothing of ours, which would cost seconds: the function alone."""
    ballast = np.ones(40_000_000)  # 0.3 GB, more than the program below ever needs
    imports = "import resource, sys\nfrom pathlib import Path\n"
    program = f"{imports}{inspect.getsource(process_bytes)}\nprint(process_bytes('VmHWM'))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 1e6 < int(done.stdout) < 1e8 < ballast.nbytes < process_bytes("VmHWM")
