"""Who is taken for lost, and who is not. Whole processes: tests/faults/test_ranks.py."""

import os
import subprocess
import sys

import pytest
import torch.distributed as dist

from xmtc.training import ranks
from xmtc.training.ranks import BEAT, PATIENCE, Ranks


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
