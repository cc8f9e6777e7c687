"""Jobs as processes, with a stand-in of milliseconds for `python -m xmtc.run`."""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from tests.sweeping.conftest import TINY
from xmtc.config.paths import typed, unquoted
from xmtc.errors import InputError
from xmtc.job import continued
from xmtc.sweeping.devices import Slot, cpu_slots, gpu_slots, processes
from xmtc.sweeping.jobs import Job, place, swept
from xmtc.sweeping.launch import slots_of
from xmtc.sweeping.pool import Pool, begin, locked
from xmtc.sweeping.table import reason
from xmtc.testing.jobs import SCRIPT, StandIn, starts


def fakes(tmp_path, count, **settings):
    jobs = [StandIn(number, [f"seed={number}"], tmp_path / str(number)) for number in range(count)]
    for job in jobs:
        vars(job).update(settings)
    return jobs


def run(jobs, slots, **options):
    return Pool(jobs, slots, dict(os.environ) | {"NAME": "sweep"}, pause=0.01, **options).run()


def test_every_job_runs_once_and_a_failure_stops_nothing(tmp_path):
    jobs, seen = fakes(tmp_path, 4), []
    jobs[1].code = 1
    states = run(jobs, cpu_slots(2), changed=lambda job, state: seen.append((job.number, state.state)))
    assert [states[n].state for n in range(4)] == ["finished", "failed", "finished", "finished"]
    assert [len(starts(job)) for job in jobs] == [1, 1, 1, 1]
    assert (jobs[1].folder / "job.log").read_text() == "no such thing\n"
    assert json.loads((jobs[1].folder / "job.json").read_text())["exit_code"] == 1
    assert sorted(seen) == sorted([(n, "running") for n in range(4)] + [(n, states[n].state) for n in range(4)])
    jobs[1].code = 0
    states = run(jobs, cpu_slots(1))
    assert [states[n].state for n in range(4)] == ["kept", "finished", "kept", "kept"]
    assert [len(starts(job)) for job in jobs] == [1, 2, 1, 1]


class Told(Job):
    """Writes what it is given into its log."""

    def command(self):
        return ["env"]


def test_a_job_has_the_devices_and_threads_of_its_slot_and_knows_no_outer_launcher(tmp_path):
    def told(slot, **environment):
        lock = locked(tmp_path)
        (tmp_path / "job.log").unlink(missing_ok=True)
        assert begin(Told(0, [], tmp_path), slot, environment, lock).wait() == 0
        os.close(lock)
        return dict(line.split("=", 1) for line in (tmp_path / "job.log").read_text().splitlines())

    path = os.environ["PATH"]
    given = told(Slot(("1", "3"), 4), PATH=path, RANK="1", MASTER_PORT="9", MINE="x")
    assert given == {"PATH": path, "MINE": "x", "CUDA_VISIBLE_DEVICES": "1,3", "OMP_NUM_THREADS": "4"}
    assert told(Slot(threads=4), PATH=path, OMP_NUM_THREADS="2") == {"PATH": path, "OMP_NUM_THREADS": "2"}


def test_a_killed_job_is_told_as_such(tmp_path):
    """The last line of its log is of something else, maybe of an earlier start."""
    (job,) = fakes(tmp_path, 1, seconds=60.0)
    job.folder.mkdir()
    (job.folder / "job.log").write_text("step 40: loss 0.1\n")

    def kill(states):
        if (job.folder / "ready").exists():
            [process.kill() for _, process, _ in pool._running.values()]

    pool = Pool([job], cpu_slots(1), dict(os.environ), show=kill, pause=0.01)
    states = pool.run()
    assert states[0].state == "failed"
    assert reason(job, states[0]) == "killed by SIGKILL, as by the system where memory runs out"


@pytest.mark.slow
def test_a_job_is_a_run_in_a_process_of_the_interpreter(tmp_path):
    """Without the stand-ins of the other tests, and of those of whole sweeps."""
    job = Job(0, [*TINY, f"paths.cache_dir={tmp_path}", "head=lcenet", "head.blocks=0"], tmp_path / "0")
    states = run([job], cpu_slots(1))
    assert (states[0].state, states[0].code) == ("failed", 2) and "head.blocks" in (job.folder / "job.log").read_text()


@pytest.mark.parametrize("code, state", [(1, "failed"), (75, "stopped"), (130, "stopped"), (-9, "failed")])
def test_a_job_that_somebody_stopped_has_not_failed(tmp_path, code, state):
    (job,) = fakes(tmp_path, 1)
    end = f"import os, sys; os.kill(os.getpid(), {-code}) if {code} < 0 else sys.exit({code})"
    job.command = lambda: [sys.executable, "-c", end]
    assert run([job], cpu_slots(1))[0].state == state
    assert json.loads((job.folder / "job.json").read_text()) | {"seconds": 0} == {
        "state": state, "exit_code": code, "seconds": 0, "device": "cpu",
    }  # fmt: skip


def test_exit_code_0_without_metrics_is_a_failure(tmp_path):
    (job,) = fakes(tmp_path, 1)
    job.command = lambda: [sys.executable, "-c", ""]
    assert run([job], cpu_slots(1))[0].state == "failed"


def test_jobs_see_their_own_gpus_and_nothing_of_an_outer_launcher(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    jobs = fakes(tmp_path, 4, seconds=0.3)
    run(jobs, gpu_slots(["0", "1", "2", "3", "4"], 2, 1))
    seen = [starts(job)[0] for job in jobs]
    assert sorted(each["CUDA_VISIBLE_DEVICES"] for each in seen) == ["0,1", "0,1", "2,3", "2,3"]
    assert {each["LOCAL_RANK"] for each in seen} == {None} and {each["NAME"] for each in seen} == {"sweep"}


def test_no_more_jobs_at_once_than_slots(tmp_path):
    most = []
    jobs = fakes(tmp_path, 5, seconds=0.1)
    run(jobs, cpu_slots(2), show=lambda states: most.append(sum(s.state == "running" for s in states.values())))
    assert max(most) == 2


def test_stopped_jobs_go_on_and_waiting_ones_were_never_started(tmp_path):
    jobs = fakes(tmp_path, 3, seconds=60.0)

    def stop():
        while not all((job.folder / "ready").exists() for job in jobs[:2]):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run(jobs, cpu_slots(2))
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == before
    assert [job.cut for job in jobs] == [True, True, False] and starts(jobs[2]) == []
    assert json.loads((jobs[0].folder / "job.json").read_text())["state"] == "stopped"
    jobs[2].seconds = 0.0
    assert {state.state for state in run(jobs, cpu_slots(2)).values()} == {"finished"}
    assert [len(starts(job)) for job in jobs] == [2, 2, 1]


def test_who_does_not_stop_is_killed(tmp_path):
    (job,) = fakes(tmp_path, 1)
    stubborn = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); open({!r}, 'w'); time.sleep(60)"
    job.command = lambda: [sys.executable, "-c", stubborn.format(str(tmp_path / "up"))]

    def stop():
        while not (tmp_path / "up").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=stop).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run([job], cpu_slots(1), stop_seconds=0.2)
    assert time.monotonic() - began < 30
    assert json.loads((job.folder / "job.json").read_text())["exit_code"] == -signal.SIGKILL


def test_a_job_that_outlived_its_launcher_is_waited_for_and_not_started_twice(tmp_path):
    (job,) = fakes(tmp_path, 1)
    job.folder.mkdir()
    lock = locked(job.folder)
    orphan = subprocess.Popen([sys.executable, "-c", SCRIPT, str(job.folder), "0.5", "0"], pass_fds=(lock,))
    os.close(lock)
    assert locked(job.folder) is None
    states = run([job], cpu_slots(1))
    assert orphan.wait() == 0 and states[0].state == "kept" and len(starts(job)) == 1


@pytest.mark.parametrize(
    "trainer, count",
    [
        ({}, 1),
        ({"devices": 1, "accelerator": "cpu"}, 1),
        ({"devices": 4, "num_nodes": 2}, 8),
        ({"devices": "auto", "accelerator": "cpu"}, 1),
        ({"devices": "auto", "accelerator": "gpu"}, 3),
        ({"devices": -1, "accelerator": "auto"}, 3),
        ({"devices": [0, 2]}, 2),
        ({"devices": "0,2"}, 2),
        ({"devices": "2"}, 2),
    ],
)
def test_processes_of_a_job(trainer, count, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0, GPU-1f3,7")
    assert processes(trainer) == count


def test_slots():
    assert [slot.gpus for slot in gpu_slots(["0", "1"], 1, 2)] == [("0",), ("1",), ("0",), ("1",)]
    assert gpu_slots(["5", "6", "7"], 2, 1) == [Slot(("5", "6"))]
    assert len(cpu_slots(3)) == 3 and cpu_slots(3)[0].threads >= 1 and cpu_slots(1)[0].threads is None
    for wrong in (lambda: gpu_slots(["0"], 2, 1), lambda: gpu_slots([], 1, 1), lambda: cpu_slots(0)):
        with pytest.raises(InputError):
            wrong()


def test_which_devices_is_the_launchers_to_say(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4,5")
    launcher = SimpleNamespace(jobs=1, devices_per_job=None, jobs_per_device=1, devices=["3", "5"])
    for devices in ([0, 2], "0,2", "2"):
        job = Job(0, [], tmp_path, {"trainer": {"accelerator": "gpu", "devices": devices}})
        with pytest.raises(InputError, match="hydra.launcher.devices"):
            slots_of(launcher, [job])
    job = Job(0, [], tmp_path, {"trainer": {"accelerator": "gpu", "devices": 2}})
    assert [slot.gpus for slot in slots_of(launcher, [job])] == [("3", "5")]
    launcher.devices = ["3", "0", "7"]  # neither one that somebody has hidden from us nor one that is not there
    with pytest.raises(InputError, match="hydra.launcher.devices: 0, 7 is not visible here .*, only 3, 4, 5"):
        slots_of(launcher, [job])
    launcher.devices, launcher.devices_per_job = ["3", "GPU-1f3"], 0
    with pytest.raises(InputError, match="devices_per_job=0: there is a job with trainer.devices=2"):
        slots_of(launcher, [job])
    launcher.devices_per_job = 1
    with pytest.raises(InputError, match="devices_per_job=1: there is a job with trainer.devices=2"):
        slots_of(launcher, [job])
    with pytest.raises(InputError, match="num_nodes"):
        slots_of(launcher, [Job(0, [], tmp_path, {"trainer": {"accelerator": "cpu", "devices": 1, "num_nodes": 2}})])


def finished(folder, *words, config="seed: 1\nrecipe: {lr: 0.1}\n"):
    folder.mkdir(parents=True)
    (folder / "overrides.yaml").write_text("".join(f"- {word}\n" for word in words))
    (folder / "config.yaml").write_text(config)


def test_jobs_are_known_by_their_settings_and_not_by_their_number(tmp_path):
    finished(tmp_path / "0_x", "head=none", "seed=1", "paths.runs=/elsewhere")
    same = Job(5, ["seed=1", "head=none", "logger=csv"], tmp_path / "5_x")
    other = Job(0, ["seed=2", "head=none"], tmp_path / "0_x")  # the sweep has grown: its numbers moved
    place([other, same], tmp_path)
    assert same.folder == tmp_path / "0_x" and other.folder == tmp_path / "0_x_2"


def test_jobs_that_differ_in_what_makes_no_difference_have_folders_of_their_own(tmp_path):
    """Or one would be taken for the other, and never be run."""

    def jobs(*values, name="x"):
        return [Job(n, ["seed=1", f"data.workers={v}"], tmp_path / name) for n, v in enumerate(values)]

    first = jobs(0, 2, 2)
    place(first, tmp_path)
    assert [job.folder.name for job in first] == ["x", "x_2", "x_3"]
    for job in first:
        finished(job.folder, *job.overrides)
    again = jobs(4, 2, 0)  # in another order, one of them with another value
    place(again, tmp_path)
    assert [job.folder.name for job in again] == ["x_3", "x_2", "x"]


def test_two_sweeps_of_other_jobs_in_one_folder(tmp_path):
    """Begun at the same time, both want the same names. A job never takes the other's run for its own."""
    (job,) = fakes(tmp_path, 1)
    place([job], tmp_path)
    theirs = orphan_of_another(tmp_path / "0", "seed=5")
    states = run([job], cpu_slots(1))
    assert theirs.wait() == 0 and states[0].state == "finished"
    assert job.folder == tmp_path / "0_2" and len(starts(job)) == 1


def test_two_sweeps_that_share_a_job_train_it_once(tmp_path):
    """It has other numbers in them, and so other folders, and neither had begun it when the other looked."""
    first, shared = fakes(tmp_path, 2)
    place([first, shared], tmp_path)

    def beside(job, state):
        if (job, state.state) == (first, "running"):
            theirs.append(orphan_of_another(tmp_path / "7", "seed=1"))
        elif (job, state.state) == (first, "finished"):
            assert theirs[0].wait() == 0

    theirs = []
    states = run([first, shared], cpu_slots(1), changed=beside)
    assert [states[n].state for n in range(2)] == ["finished", "kept"] and shared.folder == tmp_path / "7"
    assert len(starts(shared)) == 1 and not (tmp_path / "1").exists()


def orphan_of_another(folder, word):
    """A job of another launcher, which writes down a moment after its start what it is."""
    folder.mkdir()
    lock = locked(folder)
    script = f"import time; time.sleep(0.2); open({str(folder / 'overrides.yaml')!r}, 'w').write('- {word}'); " + SCRIPT
    process = subprocess.Popen([sys.executable, "-c", script, str(folder), "0.1", "0"], pass_fds=(lock,))
    os.close(lock)
    return process


def test_a_full_disk_fails_jobs_and_not_their_launcher(tmp_path, monkeypatch):
    """What cannot be noted stops nothing, and a job that cannot be begun says why."""
    from xmtc.sweeping import jobs as module

    def full(*where):
        raise OSError(28, "No space left on device")

    jobs, seen = fakes(tmp_path, 3), []
    (tmp_path / "1").write_text("in the place of a folder")
    monkeypatch.setattr(module, "replace_text", full)
    states = run(jobs, cpu_slots(2), changed=lambda job, state: seen.append((job.number, state.state)))
    assert [states[n].state for n in range(3)] == ["finished", "failed", "finished"] and (1, "failed") in seen
    assert "cannot be started" in reason(jobs[1], states[1]) and "File exists" in reason(jobs[1], states[1])


def test_a_figure_takes_the_runs_of_its_table(tmp_path):
    """Another experiment's name alone is no other job, as long as it means the same configuration."""
    finished(tmp_path / "0_x", "head=none", "experiment=a/table2")
    finished(tmp_path / "1_x", "head=cornet", "experiment=a/table2", config="seed: 2\n")
    config = {"seed": 1, "recipe": {"lr": 0.1}}
    heads = ("none", "cornet")
    jobs = [Job(n, [f"head={h}", "experiment=a/figure4"], tmp_path / f"{n}_x", config) for n, h in enumerate(heads)]
    place(jobs, tmp_path)
    assert [job.folder.name for job in jobs] == ["0_x", "1_x_2"]  # the second is another configuration
    other = Job(3, ["head=none", "experiment=a/figure5"], tmp_path / "3_x", config)
    table = Job(0, ["head=none", "experiment=a/table2"], tmp_path / "0_x", config)
    place([table], tmp_path)
    assert table.folder.name == "0_x"
    (jobs[0].folder / "checkpoints").mkdir()
    (jobs[0].folder / "checkpoints" / "last.ckpt").touch()
    assert not any("experiment=" in word for word in jobs[0].command())  # a run that goes on keeps its own
    place([other], tmp_path)
    assert other.folder.name == "0_x"


def test_a_changed_configuration_is_not_taken_for_the_old_one(tmp_path):
    finished(tmp_path / "0_x", "seed=1")
    same = Job(0, ["seed=1"], tmp_path / "0_x", {"seed": 1, "recipe": {"lr": 0.1}, "paths": {"runs": "new"}})
    place([same], tmp_path)
    changed = Job(0, ["seed=1"], tmp_path / "0_x", {"seed": 1, "recipe": {"lr": 0.2}})
    with pytest.raises(InputError, match="recipe.lr=0.1, which is 0.2 now"):
        place([changed], tmp_path)


@pytest.mark.parametrize(
    "config, refused",
    [
        ({"seed": 1, "recipe": {"lr": 0.1, "clipping": None, "head_lr_factor": 1.0}}, None),  # of a newer version
        ({"seed": 1, "recipe": {"lr": 0.1, "clipping": {"factor": 5}}}, "recipe.clipping"),
        ({"seed": 1, "recipe": {"lr": 0.1}}, None),  # of an older one
        ({"seed": 1, "recipe": None}, "recipe"),
    ],
)
def test_settings_of_another_version_do_not_stop_a_sweep(tmp_path, config, refused):
    finished(tmp_path / "0_x", "seed=1", config="seed: 1\nrecipe: {lr: 0.1, clipping: null}\n")
    job = Job(0, ["seed=1"], tmp_path / "0_x", config)
    if refused is None:
        place([job], tmp_path)
    else:
        with pytest.raises(InputError, match=f"was made with {refused}"):
            place([job], tmp_path)


def test_commands_start_and_go_on(tmp_path):
    job = Job(0, ["seed=1", "logger=csv"], tmp_path / "0_x", switches=["--config-dir=mine"])
    run_dir = f"hydra.run.dir='{tmp_path / '0_x'}'"
    assert job.command()[1:] == ["-m", "xmtc.run", "--config-dir=mine", "seed=1", "logger=csv", run_dir]
    finished(tmp_path / "0_x", "seed=1")
    (tmp_path / "0_x" / "checkpoints").mkdir()
    (tmp_path / "0_x" / "checkpoints" / "last.ckpt").touch()
    assert job.command()[3:] == ["--config-dir=mine", f"resume='{tmp_path / '0_x'}'", "logger=csv"]
    (tmp_path / "0_x" / "metrics.json").write_text("{}")
    assert job.finished and not job.cut


def test_a_folder_with_an_apostrophe(tmp_path):
    folder = tmp_path / "it's, really"
    finished(folder, "seed=1")
    (word,) = Job(0, [], folder).command()[3:]
    assert OverridesParser.create().parse_override(word).value() == str(folder)
    for given in (f"resume={folder}", f'resume="{folder}"', word.replace("hydra.run.dir", "resume")):
        resume, run_dir = continued([given])[-2:]
        assert OverridesParser.create().parse_override(resume).value() == str(folder) == unquoted(run_dir[14:])


@pytest.mark.parametrize("name", ["runs/a", "runs/two sweeps, (x) = 50%", "it's here"])
def test_a_folder_that_is_told_can_be_typed(name):
    (word,) = shlex.split(typed("hydra.sweep.dir", name))
    assert OverridesParser.create().parse_override(word).value() == name


def test_what_tells_jobs_apart():
    jobs = [Job(n, ["encoder=bow", f"head={h}", f"seed={n}"], None) for n, h in enumerate(("none", "lcenet"))]
    assert swept(jobs) == ["head=none seed=0", "head=lcenet seed=1"]
