"""A run that stopped goes on; a new run starts from another's weights."""

import json

import torch
import yaml

import xmtc

OPTIONS = ("encoder=bow", "head=lcenet", "encoder.embedding.size=16", "head.rank=4", "data.batch_size=32")


def test_resume_goes_on_in_the_same_directory(train):
    first, folder = train(*OPTIONS, "recipe.max_epochs=2")
    again = xmtc.run([f"resume={folder}", "recipe.max_epochs=4"])
    assert first["steps"] == 10 and again["steps"] == 20
    assert again["provenance"]["resumed_from_step"] == [10]
    rows = (folder / "curves.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["5", "10", "15", "20"]
    assert json.loads((folder / "metrics.json").read_text())["steps"] == 20
    assert "recipe.max_epochs=2" in yaml.safe_load((folder / "overrides.yaml").read_text())


def test_resume_refuses_what_would_be_another_run(train):
    import pytest

    from xmtc.errors import InputError

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


def test_a_signal_within_the_last_step_is_not_lost(small, tmp_path, monkeypatch):
    import os
    import signal

    import pytest

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
