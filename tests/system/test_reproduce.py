"""A run made again from its own directory, and what is said where something changed."""

import json
import shutil
import sys
import types

import pytest

import xmtc
from xmtc.errors import InputError
from xmtc.reproduce import compare, describe, main, reproduce


@pytest.mark.slow
def test_the_same_bits_again(finished, tmp_path, capfd, python, monkeypatch):
    monkeypatch.setattr(sys, "executable", python)  # what it runs again with
    _, folder = finished
    assert main([str(folder), "--output", str(tmp_path / "again")]) == 0
    assert "the same predictions and scores, to the bit" in capfd.readouterr().out
    assert (tmp_path / "again" / "metrics.json").exists()
    with pytest.raises(InputError, match="--output.*exists already"):
        reproduce(folder, tmp_path / "again")


def test_what_was_not_trained_is_not_made_again(finished, tmp_path, capsys):
    """An ensemble and an evaluation look like runs, but their overrides would train something else."""
    _, folder = finished
    for name in ("metrics.json", "overrides.yaml", "config.yaml"):
        shutil.copyfile(folder / name, tmp_path / name)
    assert main([str(tmp_path), "--output", str(tmp_path / "again")]) == 2
    assert "no finished run that was trained (no curves.csv)" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()


def test_another_seed_and_a_changed_circumstance_are_named(finished, train, tmp_path):
    _, folder = finished
    _, other = train("encoder=bow", "head=lcenet", "encoder.embedding.size=16", "head.rank=4", "recipe.max_epochs=3")
    metrics = json.loads((other / "metrics.json").read_text())
    metrics["provenance"]["torch"] = "0.1"
    (other / "metrics.json").write_text(json.dumps(metrics))
    found = compare(folder, other)
    assert not found["same"] and found["circumstances"]["torch"][1] == "0.1"
    assert found["first_row"] is not None and 0 <= found["documents"] < 1
    said = describe(found)
    assert "torch: " in said and "0.1 now" in said and "differs first at step" in said and "%" in said


def test_a_run_of_before_its_precision_was_recorded(finished, tmp_path):
    _, folder = finished
    for name in ("then", "now"):
        shutil.copytree(folder, tmp_path / name)
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["provenance"]["precision"]
    (tmp_path / "then" / "metrics.json").write_text(json.dumps(metrics))
    assert compare(tmp_path / "then", tmp_path / "now") == compare(folder, tmp_path / "now")
    metrics["provenance"]["precision"] = "bf16-mixed"
    (tmp_path / "then" / "metrics.json").write_text(json.dumps(metrics))
    assert compare(tmp_path / "then", tmp_path / "now")["circumstances"] == {"precision": ["bf16-mixed", "32-true"]}


def test_a_folder_that_is_no_run(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2 and "no finished run" in capsys.readouterr().err


def test_components_of_ones_own_are_found_again(finished, tmp_path, monkeypatch):
    """Their folder is no override, so the run has not written it among those."""
    asked = []
    monkeypatch.setattr("subprocess.run", lambda command: asked.append(command) or types.SimpleNamespace(returncode=2))
    _, folder = finished
    assert main([str(folder), "--output", str(tmp_path / "again"), "--config-dir", "mine"]) == 2
    assert asked[0][3:5] == ["--config-dir", "mine"]


def test_one_and_no_loader_process_give_the_same_bytes(train):
    """Nothing of a run depends on who loads its batches, nor on the second time it is run."""
    options = ("encoder=bow", "head=lcenet", "encoder.embedding.size=16", "head.rank=4")
    files = []
    for workers in (0, 0, 1):
        _, folder = train(*options, f"data.workers={workers}")
        files.append((folder / "predictions.npz").read_bytes())
    assert files[0] == files[1] == files[2]
    assert xmtc.load(folder)
