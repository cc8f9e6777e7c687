"""What best.ckpt and last.ckpt hold, and that a run goes on from the latter as if it had not stopped."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch

from xmtc.errors import InputError, Preempted
from xmtc.training.averaging import RunningMean
from xmtc.training.checkpoints import Checkpoints, DirectIO, load_best
from xmtc.training.clipping import AdaptiveClipping
from xmtc.training.kept import write
from xmtc.training.module import XMTCModule


class Scores(pl.Callback):
    """Logs the scores it is given, one an evaluation, as `val/chosen`."""

    def __init__(self, *scores):
        self.scores = list(scores)

    def on_validation_epoch_end(self, trainer, module):
        module.log("val/chosen", self.scores.pop(0))


def load(path):
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize(
    ("scores", "best"),
    [([0.1, 0.3, 0.2, 0.3, 0.1], 4), ([0.1, 0.2, 0.3, 0.4, 0.5], 10), ([0.0, 0.0, 0.0, 0.0, 0.0], 2)],
)
def test_best_holds_the_weights_that_were_evaluated_first_with_the_best_score(
    make_module, fit, steps, tmp_path, scores, best
):
    module, checkpoints = make_module(), Checkpoints(tmp_path / "checkpoints", "val/chosen")
    fit(module, checkpoints, steps, Scores(*scores), RunningMean(0, 2))  # Lightning runs checkpoints last
    content = load(tmp_path / "checkpoints" / "best.ckpt")
    assert content["step"] == checkpoints.best_step == best and content["monitor"] == "val/chosen"
    assert content["score"] == pytest.approx(max(scores))
    evaluated = steps.evaluated[best]
    torch.testing.assert_close({name: content["state_dict"][name] for name in evaluated}, evaluated, rtol=0, atol=0)
    assert not torch.equal(evaluated["decoder.weight"], steps.weights[best]["decoder.weight"])
    other = make_module()
    torch.nn.init.zeros_(other.decoder.weight)
    answer = load_best(tmp_path / "checkpoints", other)
    assert answer == {"step": best, "score": content["score"], "monitor": "val/chosen"}
    torch.testing.assert_close(dict(other.named_parameters()), evaluated, rtol=0, atol=0)


def test_without_averaging_best_holds_the_weights_of_its_step(make_module, fit, steps, tmp_path):
    fit(make_module(), steps, Scores(0.1, 0.3, 0.2, 0.2, 0.1), Checkpoints(tmp_path, "val/chosen"))
    weights = load(tmp_path / "best.ckpt")["state_dict"]
    torch.testing.assert_close({n: weights[n] for n in steps.weights[4]}, steps.weights[4], rtol=0, atol=0)


def parts(folder):
    return RunningMean(0, 2), AdaptiveClipping(), Checkpoints(folder)


def test_last_goes_on_as_if_the_run_had_not_stopped(make_module, fit, steps, tmp_path):
    whole, averaging, _ = parts(tmp_path / "whole")
    straight = make_module()
    fit(straight, steps, whole, averaging, _, max_epochs=3)
    first = parts(tmp_path / "first")
    fit(make_module(), *first, max_epochs=1)
    resumed, again = make_module(), parts(tmp_path / "again")
    trainer = fit(resumed, *again, max_epochs=3, ckpt_path=tmp_path / "first" / "last.ckpt")
    assert trainer.global_step == 15
    torch.testing.assert_close(resumed.state_dict(), straight.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(again[0].average, whole.average, rtol=0, atol=0)
    assert again[0].count == whole.count == 8 and again[1].recorded.tolist() == averaging.recorded.tolist()
    assert load(tmp_path / "again" / "last.ckpt")["global_step"] == 15
    torch.testing.assert_close(dict(resumed.named_parameters()), steps.weights[15], rtol=0, atol=0)


def test_a_resumed_run_still_knows_its_best_score(make_module, fit, tmp_path):
    fit(make_module(), Scores(0.1, 0.9), Checkpoints(tmp_path, "val/chosen"), max_epochs=1)
    later = Checkpoints(tmp_path, "val/chosen")
    fit(make_module(), Scores(0.5, 0.5, 0.5), later, ckpt_path=tmp_path / "last.ckpt")
    assert later.best_step == load(tmp_path / "best.ckpt")["step"] == 4
    assert later.best_score == pytest.approx(0.9)


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt(), ValueError("no tensor")])
def test_nothing_temporary_is_left_and_a_failed_write_keeps_the_old_file(make_module, fit, tmp_path, error):
    fit(make_module(), Checkpoints(tmp_path / "kept"))
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"best.ckpt", "last.ckpt", "hashes"}

    def fails(path):
        with open(path, "w") as file:
            file.write("half")
        raise error

    file = tmp_path / "alone" / "file"
    write(file, lambda path: Path(path).write_text("whole") and "its checksum")
    with pytest.raises(type(error)):
        write(file, fails)
    assert file.read_text() == "whole" and {path.name for path in file.parent.iterdir()} == {"file", "hashes"}


@pytest.fixture
def handlers():
    """Lightning ends the process and ignores further signals, which later tests should not inherit."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_interrupted_within_an_evaluation_last_holds_the_raw_weights(
    make_module, fit, steps, tmp_path, monkeypatch, handlers
):
    validate = XMTCModule.validation_step

    def interrupted(self, batch, number):
        if 4 in steps.weights:
            os.kill(os.getpid(), signal.SIGINT)
        validate(self, batch, number)

    monkeypatch.setattr(XMTCModule, "validation_step", interrupted)
    with pytest.raises(SystemExit):
        fit(make_module(), steps, RunningMean(0, 1), Checkpoints(tmp_path))
    content = load(tmp_path / "last.ckpt")
    assert content["global_step"] == 4
    for name, weight in steps.weights[4].items():
        assert torch.equal(content["state_dict"][name], weight)
    average = content["callbacks"]["RunningMean"]["average"]["decoder.weight"]
    torch.testing.assert_close(average, sum(steps.weights[s]["decoder.weight"] for s in range(5)) / 5)


class Signal(pl.Callback):
    """Sends a signal within a step or an evaluation, `times` times."""

    def __init__(self, number, hook, step, times=1):
        self.number, self.step, self.left = number, step, times
        setattr(self, hook, self.send)

    def send(self, trainer, *_):
        while trainer.global_step == self.step and self.left:
            self.left -= 1
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number, error", [(signal.SIGINT, SystemExit), (signal.SIGTERM, Preempted)])
@pytest.mark.parametrize(
    "hook, step", [("on_before_optimizer_step", 2), ("on_validation_batch_start", 2), ("on_validation_batch_end", 4)]
)
def test_a_run_stopped_by_a_signal_goes_on_to_the_same_bits(
    make_module, fit, steps, tmp_path, handlers, number, error, hook, step
):
    """An evaluation that was cut is made again, whole."""
    whole = Checkpoints(tmp_path / "whole")
    straight = make_module()
    fit(straight, steps, whole)
    with pytest.raises(error):
        fit(make_module(), Signal(number, hook, step), Checkpoints(tmp_path / "cut"))
    saved = load(tmp_path / "cut" / "last.ckpt")["global_step"]
    assert saved == (step + 1 if "optimizer" in hook else step)
    resumed, again, seen = make_module(), Checkpoints(tmp_path / "cut"), type(steps)()
    fit(resumed, again, seen, ckpt_path=tmp_path / "cut" / "last.ckpt")
    torch.testing.assert_close(resumed.state_dict(), straight.state_dict(), rtol=0, atol=0)
    assert (again.best_step, again.best_score) == (whole.best_step, whole.best_score)
    assert set(seen.evaluated) == {at for at in steps.evaluated if at >= (step if "validation" in hook else step + 1)}


def test_stopped_in_an_evaluation_between_batches_of_one_step_no_gradient_is_lost(make_module, fit, tmp_path, handlers):
    """Of three batches, two made the first step; what the third has collected is not part of a checkpoint."""
    options = {"accumulate_grad_batches": 2, "val_check_interval": 3}
    straight, resumed = make_module(), make_module()
    fit(straight, Checkpoints(tmp_path / "whole"), **options)
    cut = Checkpoints(tmp_path / "cut")
    with pytest.raises(SystemExit):
        fit(make_module(), Signal(signal.SIGINT, "on_validation_batch_start", 1), cut, **options)
    fit(resumed, Checkpoints(tmp_path / "cut"), ckpt_path=tmp_path / "cut" / "last.ckpt", **options)
    torch.testing.assert_close(resumed.state_dict(), straight.state_dict(), rtol=0, atol=0)


def test_a_second_ctrl_c_stops_at_once_and_saves_nothing(make_module, fit, tmp_path, handlers):
    with pytest.raises(SystemExit):
        fit(make_module(), Signal(signal.SIGINT, "on_before_optimizer_step", 2, times=2), Checkpoints(tmp_path))
    assert not (tmp_path / "last.ckpt").exists()


def test_time_alone_saves_between_evaluations(make_module, fit, tmp_path):
    checkpoints, seen = Checkpoints(tmp_path, minutes=0), []
    checkpoints.save_last = lambda trainer: seen.append(trainer.global_step)
    fit(make_module(), checkpoints, validate=False, max_epochs=1)
    assert seen == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(("cost", "age"), [(1, 60), (6, 60), (30, 300)])
def test_what_takes_long_to_write_is_written_more_rarely(tmp_path, monkeypatch, cost, age):
    """`age` seconds pass between two that take `cost` seconds: a tenth of the time at most."""
    clock = SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr("xmtc.training.checkpoints.time", clock)

    def save(path):
        clock.now += cost
        Path(path).write_text("weights")

    checkpoints = Checkpoints(tmp_path, minutes=1, share=0.1)
    strategy = SimpleNamespace(checkpoint_io=DirectIO())
    trainer = SimpleNamespace(global_step=1, is_global_zero=True, save_checkpoint=save, strategy=strategy)
    checkpoints.save_last(trainer)
    clock.now += age
    assert not checkpoints._due(trainer)
    clock.now += 0.1
    assert checkpoints._due(trainer)
    assert not checkpoints._due(SimpleNamespace(global_step=1, is_global_zero=False)), "the one that writes decides"
    assert checkpoints.seconds == cost
    checkpoints.best.cost = 100 * cost  # of the same share
    assert not checkpoints._due(trainer)


@pytest.mark.parametrize("share", [0, -1, 1.5])
def test_an_impossible_share_is_refused(tmp_path, share):
    with pytest.raises(InputError, match=r"checkpoints\.share"):
        Checkpoints(tmp_path, share=share)


def test_steps_bound_the_age_too(make_module, fit, tmp_path):
    checkpoints, seen = Checkpoints(tmp_path, minutes=None, steps=2), []
    save = checkpoints.save_last
    checkpoints.save_last = lambda trainer: (seen.append(trainer.global_step), save(trainer))
    fit(make_module(), checkpoints)
    assert seen == [2, 4, 6, 8, 10]


def test_a_disabled_checkpoint_writes_nothing(make_module, fit, tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.enabled = False
    checkpoints.on_validation_end(None, None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("rank", [0, 1])
def test_of_two_processes_the_first_alone_renames(tmp_path, rank):
    """The second may leave Lightning's barrier while the file still has its temporary name."""
    trainer = SimpleNamespace(
        global_step=3, is_global_zero=rank == 0, save_checkpoint=lambda path: Path(path).write_text("whole"),
        strategy=SimpleNamespace(checkpoint_io=DirectIO()),
    )  # fmt: skip
    Checkpoints(tmp_path).save_last(trainer)
    files = {file.name for file in tmp_path.iterdir()}
    assert files == ({"last.ckpt", "hashes"} if rank == 0 else {".last.ckpt.tmp"})
