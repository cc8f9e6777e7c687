"""xmtc.search: what is searched, that trials are stopped and continued, that the test set is out of reach."""

import argparse
import json
import os
import shlex
import signal
import sys
import threading
import time

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

optuna = pytest.importorskip("optuna")

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # noqa: E402
from optuna.trial import TrialState  # noqa: E402

from xmtc.errors import InputError  # noqa: E402
from xmtc.search import finalists, main  # noqa: E402
from xmtc.searching.space import read_space  # noqa: E402
from xmtc.searching.study import Search  # noqa: E402
from xmtc.sweeping.devices import cpu_slots  # noqa: E402
from xmtc.sweeping.jobs import Job  # noqa: E402
from xmtc.sweeping.pool import locked  # noqa: E402

# trains by x: 6 evaluations that approach it, and after some seconds metrics.json
SCRIPT = """
import json, pathlib, sys, time
folder, x, seconds, words = pathlib.Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]
(folder / "checkpoints").mkdir(exist_ok=True)
with open(folder / "starts", "a") as file:
    file.write(" ".join(words) + "\\n")
lines = ["step,val/nDCG@5"]
for step in range(6):
    lines.append(f"{step},{x * (step + 1) / 6}")
    (folder / "curves.csv").write_text("\\n".join(lines) + "\\n")
(folder / "checkpoints" / "last.ckpt").touch()
time.sleep(seconds)
(folder / "metrics.json").write_text(json.dumps({"best": {"score": x}, "test": None}))
"""


class Fake(Job):
    seconds = 0.0

    def command(self):
        x = next(word.partition("=")[2] for word in self.overrides if word.startswith("x="))
        cut = ["resume"] if self.cut else []
        return [sys.executable, "-c", SCRIPT, str(self.folder), x, str(self.seconds), *cut, *self.overrides]


class Endless(Fake):
    """Does not end before somebody has seen its evaluations, however slow the machine."""

    seconds = 250.0


class Lagging(Fake):
    @property
    def seconds(self):
        return Endless.seconds if "x=0.1" in self.overrides else 0.0


def search(tmp_path, space=None, job=Fake, jobs=1):
    space = space or {"x": FloatDistribution(0.1, 0.9)}
    return Search(tmp_path, ["head=none", "seed=0"], space, cpu_slots(jobs), job=job, pause=0.01)


def test_trials_end_are_kept_and_never_see_test(tmp_path):
    found = search(tmp_path, jobs=2)
    found.run(5)
    folders = sorted((tmp_path / "trials").iterdir())
    assert len(folders) == 5
    for folder in folders:
        assert (folder / "starts").read_text().split()[-1] == "test=false"
    best = found.best(2)
    scores = sorted((json.loads((f / "metrics.json").read_text())["best"]["score"] for f in folders
                     if (f / "metrics.json").exists()), reverse=True)  # fmt: skip
    assert [trial.value for trial in best] == scores[:2] and best[0].params["x"] == pytest.approx(best[0].value)
    again = search(tmp_path)
    again.run(6)  # five are there
    assert len(list((tmp_path / "trials").iterdir())) == 6


class Broken(Fake):
    def command(self):
        return [sys.executable, "-c", "import sys; sys.exit('no such rate')"]


def test_why_a_trial_failed_is_told(tmp_path, caplog):
    caplog.set_level("INFO")
    found = search(tmp_path, job=Broken)
    found.run(1)
    assert f"trial 0: failed: no such rate ({tmp_path}/trials/0000/job.log)" in caplog.text and not found.best(1)


def test_a_trial_that_lags_is_stopped(tmp_path):
    space = {"x": CategoricalDistribution(["0.9", "0.1"])}
    found = search(tmp_path, space, Lagging)
    for x in ("0.9",) * 4 + ("0.1",):
        found.study.enqueue_trial({"x": x})
    found.run(5)
    states = [trial.state for trial in found.study.trials]
    assert states == [TrialState.COMPLETE] * 4 + [TrialState.PRUNED]
    assert not (tmp_path / "trials" / "0004" / "metrics.json").exists()


def test_a_search_that_was_stopped_goes_on_with_the_cut_trial(tmp_path):
    found = search(tmp_path, job=Endless)
    cut = tmp_path / "trials" / "0000"

    def stop():
        while not (cut / "checkpoints" / "last.ckpt").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        found.run(3)
    thread.join()
    assert not (cut / "metrics.json").exists()
    again = search(tmp_path)
    again.run(3)
    complete = [trial for trial in again.study.trials if trial.state == TrialState.COMPLETE]
    assert len(complete) == 3 and (cut / "starts").read_text().splitlines()[1].startswith("resume")
    assert len((cut / "starts").read_text().splitlines()) == 2 and (cut / "metrics.json").exists()


# asked to stop, it waits for the others to be asked as well before it writes its checkpoint
TOGETHER = """
import pathlib, signal, sys, time
folder, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])
def asked(number, frame):
    (folder / "asked").touch()
    while len(list(folder.parent.glob("*/asked"))) < count:
        time.sleep(0.01)
    (folder / "wrote").touch()
    sys.exit(130)
signal.signal(signal.SIGINT, asked)
(folder / "started").touch()
time.sleep(250)
"""


class Together(Job):
    def command(self):
        return [sys.executable, "-c", TOGETHER, str(self.folder), "2"]


def test_trials_are_stopped_together_and_not_one_after_the_other(tmp_path):
    found = search(tmp_path, job=Together, jobs=2)

    def stop():
        while len(list(tmp_path.glob("trials/*/started"))) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        found.run(2)
    thread.join()
    assert len(list(tmp_path.glob("trials/*/wrote"))) == 2


def test_a_trial_that_outlived_its_search_is_waited_for_and_counts(tmp_path, caplog):
    """The search was killed: nobody told the study how its trial ended, and a second process would write beside it."""
    killed = search(tmp_path)
    trial, folder = killed.study.ask(killed.space), tmp_path / "trials" / "0000"
    trial.set_user_attr("folder", str(folder))
    folder.mkdir(parents=True)
    held = locked(folder)

    def end():
        time.sleep(1)
        (folder / "metrics.json").write_text(json.dumps({"best": {"score": 0.7}}))
        os.close(held)

    thread = threading.Thread(target=end)
    thread.start()
    again = search(tmp_path)
    caplog.set_level("INFO")
    again.run(1)
    thread.join()
    assert "trial 0: validation nDCG@5 70.00" in caplog.text
    assert [one.value for one in again.best(3)] == [0.7] and not (folder / "starts").exists()


def test_a_journal_whose_last_line_was_cut_goes_on_from_the_one_before(tmp_path):
    """As a full disk leaves it: a whole search would be lost for one line."""
    search(tmp_path).run(2)
    journal = tmp_path / "study.journal"
    journal.write_bytes(journal.read_bytes()[:-20])
    again = search(tmp_path)  # the second trial's end was in that line
    again.run(2)
    assert len(again.best(9)) == 2 and len(list((tmp_path / "trials").iterdir())) == 2


def test_an_error_leaves_no_trial_running(tmp_path, monkeypatch):
    found = search(tmp_path, job=Endless)

    def full(running):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(found, "_watch", full)
    with pytest.raises(OSError):
        found.run(1)
    assert found._running[0].process.poll() is not None


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["--into", str(tmp_path / "file"), "dataset=toy", "encoder=bow", "head=none,lcenet"]) == 2
    error = capsys.readouterr().err
    assert "cannot write to" in error and len(error.splitlines()) == 1


def test_two_searches_in_one_folder_are_refused(tmp_path):
    held = locked(tmp_path)
    with pytest.raises(InputError, match="another process searches there"):
        search(tmp_path).run(1)
    os.close(held)
    search(tmp_path).run(1)


def test_a_finalist_that_somebody_stopped_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(Job, "command", lambda job: [sys.executable, "-c", "raise SystemExit(130)"])
    asked = argparse.Namespace(seed=0, seeds=1)
    with pytest.raises(InputError, match="0_seed0: a finalist stopped, see its job.log; the same command goes on"):
        finalists(tmp_path, ["head=none"], [{"x": "1"}], asked, cpu_slots(1))


def test_a_signal_within_a_write_of_the_journal_lets_it_end(tmp_path, monkeypatch):
    """Raised there, it would leave the journal locked: the next start would wait for nobody."""
    from optuna.storages.journal import JournalFileSymlinkLock

    release, cut = JournalFileSymlinkLock.release, tmp_path / "trials" / "0000"
    found, sent = search(tmp_path, job=Endless), []

    def interrupted(lock):
        if not sent and (cut / "checkpoints" / "last.ckpt").exists():
            sent.append(os.kill(os.getpid(), signal.SIGINT))
        return release(lock)

    monkeypatch.setattr(JournalFileSymlinkLock, "release", interrupted)
    writer = found._watch
    monkeypatch.setattr(found, "_watch", lambda run: (run.trial.set_user_attr("seen", time.time()), writer(run)))
    with pytest.raises(KeyboardInterrupt):
        found.run(3)
    assert sent and not list(tmp_path.glob("study*.lock*")) and found._running[0].process.poll() is not None
    monkeypatch.undo()
    again = search(tmp_path)
    again.run(1)
    assert (cut / "metrics.json").exists()


def test_a_failing_trial_does_not_stop_the_search(tmp_path):
    found = search(tmp_path, {"x": CategoricalDistribution(["none", "0.5"])})
    for x in ("none", "0.5"):
        found.study.enqueue_trial({"x": x})
    found.run(2)
    assert [trial.state for trial in found.study.trials] == [TrialState.FAIL, TrialState.COMPLETE]


def test_spaces_in_hydras_words():
    fixed, space = read_space([
        "encoder=bow", "recipe.optimizer.lr=tag(log,interval(1e-4,1e-2))", "head=choice(none,lcenet)",
        "head.rank=range(8,65,8)", "data.batch_size=int(interval(16,64))", "a=1,2", "+b=interval(0.0,0.5)",
    ])  # fmt: skip
    assert fixed == ["encoder=bow"]
    assert space == {
        "recipe.optimizer.lr": FloatDistribution(1e-4, 1e-2, log=True),
        "head": CategoricalDistribution(["none", "lcenet"]),
        "head.rank": IntDistribution(8, 64, step=8),
        "data.batch_size": IntDistribution(16, 64),
        "a": CategoricalDistribution(["1", "2"]),
        "+b": FloatDistribution(0.0, 0.5),
    }


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("word", ["range(5,1,-1)", "range(1,8,3)", "range(1,9,3)", "range(4,3,-7)", "range(9,0,-4)"])
def test_a_range_has_the_numbers_that_hydra_sweeps_over(word):
    (override,) = OverridesParser.create().parse_overrides([f"a={word}"])
    drawn = read_space([f"a={word}"])[1]["a"]
    numbers = range(drawn.low, drawn.high + 1, drawn.step)
    assert sorted(map(int, override.sweep_string_iterator())) == list(numbers)


def test_a_folder_of_own_components_is_a_setting_of_every_trial():
    assert read_space(["hydra.searchpath=[mine]", "a=1,2"])[0] == ["hydra.searchpath=[mine]"]


def test_a_range_on_a_logarithmic_scale():
    assert read_space(["a=tag(log,range(1,100))"])[1] == {"a": IntDistribution(1, 99, log=True)}


@pytest.mark.parametrize(
    "words, line",
    [
        (["encoder=bow"], "nothing to search"),
        (["test=true", "a=1,2"], "never sees the test set"),
        (["seed=0,1"], "--seeds"),
        (["a=tag(log,interval(0,1))"], "0 < low"),
        (["a=interval(3,1)"], "low < high"),
        (["hydra.run.dir=x", "a=1,2"], "not in a search"),
        (["dry_run=true", "a=1,2"], "dry_run: a search decides its trials as it goes"),
        (["a=interval(1,2),3"], "a: not a list of choices"),
        (["a=choice(null,5)"], "a=choice(null,5): choice() takes no null: write a=null,5"),
        (["a=[1,"], "a=[1,: the value has characters"),
        (["a=range(3,3)"], "a: expected range(first,stop,step) that has numbers, got none"),
        (["a=range(1,3,-1)"], "got none"),
        (["a=range(1,3,0)"], "got none"),
        (["a=range(0.5,0.1,0.1)"], "a: expected a choice at least, got none"),
        (["a=range(0.1,0.5,0.0)"], "a: not a list of choices"),
        (["a=glob(*)"], "a: glob is not in a search"),
        (["a=interval(nan,1)"], "low < high"),
        (["a=interval(0,inf)"], "low < high"),
        (["a=tag(log,range(0,9))"], "steps of 1 from 1"),
        (["a=tag(log,range(1,9,2))"], "steps of 1 from 1"),
        (["a=tag(log,choice(1,2))"], "a: tag(log,...) is for interval(low,high) and range(low,high)"),
    ],
)
def test_what_cannot_be_searched(words, line):
    with pytest.raises(InputError) as error:
        read_space(words)
    assert line in str(error.value) and "\n" not in str(error.value)


def test_a_setting_that_does_not_exist_is_named_before_anything_starts(tmp_path, capsys):
    assert main(["--into", str(tmp_path / "s"), "head.rnk=choice(1,2)"]) == 2
    assert "head.rnk" in capsys.readouterr().err and not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    "word, line",
    [
        ("head=choice(none,foo)", "head=foo: unknown choice"),
        ("encoder.dropout=interval(0.0,3.0)", "encoder.dropout: expected a number of at least 0 and below 1"),
    ],
)
def test_everything_that_can_be_drawn_is_checked_before_anything_starts(tmp_path, capsys, word, line):
    assert main(["--into", str(tmp_path / "s"), "dataset=toy", "encoder=bow", word]) == 2
    assert line in capsys.readouterr().err and not (tmp_path / "s").exists()


def test_trials_of_other_settings_are_not_taken_for_this_search(tmp_path):
    search(tmp_path).run(1)
    with pytest.raises(InputError, match=r"holds a search of other settings \(x\); choose a new folder"):
        search(tmp_path, {"x": FloatDistribution(0.1, 0.5)})
    with pytest.raises(InputError, match=r"\(head=cornet, head=none\)"):
        Search(tmp_path, ["head=cornet", "seed=0"], {"x": FloatDistribution(0.1, 0.9)}, cpu_slots(1))
    search(tmp_path).run(1)


@pytest.mark.slow
def test_a_whole_search(tmp_path, capfd, python, monkeypatch):
    monkeypatch.setattr(sys, "executable", python)  # what its jobs are started with
    words = "dataset=toy dataset.source.train=160 dataset.source.validation=40 dataset.source.test=41 encoder=bow"
    words += f" encoder.embedding.size=16 head=none logger=csv recipe.max_epochs=1 paths.cache_dir={tmp_path / 'cache'}"
    options = ["--into", str(tmp_path / "s"), "--trials", "1", "--finalists", "1", "--seeds", "2"]
    assert main([*options, *words.split(), "recipe.optimizer.betas=choice([0.9,0.99],[0.8,0.99])"]) == 0
    results = [json.loads(path.read_text()) for path in (tmp_path / "s").rglob("metrics.json")]
    assert len(results) == 3 and all(result["test"] is None for result in results)
    tested = capfd.readouterr().out.split("the best, tested: ")[1]
    assert shlex.split(tested)[:4] == ["python", "-m", "xmtc.run", "-m"] and "'recipe.optimizer.betas=[0." in tested
    assert shlex.split(tested)[-1] == "seed=0,1"
