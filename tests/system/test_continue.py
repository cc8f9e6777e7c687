"""A run that stopped goes on; a new run starts from another's weights."""

import json
import shutil
import subprocess

import pytest
import torch
import yaml

import xmtc
from xmtc.data.checksums import damaged
from xmtc.data.text import Words
from xmtc.errors import InputError
from xmtc.job import RESTS, WORTH
from xmtc.reporting.commands import settings_of
from xmtc.reporting.runs import find_runs
from xmtc.training.history import History

OPTIONS = ("encoder=bow", "head=lcenet", "encoder.embedding.size=16", "head.rank=4", "data.batch_size=32")


def test_resume_goes_on_in_the_same_directory(train):
    first, folder = train(*OPTIONS, "recipe.max_epochs=2")
    again = xmtc.run([f"resume={folder}", "recipe.max_epochs=4"])
    assert first["steps"] == 10 and again["steps"] == 20
    assert again["provenance"]["resumed_from_step"] == [10]
    rows = (folder / "curves.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["5", "10", "15", "20"]
    assert json.loads((folder / "metrics.json").read_text())["steps"] == 20
    words, config = (yaml.safe_load((folder / name).read_text()) for name in ("overrides.yaml", "config.yaml"))
    assert [word for word in words if "max_epochs" in word] == ["recipe.max_epochs=4"]  # what it is now
    assert config["recipe"]["max_epochs"] == 4 and config["resume"] is None and damaged(folder) is None
    (run,) = find_runs([folder])
    assert (run.settings["recipe.max_epochs"], run.settings["continues"]) == (4, "alike(recipe.max_epochs=2)")
    assert "continues" in run.typed
    begun, went_on = again["provenance"]["command"].split(" && ")
    assert begun == first["provenance"]["command"] and went_on.endswith(" recipe.max_epochs=4 resume=RUN_DIR")
    third = xmtc.run([f"resume={folder}"])
    assert third["steps"] == 20 and third["provenance"]["resumed_from_step"] == [10, 20]
    assert third["provenance"]["command"].split(" && ")[0] == begun and third["provenance"]["command"].count("&&") == 1


def test_a_run_of_several_sessions_is_dirty_if_one_was_and_names_its_commits(train, monkeypatch):
    """Also where it was stopped, so that only its checkpoint knows; and an old checkpoint knows nothing."""
    from xmtc.training import session

    def as_of(commit, dirty):
        made = session.provenance
        monkeypatch.setattr(session, "provenance", lambda names: made(names) | {"commit": commit, "dirty": dirty})

    as_of("a", True)
    first, folder = train(*OPTIONS, "recipe.max_epochs=2")
    assert first["provenance"]["dirty"] is True and first["provenance"]["commits"] is None
    (folder / "metrics.json").unlink()
    as_of("b", False)
    born = xmtc.run([f"resume={folder}"])["provenance"]
    assert (born["commit"], born["dirty"], born["resumed_from_step"]) == ("b", True, [10])
    assert born["commits"] == [{"step": 0, "commit": "a"}, {"step": 10, "commit": "b"}]
    assert " && " not in born["command"]
    old = History({"commit": "c", "dirty": False, "command": "python -m xmtc.run"})
    old.on_load_checkpoint(None, None, {"global_step": 7})
    born = old.provenance({"commit": "c"})
    assert (born["dirty"], born["resumed_from_step"], born["commits"][0]) == (False, [7], {"step": 0, "commit": None})


@pytest.mark.parametrize("memory, chosen", [(2**16, "chunked (raw logits recomputed)"), (2**41, "dense")])
def test_a_run_goes_on_by_the_execution_that_it_has_chosen(train, monkeypatch, memory, chosen):
    """Whatever memory the machine has on which it goes on."""
    from xmtc.execution import auto

    monkeypatch.setattr(auto, "total_memory", lambda device: memory)
    first, folder = train(*OPTIONS, "recipe.max_epochs=1")
    monkeypatch.setattr(auto, "total_memory", lambda device: 2**57 // memory)
    other, _ = train(*OPTIONS, "recipe.max_epochs=1", "seed=1")
    again = xmtc.run([f"resume={folder}", "recipe.max_epochs=2"])
    assert first["provenance"]["execution"] == again["provenance"]["execution"] == chosen
    assert other["provenance"]["execution"] != chosen
    (folder / "choices.json").write_text('{"execution": {"_target_": "os.system"}}')
    with pytest.raises(InputError, match="choices.json: changed or damaged"):
        xmtc.run([f"resume={folder}", "recipe.max_epochs=3"])


@pytest.mark.parametrize("content, message", [
    ('{"execution": {"_target_": "os.system"}}', "choices.json: expected one of xmtc.execution.dense.Dense"),
    ('{"execution": {"_target_": ["x"]}}', "choices.json: not readable"),
    ('{"execution": {"_target_": "xmtc.execution.chunked.Chunked", "keep_row": 1}}', "did you mean keep_raw"),
    ("{}", "choices.json: not readable"), ("[]", "choices.json: not readable"), ("{", "choices.json: not readable"),
])  # fmt: skip
def test_choices_that_no_run_has_made(tmp_path, content, message):
    from xmtc.training.choices import with_choices

    config = {"execution": {"_target_": "xmtc.execution.auto.auto"}}
    assert with_choices(config, tmp_path) == config
    (tmp_path / "choices.json").write_text(content)
    with pytest.raises(InputError, match=message):
        with_choices(config, tmp_path)


def test_a_run_goes_on_with_its_own_corpus_wherever_that_lies(cache, tmp_path, monkeypatch):
    """With another one, whose labels and words have the same numbers, each would stand for something else."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for part in ("train", "dev", "test"):
        (corpus / f"{part}_texts.txt").write_text("cod and herring\ntariff on steel\n" * 30)
        (corpus / f"{part}_labels.txt").write_text("fish\ntrade\n" * 30)
    folder, given = tmp_path / "run", ["dataset=folder", f"dataset.path={corpus}", f"paths.cache_dir={cache}"]
    xmtc.run([*OPTIONS, *given, "recipe.max_epochs=1", "logger=csv", f"hydra.run.dir={folder}", "prepare_workers=1"])
    before = everything(folder)
    moved = corpus.rename(tmp_path / "moved")
    with pytest.raises(InputError, match="corpus: no such corpus folder; set .*dataset.path for your own"):
        xmtc.run([f"resume={folder}", "recipe.max_epochs=2"])
    original = (moved / "train_labels.txt").read_text()
    (moved / "train_labels.txt").write_text("trade\nfish\n" * 30)
    with pytest.raises(InputError, match=f"^resume: the corpus is not the one that {folder} was trained on"):
        xmtc.run([f"resume={folder}", "recipe.max_epochs=2", f"dataset.path={moved}"])
    assert everything(folder) == before
    (moved / "train_labels.txt").write_text(original)
    with monkeypatch.context() as another_version:
        another_version.setattr(Words, "splitter", lambda self: "another")
        another_version.setattr(Words, "tokenise", lambda self, text: [f"{word}s" for word in text.split()])
        with pytest.raises(InputError, match=f"^resume: {folder} was trained on other words"):
            xmtc.run([f"resume={folder}", "recipe.max_epochs=2", f"dataset.path={moved}"])
    assert everything(folder) == before
    assert xmtc.run([f"resume={folder}", "recipe.max_epochs=2", f"dataset.path={moved}"])["steps"] == 4


def test_a_new_run_does_not_replace_one_that_is_there(train, small, python):
    _, folder = train(*OPTIONS)
    begin = [*small, *OPTIONS, f"hydra.run.dir={folder}", "seed=7"]
    before = everything(folder)
    with pytest.raises(InputError, match=f"hydra.run.dir: {folder} holds a finished run; resume={folder} goes on"):
        xmtc.run(begin)
    (folder / "metrics.json").rename(folder / "kept")
    with pytest.raises(InputError, match="holds a stopped run"):
        xmtc.run(begin)
    (folder / "kept").rename(folder / "metrics.json")
    assert everything(folder) == before
    done = subprocess.run([python, "-m", "xmtc.run", *begin], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "holds a finished run" in done.stderr
    assert everything(folder) == before  # nothing of Hydra's either


def test_a_new_run_keeps_nothing_of_one_that_cannot_go_on(train, small, monkeypatch):
    """Else a kill before its own first checkpoint would leave the other's best weights and curves as its own."""
    _, folder = train(*OPTIONS)
    for name in WORTH:
        (folder / name).unlink(missing_ok=True)
    (folder / "calibration.json").write_text("{}")
    begin = [*small, *OPTIONS, f"hydra.run.dir={folder}", "seed=7"]
    with monkeypatch.context() as patch, pytest.raises(InputError, match="out of memory while training"):
        patch.setattr("xmtc.training.session.build", lambda config: (_ for _ in ()).throw(MemoryError()))
        xmtc.run(begin)
    assert not set(everything(folder)) & set(RESTS)
    with pytest.raises(InputError, match="has no checkpoints/last.ckpt"):
        xmtc.run([f"resume={folder}"])
    assert xmtc.run(begin)["provenance"]["seed"] == 7


def everything(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_does_not_start_from_the_weights_that_it_replaces(train, small):
    _, folder = train(*OPTIONS)
    best = (folder / "checkpoints" / "best.ckpt").read_bytes()
    with pytest.raises(InputError, match="init_from: .* is where this run is to be written"):
        xmtc.run([*small, *OPTIONS, f"hydra.run.dir={folder}", f"init_from={folder}"])
    assert (folder / "checkpoints" / "best.ckpt").read_bytes() == best


def test_a_calibration_ends_with_the_weights_that_it_was_fitted_to(train):
    from xmtc.calibrate import calibrate

    _, folder = train(*OPTIONS, "recipe.optimizer.lr=2e-2")
    calibrate(folder)
    assert (folder / "calibration.json").exists()
    xmtc.run([f"resume={folder}"])  # nothing to do: the same weights
    assert (folder / "calibration.json").exists()
    first = (folder / "checkpoints" / "best.ckpt").read_bytes()
    xmtc.run([f"resume={folder}", "recipe.max_epochs=8"])
    assert (folder / "checkpoints" / "best.ckpt").read_bytes() != first
    assert not (folder / "calibration.json").exists()


@pytest.mark.parametrize("step", ["validation_step", "test_step"])
def test_sigterm_within_the_last_evaluations_is_told_as_such(small, tmp_path, monkeypatch, step):
    """A scheduler starts again what ends with 75, not what was interrupted."""
    import os
    import signal

    from xmtc.errors import Preempted
    from xmtc.training.module import XMTCModule

    begin = [*small, *OPTIONS, f"hydra.run.dir={tmp_path / 'run'}", "data.evaluation_batch_size=10"]
    usual = getattr(XMTCModule, step)

    def stopped(self, *given):
        if step == "test_step" or self.trainer.state.fn == "validate":
            os.kill(os.getpid(), signal.SIGTERM)
        return usual(self, *given)

    with monkeypatch.context() as patch, pytest.raises(Preempted):
        patch.setattr(XMTCModule, step, stopped)
        xmtc.run(begin)
    result = xmtc.run([f"resume={tmp_path / 'run'}"])
    assert result["test"] == xmtc.run([*begin, f"hydra.run.dir={tmp_path / 'other'}"])["test"]


def test_resume_refuses_what_would_be_another_run(train):
    _, folder = train(*OPTIONS)
    with pytest.raises(InputError, match="head.rank=9.*init_from"):
        xmtc.run([f"resume={folder}", "head.rank=9"])


def test_init_from_takes_weights_and_keeps_a_new_head_as_made(train):
    plain, folder = train(*OPTIONS[:1], "head=none", *OPTIONS[2:3], "recipe.max_epochs=2")
    warm, second = train(*OPTIONS, f"init_from={folder}", "recipe.optimizer.lr=1e-12")
    theirs = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    ours = torch.load(second / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    torch.testing.assert_close(ours["decoder.weight"], theirs["decoder.weight"])
    # the head starts as the identity, so the warm start scores what the plain run scored
    assert warm["test"]["nDCG@5"] == plain["test"]["nDCG@5"]
    # where it comes from: the other run's origin as well, also of a third one, and of a resumed run when those are gone
    first, born = plain["provenance"], warm["provenance"]
    assert born["command"].startswith(f"{first['command']} && python -m xmtc.run ") and "init_from=" in born["command"]
    assert born["started_from"] == {key: first[key] for key in ("commit", "dirty", "command", "seed", "dataset_sha256")}
    third, folder = train(*OPTIONS, f"init_from={second}", "seed=4")
    assert third["provenance"]["command"].count(" && ") == 2
    assert third["provenance"]["started_from"]["started_from"] == born["started_from"]
    shutil.rmtree(second)
    again = xmtc.run([f"resume={folder}", "recipe.max_epochs=3"])["provenance"]
    assert again["started_from"] == third["provenance"]["started_from"]
    one, two, three, went_on = again["command"].split(" && ")
    assert " && ".join([one, two, three]) == third["provenance"]["command"]
    assert went_on == f"{three} recipe.max_epochs=3 resume=RUN_DIR"
    assert settings_of(again["command"])["continues"].startswith("alike(recipe.max_epochs=1 init_from=alike(")


def test_a_signal_within_the_last_step_is_not_lost(small, tmp_path, monkeypatch):
    import os
    import signal

    from xmtc.errors import Preempted
    from xmtc.training.checkpoints import Checkpoints

    end = Checkpoints.on_train_end

    def stopped(self, trainer, module):
        os.kill(os.getpid(), signal.SIGTERM)
        end(self, trainer, module)

    monkeypatch.setattr(Checkpoints, "on_train_end", stopped)
    with pytest.raises(Preempted):
        xmtc.run([*small, *OPTIONS, f"hydra.run.dir={tmp_path / 'run'}"])
    monkeypatch.undo()
    assert xmtc.run([f"resume={tmp_path / 'run'}"])["steps"] == 5
