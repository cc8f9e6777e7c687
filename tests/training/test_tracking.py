"""Trackers: ids that stay, loggers of others left alone."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
import wandb

from xmtc.training.tracking import STAGED, kept_id, look_where_somebody_staged, make_logger

CSV = {"_target_": "pytorch_lightning.loggers.CSVLogger"}


def test_an_id_is_made_once(tmp_path):
    first = kept_id(tmp_path)
    assert kept_id(tmp_path) == first and len(first) == 16
    (tmp_path / "other").mkdir()
    assert kept_id(tmp_path / "other") != first


@pytest.mark.parametrize("given, kept", [({"id": None}, True), ({"id": "mine"}, False), ({}, False)])
def test_only_a_wandb_run_without_an_id_gets_one(tmp_path, given, kept):
    node = {"_target_": "pytorch_lightning.loggers.WandbLogger", "offline": True, "save_dir": str(tmp_path), **given}
    logger = make_logger(node, tmp_path)
    assert (tmp_path / "wandb_id").exists() is kept
    assert logger._id == ((tmp_path / "wandb_id").read_text() if kept else given.get("id"))


def test_a_run_starts_without_a_warning(tmp_path, capfd):
    node = {"_target_": "pytorch_lightning.loggers.WandbLogger", "offline": True, "save_dir": str(tmp_path)}
    make_logger(node, tmp_path).log_metrics({"a": 1.0})
    wandb.finish()
    assert "WARNING" not in capfd.readouterr().err
    assert list(tmp_path.glob("wandb/offline-run-*"))


def test_other_loggers_and_none(tmp_path):
    assert make_logger(None, tmp_path) is False
    assert type(make_logger(CSV | {"save_dir": str(tmp_path)}, tmp_path)).__name__ == "CSVLogger"
    assert list(tmp_path.iterdir()) == []


def test_staged_inputs_are_looked_for_where_there_can_be_any(monkeypatch):
    from wandb.sdk.wandb_run import Run

    assert Path(wandb.__file__).parents[1].joinpath(*STAGED.split(".")).with_suffix(".py").exists()
    looked = []
    monkeypatch.setattr(Run, "_detect_and_apply_job_inputs", lambda self: looked.append(self))
    look_where_somebody_staged()
    look_where_somebody_staged()
    monkeypatch.delitem(sys.modules, STAGED, raising=False)
    Run._detect_and_apply_job_inputs("a run")
    assert looked == []
    monkeypatch.setitem(sys.modules, STAGED, ModuleType(STAGED))
    Run._detect_and_apply_job_inputs("a run")
    assert looked == ["a run"]


def test_a_version_that_does_not_look_is_left_alone(monkeypatch):
    from wandb.sdk.wandb_run import Run

    monkeypatch.delattr(Run, "_detect_and_apply_job_inputs")
    look_where_somebody_staged()
    assert not hasattr(Run, "_detect_and_apply_job_inputs")
