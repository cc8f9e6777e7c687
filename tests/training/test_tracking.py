"""Trackers: ids that stay, loggers of others left alone."""

import pytest

from xmtc.training.tracking import kept_id, make_logger

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


def test_other_loggers_and_none(tmp_path):
    assert make_logger(None, tmp_path) is False
    assert type(make_logger(CSV | {"save_dir": str(tmp_path)}, tmp_path)).__name__ == "CSVLogger"
    assert list(tmp_path.iterdir()) == []
