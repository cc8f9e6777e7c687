"""Who is taken for lost, and who is not. Whole processes: tests/faults/test_ranks.py."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch.distributed as dist

from xmtc.training import ranks
from xmtc.training.ranks import BEAT, GONE, RUNNING, Process, Ranks, place

PATIENCE = 30.0  # the default


@pytest.fixture
def other():
    """Another process, and what it would say of itself."""
    process = subprocess.Popen(["sleep", "600"])
    yield process, f"{place()} {Process.of(process.pid).word} host, process {process.pid}"
    process.kill()
    process.wait()


@pytest.fixture
def watching(tmp_path, monkeypatch):
    """`watching(rank, world)`: as in that process, without its threads."""
    monkeypatch.setattr(ranks.threading.Thread, "start", lambda thread: None)
    monkeypatch.setattr(ranks.threading.Thread, "join", lambda thread, timeout=None: None)

    def make(rank, world):
        made = Ranks(tmp_path / "run")
        made.watch(rank, world, dist.HashStore())
        return made

    return make


def hear(watcher, words, passed=BEAT):
    """One look after the store has answered with the words of some ranks; no answer for None."""
    if words is not None:
        watcher._said |= words
        watcher._answered = True
    return watcher._silent_one(passed)


def test_one_that_repeats_itself_is_lost_and_one_that_counts_is_not(watching):
    watcher = watching(0, 3)
    beats = int(PATIENCE / BEAT) + 1  # the first look learns the words, each later one adds a beat
    for beat in range(beats):
        assert hear(watcher, {1: f"{beat} a", 2: "7 b"}) is None
    assert hear(watcher, {1: f"{beats} a", 2: "7 b"}) == 2


def test_who_speaks_again_is_forgiven(watching):
    watcher = watching(1, 2)
    for word in range(5):
        for _ in range(int(PATIENCE / BEAT)):
            assert hear(watcher, {0: f"{word} a"}) is None


@pytest.mark.parametrize("word", ["", "done"])
def test_who_has_not_begun_or_has_ended_is_not_lost(watching, word):
    watcher = watching(0, 2)
    assert all(hear(watcher, {1: word} if word else {}) is None for _ in range(200))


def test_who_has_not_begun_when_something_done_together_fails_is_lost(watching):
    watcher = watching(0, 2)
    assert all(hear(watcher, {}) is None for _ in range(100))
    watcher._failed = True
    assert [hear(watcher, {}) for _ in range(int(PATIENCE / BEAT))] == [None] * int(PATIENCE / BEAT)
    assert hear(watcher, {}) == 1


def test_the_first_word_is_said_before_anything_else(watching):
    """A process that dies within its first second would else count as one that has not begun, for ever."""
    store = dist.HashStore()
    watching(1, 2).watch(1, 2, store)
    assert store.get("xmtc/1").decode().endswith(f"process {os.getpid()}")


def beats_until_lost(watcher, word, most):
    """How many silent beats it takes until that rank counts as lost; None for more than `most`."""
    hear(watcher, {1: f"1 {word}"})
    return next((beat for beat in range(1, most) if hear(watcher, {1: f"1 {word}"}) == 1), None)


def test_a_process_that_is_seen_to_run_is_given_more_time(watching, other, caplog):
    """A library may hold the interpreter for long."""
    beats = beats_until_lost(watching(0, 2), other[1], 1000)
    assert beats == RUNNING * PATIENCE / BEAT + 1
    assert len(caplog.records) == 1 and "rank 1 is silent for 31 s, but its process runs" in caplog.text


def test_a_process_that_is_stopped_is_lost_as_ever(watching, other):
    os.kill(other[0].pid, signal.SIGSTOP)
    os.waitid(os.P_PID, other[0].pid, os.WSTOPPED | os.WNOWAIT)
    assert beats_until_lost(watching(0, 2), other[1], 1000) == PATIENCE / BEAT + 1


@pytest.mark.parametrize("waited_for", [True, False])
def test_a_process_that_is_gone_is_lost_soon(watching, other, waited_for):
    process, word = other
    process.kill()
    if waited_for:
        process.wait()
    else:  # it is there, but it is a zombie
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert Process.of(process.pid).state == "Z"
    assert beats_until_lost(watching(0, 2), word, 1000) == GONE / BEAT + 1
    watcher = watching(1, 2)  # the first may have ended well, before its last word was read
    hear(watcher, {0: f"1 {word}"})
    assert [hear(watcher, None) for _ in range(int(PATIENCE / BEAT))] == [None] * int(PATIENCE / BEAT)
    assert hear(watcher, None) == 0


def test_another_process_with_its_number_is_not_it(watching, other):
    there, process, words = other[1].split(" ", 2)
    word = f"{there} {process.partition('/')[0]}/1 {words}"
    assert beats_until_lost(watching(0, 2), word, 1000) == GONE / BEAT + 1


def test_a_process_elsewhere_is_known_by_its_silence_alone(watching, other):
    word = other[1].replace(place(), "another-boot/4026531836")
    assert beats_until_lost(watching(0, 2), word, 1000) == PATIENCE / BEAT + 1


def test_patience_is_a_setting(watching, other):
    watcher = watching(0, 2)
    watcher.patience = 3 * BEAT
    assert beats_until_lost(watcher, "x", 100) == 4


def test_the_last_words_say_what_is_known(watching, other, monkeypatch, capsys):
    monkeypatch.setattr(ranks.os, "_exit", lambda code: exits.append(code))
    exits, watcher = [], watching(0, 2)
    watcher._ended = Once(8)
    watcher._look_at_children = lambda: hear(watcher, {1: f"1 {other[1]}"}, 0) or None
    monkeypatch.setattr(ranks, "time", SimpleNamespace(monotonic=iter(range(0, 1000, 5)).__next__))
    os.kill(other[0].pid, signal.SIGSTOP)
    os.waitid(os.P_PID, other[0].pid, os.WSTOPPED | os.WNOWAIT)
    watcher._judge()
    line = capsys.readouterr().err.splitlines()[0]
    assert f"rank 1 of 2 (host, process {other[0].pid}) has not been heard of for 35 s (stopped): rank 0 stops" in line
    assert exits[0] == 75


def test_a_store_that_does_not_answer_is_the_first_process(watching):
    watcher = watching(2, 3)
    hear(watcher, {0: "1 a", 1: "1 b"})
    looks = [hear(watcher, None) for _ in range(int(PATIENCE / BEAT) + 1)]
    assert looks[:-1] == [None] * (len(looks) - 1) and looks[-1] == 0
    assert watcher._silent[1] == 0  # of it nothing is known
    assert hear(watcher, {0: "2 a"}) is None and watcher._silent[0] == 0


def test_the_first_process_counts_on_where_its_own_store_is_slow(watching):
    watcher = watching(0, 2)
    hear(watcher, {1: "1 a"})
    looks = [hear(watcher, None if look % 2 else {1: "1 a"}) for look in range(int(PATIENCE / BEAT) + 1)]
    assert looks[-1] == 1 and looks[-2] is None


class Once:
    """An event that lets a thread go round `times` times before it is set."""

    def __init__(self, times):
        self.times = times

    def wait(self, seconds):
        self.times -= 1
        return self.times < 0

    def is_set(self):
        return self.times < 0


def test_words_go_through_the_store(watching):
    first, second, store = watching(0, 2), watching(1, 2), dist.HashStore()
    second._ended = Once(3)
    second._talk(store)
    assert store.get("xmtc/1") == b"done"  # its last word
    store.set("xmtc/1", "3 host, process 5")
    first._ended = Once(1)
    first._talk(store)
    assert first._said == {1: "3 host, process 5"} and first._answered
    assert f"process {os.getpid()}" not in store.get("xmtc/0").decode()  # it is done, too


def test_a_beat_names_the_process_that_makes_it(watching):
    watcher, store = watching(0, 2), dist.HashStore()
    watcher._ended = Once(2)
    kept = []
    store_set, talking = store.set, store
    watcher._talk(SimpleNamespace(set=lambda key, word: (kept.append(word), store_set(key, word)), check=talking.check))
    watcher._said = {1: kept[0]}
    hear(watcher, {1: kept[0]})
    assert watcher._state(1) == "running" and kept[-1] == "done"


def test_a_child_that_was_killed_is_named(watching, monkeypatch):
    watcher, lost = watching(0, 3), []
    monkeypatch.setattr(watcher, "_lost", lambda *words: lost.append(words))
    whole = subprocess.Popen([sys.executable, "-c", ""])
    killed = subprocess.Popen([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
    whole.wait(), killed.wait()
    watcher._children = [whole, killed]
    watcher._look_at_children()
    assert lost == [(2, "was ended by SIGKILL", f"process {killed.pid}", 75)]


def test_a_failure_of_the_first_ends_its_children_and_an_interrupt_does_not(watching):
    for error, code in ((ValueError("broken"), -9), (KeyboardInterrupt(), None)):
        watcher = watching(0, 2)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        watcher._children = [child]
        try:
            with pytest.raises(type(error)), watcher:
                raise error
            assert (child.wait() if code else child.poll()) == code
        finally:
            child.kill()
            child.wait()


def test_one_process_has_nobody_to_watch(tmp_path):
    with Ranks(tmp_path) as alone:
        assert not alone._threads
