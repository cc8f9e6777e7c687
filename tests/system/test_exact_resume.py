"""A run that goes on from any of its checkpoints ends as the run that was never stopped: to the bit, on a CPU."""

import shutil

import pytest

import xmtc
from tests.system.conftest import SMALL
from tests.system.contents import contents, difference
from xmtc.training.checkpoints import Checkpoints

# 160 documents in batches of 16: ten steps an epoch, an evaluation every seven
BASE = (
    "encoder=bow",
    "head=lcenet",
    "encoder.embedding.size=16",
    "head.rank=4",
    "data.batch_size=16",
    "recipe.max_epochs=3",
    "recipe.validation.interval=7",
    "recipe.validation.epochs=null",
    "checkpoints.steps=1",
)
RUNS = {
    "dropout": ("encoder.dropout=0.5", "encoder.word_dropout=0.2", "head.dropout=0.3"),
    "bucketing, a loader process": ("data.bucketing=true", "data.workers=1"),
    "mean of snapshots, adaptive clipping": (
        "+recipe.averaging={_target_: xmtc.training.averaging.RunningMean, start_epoch: 1, every: 2}",
        "+recipe.clipping={_target_: xmtc.training.clipping.AdaptiveClipping}",
    ),
    "chunks, Adam within the sweep": ("execution=chunked", "execution.chunk=30", "execution.update=adam"),
    "chunks, rows in bfloat16": ("execution=chunked", "execution.chunk=30", "execution.update=sgd"),
    "gradients of two batches": ("trainer.accumulate_grad_batches=2", "recipe.validation.interval=4"),
    "early stopping": ("recipe.validation.patience=2", "recipe.optimizer.lr=0.5"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("options", RUNS.values(), ids=RUNS)
def test_from_any_step_to_the_same_bits(options, cache, tmp_path, monkeypatch):
    saved, save_last = {}, Checkpoints.save_last

    def keep(self, trainer):
        save_last(self, trainer)
        if self.folder.parent == tmp_path / "whole" and trainer.global_step not in saved:
            saved[trainer.global_step] = tmp_path / f"at{trainer.global_step}"
            shutil.copytree(self.folder, saved[trainer.global_step] / "checkpoints")

    monkeypatch.setattr(Checkpoints, "save_last", keep)
    folder = tmp_path / "whole"
    whole = xmtc.run([*SMALL, f"paths.cache_dir={cache}", *BASE, *options, f"hydra.run.dir={folder}"])
    wanted = contents(folder)
    steps = sorted(saved)
    assert len(steps) >= 6 and steps[-1] == whole["steps"]
    # the start, before an evaluation and behind it, an epoch's end, within the last epoch, the very end
    chosen = {steps[0], 6, 7, 10, 23, steps[-1]} if "dropout" in str(options) else {6, 10, steps[-3]}
    chosen |= {steps[-1]} if "patience" in str(options) else set()  # nothing is left to train, only to test
    for step in chosen & set(steps):
        again = saved[step]
        for file in ("overrides.yaml", "config.yaml", "curves.csv"):
            shutil.copyfile(folder / file, again / file)
        result = xmtc.run([f"resume={again}"])
        assert result["provenance"]["resumed_from_step"] == [step]
        assert difference(contents(again), wanted) == ""
        assert result["test"] == whole["test"] and result["best"] == whole["best"]
