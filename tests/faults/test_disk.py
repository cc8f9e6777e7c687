"""A disk that is full: one line, nothing half-written, what was there is kept, and with room the run goes on."""

import errno
import os
import resource
import subprocess
from contextlib import contextmanager

import numpy as np
import pytest

import xmtc
from tests.faults import disk
from tests.faults.training import TRAINING
from xmtc.errors import InputError
from xmtc.training.direct import Direct
from xmtc.training.kept import write


@contextmanager
def files_of_at_most(size):
    """Longer files cannot be written, whoever writes them: Python, NumPy or PyTorch's C++."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def refused(overrides, message):
    with pytest.raises(InputError, match=message) as error:
        xmtc.run(overrides)
    assert "\n" not in str(error.value)


def temporary(folder):
    return [path.name for path in folder.rglob("*") if ".tmp" in path.name]


def test_a_checkpoint_that_does_not_fit(tmp_path):
    """The first one fits, those with the optimiser's state do not."""
    run = tmp_path / "run"
    begin = [*TRAINING, f"paths.cache_dir={tmp_path / 'cache'}", f"hydra.run.dir={run}", "recipe.max_epochs=1"]
    with files_of_at_most(30_000):
        refused(begin, "last.ckpt: cannot be written, the disk is full or has failed.*kept")
    assert temporary(run) == [] and not (run / "metrics.json").exists()
    at = run / "checkpoints"
    saved = any((at / name).exists() for name in ("last.ckpt", "previous.ckpt"))
    assert xmtc.run([f"resume={run}"] if saved else begin)["test"]["P@1"] >= 0


def test_predictions_that_do_not_fit(tmp_path, monkeypatch):
    run = tmp_path / "run"

    def full(file, **arrays):
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez_compressed", full)
        refused(
            [*TRAINING, f"paths.cache_dir={tmp_path / 'cache'}", f"hydra.run.dir={run}", "recipe.max_epochs=1"],
            "paths.runs: the disk is full while training",
        )
    assert temporary(run) == [] and not (run / "predictions.npz").exists()
    assert xmtc.run([f"resume={run}"])["test"]["P@1"] >= 0 and (run / "predictions.npz").exists()


@pytest.mark.parametrize("step", ["kept._sync", "kept._write_list", "direct.os.write"])
def test_a_disk_that_fills_within_the_writing_of_a_checkpoint(tmp_path, monkeypatch, step):
    def save(path):
        with Direct(path) as file:
            file.write(b"checkpoint")
        return file.checksum

    for _ in range(2):
        write(tmp_path / "last.ckpt", save)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(InputError, match="last.ckpt: cannot be written.*is kept"):
        patch.setattr(f"xmtc.training.{step}", full)
        write(tmp_path / "last.ckpt", save)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_disk_that_cannot_be_read_is_one_line(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO), "sector 7")

    monkeypatch.setattr("xmtc.training.session.build", broken)
    overrides = [*TRAINING, f"paths.cache_dir={tmp_path / 'cache'}", f"hydra.run.dir={tmp_path / 'run'}"]
    refused(overrides, "the disk has failed while training.*sector 7")


@pytest.mark.slow
def test_on_disks_of_random_size(tmp_path):
    try:
        with disk.small_disk(tmp_path / "try", 8192):
            pass
    except (subprocess.CalledProcessError, FileNotFoundError):
        pytest.skip("mounting is not allowed here")
    result = disk.main(["--cases", "1", "--seed", "3"])
    assert result["cases"] == 1 and result["failures"] == 0
