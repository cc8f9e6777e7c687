"""The stand-in of `python` against the interpreter itself: whoever starts a command cannot tell them apart."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.commands.starting import ROOT, started

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="the interpreter itself is used here")
SEEN = ["-m", "tests.commands.seen"]


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    """The stand-in of a server that has imported next to nothing."""
    with started(tmp_path_factory.mktemp("light"), ["multiprocessing.pool"]) as python:
        yield python


def ended(python, *words, **options):
    """(exit code, stdout, stderr) of the command; it sees this source tree."""
    options = {"env": {**os.environ, "PYTHONPATH": str(ROOT)}, "stdin": subprocess.DEVNULL} | options
    if "input" in options:
        del options["stdin"]
    done = subprocess.run([python, *words], capture_output=True, timeout=120, **options)
    return done.returncode, done.stdout, done.stderr


def test_a_command_is_given_the_same(light, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    environment = {**os.environ, "XMTC_ODD": "ä=\n", "PYTHONPATH": f"{ROOT}:elsewhere:{ROOT}", "TMPDIR": str(tmp_path)}
    del environment["PATH"]
    with open(tmp_path / "given", "w") as file:
        given = file.fileno()
        options = {
            "env": environment, "cwd": tmp_path, "input": "straße\n\n".encode(), "pass_fds": [given],
            "umask": 0o027, "start_new_session": True,
        }  # fmt: skip
        wanted, found = (ended(python, *SEEN, "tell", "a b", "'", "", **options) for python in (sys.executable, light))
    assert wanted[0] == found[0] == 0 and wanted[2] == found[2] == b"err\n"
    wanted, found = (json.loads(out.removeprefix(b"out\n")) for _, out, _ in (wanted, found))
    assert wanted["stdin"] and wanted["umask"] == 0o027 and given in wanted["inherited"]
    assert found.keys() == wanted.keys()
    for what in wanted:
        assert found[what] == wanted[what], what


ENDS = "exit 0,exit 3,exit 300,exit because,raise,interrupt,kill 9,kill 15,kill 2,late,lost"


@pytest.mark.parametrize("words", ENDS.split(","))
def test_a_command_ends_the_same(light, words):
    wanted, found = (ended(python, *SEEN, *words.split()) for python in (sys.executable, light))
    assert found[:2] == wanted[:2]
    told = [error.splitlines() for _, _, error in (wanted, found)]
    if words in ("raise", "interrupt", "kill 2"):  # a traceback has a few lines more, of the server
        told = [[*lines[:2], *lines[-2:]] for lines in told]
    assert told[0] == told[1]


def test_processes_that_a_command_starts(light):
    wanted, found = (ended(python, *SEEN, "child") for python in (sys.executable, light))
    assert found == wanted == (9, b"out\n[42]\nout\n", b"err\nerr\n")


@pytest.mark.parametrize(
    "words, text",
    [
        (["-"], "import sys; print(__name__, sys.argv, sys.path[0]); sys.exit(4)"),
        (["-c", "import sys; print(sys.argv)", "a"], ""),
        (["-m", "json.tool"], "[1]"),
        (["-u", *SEEN], ""),
        (["-m", "tests.commands.nothing"], ""),
    ],
)
def test_programs_of_stdin_and_everything_else(light, words, text):
    wanted, found = (ended(python, *words, input=text.encode()) for python in (sys.executable, light))
    assert found[:2] == wanted[:2]


def is_of_the_server(light, env=None):
    program = b"import sys; print('tests.commands.client' in sys.modules)"
    return ended(light, "-", input=program, env=env)[1] == b"True\n"


def test_what_an_import_may_have_read_calls_for_the_interpreter(light):
    assert is_of_the_server(light)
    assert is_of_the_server(light, os.environ | {"XMTC_CACHE": "x", "WANDB_MODE": "disabled", "LOCAL_RANK": "1"})
    for name in ("OMP_NUM_THREADS", "HF_HOME", "PYTHONHASHSEED", "LC_ALL"):
        assert not is_of_the_server(light, os.environ | {name: "3"}), name


def test_what_a_training_in_this_process_leaves_does_not(light, monkeypatch):
    """Else most commands of the suite would take the seconds of an interpreter's imports again."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    import numba  # noqa: F401
    import sklearn  # noqa: F401
    from pytorch_lightning import seed_everything

    seed_everything(0, workers=True, verbose=False)
    assert "PL_GLOBAL_SEED" in os.environ and is_of_the_server(light, dict(os.environ))


def nothing_ignored():
    """Who runs the tests under nohup or in the background of a script ignores some signals, and so would a child."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def waiting(light):
    """A command that has said "ready", and the reading end of its stdout."""
    process = subprocess.Popen(
        [light, *SEEN, "wait"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=nothing_ignored,
    )  # fmt: skip
    assert [process.stdout.readline() for _ in range(2)] == [b"out\n", b"ready\n"]
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 75), (signal.SIGINT, -signal.SIGINT), (signal.SIGHUP, -1)])
def test_signals_reach_the_command(waiting, number, code):
    waiting.send_signal(number)
    assert waiting.communicate(timeout=60)[0] == b"" and waiting.returncode == code


def test_a_client_that_is_killed_takes_its_command_with_it(waiting):
    waiting.kill()
    assert waiting.stdout.read() == b""  # its end: nobody has it open any more
    assert waiting.wait() == -signal.SIGKILL


def test_signals_that_are_ignored_stay_so(light):
    """As those of a shell's `command &`."""
    script = f"trap '' INT; exec '{light}' -m tests.commands.seen kill 2"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, b"out\n")


def test_what_is_still_at_work_ends_with_the_server(tmp_path):
    with started(tmp_path, ()) as python:
        left = subprocess.Popen([python, *SEEN, "wait"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        while left.stdout.readline() != b"ready\n":
            pass
    with left:
        assert left.stdout.read() == b"" and left.wait() != 0


def test_a_command_of_xmtc_in_one_line(python, tmp_path):
    """With all imported: no thread (the server checks), none of the commands, and other seeds each time."""
    program = """
import sys, numpy, torch, xmtc
assert callable(xmtc.run) and "xmtc.run" not in sys.modules and "torch" in sys.modules
print(numpy.random.rand(), torch.initial_seed())
"""
    said = [ended(python, "-", input=program.encode(), cwd=tmp_path) for _ in range(2)]
    assert said[0][0] == 0, said
    numbers = [out.split() for _, out, _ in said]
    assert numbers[0][0] != numbers[1][0] and numbers[0][1] != numbers[1][1]
    code, out, error = ended(python, "-m", "xmtc.run", "head.rnk=3", cwd=tmp_path)
    assert code == 2 and out == b"" and error.count(b"\n") == 1 and b"head.rnk" in error
