"""When best.ckpt is written, and what is held until then."""

from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch

from xmtc.errors import InputError
from xmtc.training import best
from xmtc.training.best import Best
from xmtc.training.checkpoints import Checkpoints


def content(score, **weights):
    return {"state_dict": weights or {"a": torch.full((3,), score)}, "step": 1, "score": score, "monitor": "m"}


def on_disk(folder):
    return torch.load(folder / "best.ckpt", weights_only=True)["score"]


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so, or one for each file written."""
    clock = SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    write = best.write

    def slow(path, save):
        write(path, save)
        clock.now += 1

    monkeypatch.setattr(best, "time", clock)
    monkeypatch.setattr(best, "write", slow)
    return clock


def test_the_first_is_written_at_once_and_the_next_when_its_time_has_come(tmp_path, clock):
    kept = Best(tmp_path, share=0.1)
    assert kept.offer(content(0.1)) == 1 and on_disk(tmp_path) == 0.1 and kept.held is None
    assert kept.offer(content(0.2)) == 0 and kept.offer(content(0.3)) == 0
    assert on_disk(tmp_path) == 0.1 and kept.held["score"] == 0.3
    clock.now += 10
    assert not kept.due()
    clock.now += 0.1
    assert kept.due() and kept.flush() == 1
    assert on_disk(tmp_path) == 0.3 and kept.held is None and kept.flush() == 0
    clock.now += 11
    assert kept.offer(content(0.4)) == 1 and on_disk(tmp_path) == 0.4


def test_what_is_held_is_a_copy(tmp_path, clock):
    kept, weights = Best(tmp_path, 0.1), {"a": torch.ones(3), "other": "no tensor"}
    kept.offer(content(0.1))
    kept.offer(content(0.2, **weights))
    weights["a"].zero_()
    kept.flush()
    found = torch.load(tmp_path / "best.ckpt", weights_only=True)["state_dict"]
    assert found["a"].tolist() == [1, 1, 1] and found["other"] == "no tensor"


def test_what_is_held_stays_in_its_memory_and_other_shapes_get_their_own(tmp_path, clock):
    kept = Best(tmp_path, 0.1)
    kept.offer(content(0.1))
    kept.offer(content(0.2, a=torch.ones(3), b=torch.ones(2), c="a word"))
    held = kept.held["state_dict"]
    kept.offer(content(0.3, a=torch.full((3,), 2.0), b=torch.zeros(4), c=torch.ones(1), d=torch.arange(2)))
    again = kept.held["state_dict"]
    assert again["a"] is held["a"] and again["a"].tolist() == [2, 2, 2]
    assert again["b"].tolist() == [0, 0, 0, 0] and again["c"].tolist() == [1] and again["d"].tolist() == [0, 1]


def test_both_files_share_one_budget(tmp_path, clock):
    kept = Best(tmp_path, share=0.1)
    kept.offer(content(0.1))
    kept.beside = 3
    clock.now += 39  # one second for itself and three for last.ckpt: a tenth of forty
    assert not kept.due()
    clock.now += 1.1
    assert kept.due()


def test_of_large_weights_there_is_no_copy(tmp_path, clock, monkeypatch):
    monkeypatch.setattr(best, "LARGE", 8)
    kept = Best(tmp_path, 0.1)
    for score in (0.1, 0.2):
        assert kept.offer(content(score, a=torch.ones(3))) == 1 and kept.held is None and on_disk(tmp_path) == score
    assert kept.offer(content(0.3, a=torch.ones(2))) == 0


def test_a_better_one_that_is_written_replaces_what_was_held(tmp_path, clock):
    kept = Best(tmp_path, 0.1)
    kept.offer(content(0.1))
    kept.offer(content(0.2))
    clock.now += 100
    kept.offer(content(0.3))
    assert kept.held is None and kept.flush() == 0 and on_disk(tmp_path) == 0.3


def test_a_full_disk_is_met_once(tmp_path, clock, monkeypatch):
    kept = Best(tmp_path, 0.1)
    kept.offer(content(0.1))
    kept.offer(content(0.2))

    def full(*_):
        raise OSError("no space")

    monkeypatch.setattr(best, "write", full)
    with pytest.raises(OSError, match="no space"):
        kept.flush()
    assert kept.flush() == 0 and on_disk(tmp_path) == 0.1


class Rising(pl.Callback):
    """A better score at each evaluation, and an error after `steps` steps."""

    def __init__(self, error=None, steps=None):
        self.error, self.steps, self.score = error, steps, 0

    def on_validation_epoch_end(self, trainer, module):
        self.score += 1
        module.log("val/chosen", float(self.score))

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == self.steps:
            raise self.error


def never(checkpoints):
    """Once one is written, the next has to wait for ever."""
    checkpoints.best.due = lambda: not checkpoints.best.path.exists()
    return checkpoints


def test_the_end_of_training_writes_what_is_held(make_module, fit, steps, tmp_path):
    fit(make_module(), steps, Rising(), never(Checkpoints(tmp_path, "val/chosen")))
    found = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert found["step"] == 10 and torch.equal(
        found["state_dict"]["decoder.weight"], steps.weights[10]["decoder.weight"]
    )


def test_an_evaluation_behind_the_last_step_writes_at_once(make_module, fit, steps, tmp_path):
    module, checkpoints = make_module(), never(Checkpoints(tmp_path, "val/chosen"))
    trainer = fit(module, steps, Rising(), checkpoints)
    assert on_disk(tmp_path) == 5
    trainer.validate(module, trainer.val_dataloaders, verbose=False)
    assert on_disk(tmp_path) == 6 and checkpoints.best_score == 6


@pytest.mark.parametrize(("error", "step"), [(ValueError("diverged"), 8), (KeyboardInterrupt(), 2)])
def test_an_error_writes_what_is_held_and_a_second_ctrl_c_does_not(make_module, fit, tmp_path, error, step):
    checkpoints = never(Checkpoints(tmp_path, "val/chosen"))
    with pytest.raises((ValueError, SystemExit)):
        fit(make_module(), Rising(error, 9), checkpoints)
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["step"] == step


def test_last_never_knows_a_better_score_than_best_holds(make_module, fit, tmp_path):
    checkpoints = never(Checkpoints(tmp_path, "val/chosen", minutes=None, steps=3))
    seen, save = [], checkpoints.save_last

    def saved(trainer):
        save(trainer)
        last = torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"]["Checkpoints"]
        seen.append((last["best_step"], torch.load(tmp_path / "best.ckpt", weights_only=True)["step"]))

    checkpoints.save_last = saved
    fit(make_module(), Rising(), checkpoints)
    assert len(seen) >= 3 and all(last == written for last, written in seen)


@pytest.mark.parametrize("processes", [1, 2])
def test_the_end_reads_from_memory_what_it_has_written_but_not_what_another_process_has(
    make_module, fit, steps, tmp_path, monkeypatch, processes
):
    module, checkpoints = make_module(), never(Checkpoints(tmp_path, "val/chosen"))
    trainer = fit(module, steps, Rising(), checkpoints)
    (tmp_path / "best.ckpt").unlink()  # whoever reads it finds out
    trainer = SimpleNamespace(world_size=processes)
    torch.nn.init.zeros_(module.decoder.weight)
    if processes == 2:
        with pytest.raises(InputError, match="missing"):
            checkpoints.load_best(trainer, module)
        return
    found = checkpoints.load_best(trainer, module)
    assert found == {"step": 10, "score": 5.0, "monitor": "val/chosen"}
    assert torch.equal(module.decoder.weight, steps.weights[10]["decoder.weight"])
    with pytest.raises(InputError, match="missing"):
        checkpoints.load_best(trainer, module)  # the memory is given back


class Falling(Rising):
    """The best score first, and worse ones from then on."""

    def on_validation_epoch_end(self, trainer, module):
        self.score -= 1
        module.log("val/chosen", float(self.score))


def test_a_best_that_was_written_earlier_is_read_from_its_file(make_module, fit, steps, tmp_path):
    module, checkpoints = make_module(), Checkpoints(tmp_path, "val/chosen")
    trainer = fit(module, steps, Falling(), checkpoints)
    assert checkpoints.load_best(trainer, module)["step"] == 2
    assert torch.equal(module.decoder.weight, steps.weights[2]["decoder.weight"])
