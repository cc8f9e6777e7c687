"""Preparing that is cut off goes on where it was, and words can be counted in as many passes as memory asks for."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from xmtc.data import shards, word_counts
from xmtc.data.preparation import prepare
from xmtc.data.text import Words
from xmtc.errors import InputError
from xmtc.testing.corpora import Listed, random_documents

PARTS = {"train": random_documents(400, 0, words=300), "test": random_documents(90, 2, words=400, labels=15)}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "SHARD", 16)


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def left(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "hashes.json")


def make(folder, workers=1, text=None, **changes):
    return content(prepare(Listed(**PARTS, **changes), "small", text or Words(), folder, workers).folder)


@pytest.mark.parametrize("size", [500_000, 40])
@pytest.mark.parametrize("entries", [1, 700, 10_000])
def test_any_number_of_passes_gives_the_same_vocabulary(tmp_path, monkeypatch, size, entries):
    whole = make(tmp_path / "one", text=Words(vocabulary_size=size))
    calls, count = [], word_counts._count
    monkeypatch.setattr(word_counts, "ENTRIES", entries)
    monkeypatch.setattr(word_counts, "_count", lambda *a: (calls.append(a[1:]), count(*a))[1])
    assert make(tmp_path / "many", text=Words(vocabulary_size=size)) == whole
    assert len(calls) > 1 or entries == 10_000
    assert calls[0][0] == 0 and calls[-1][1] == 64 and all(a[1] == b[0] for a, b in zip(calls, calls[1:]))


def test_preferred_words_in_several_passes(tmp_path, monkeypatch):
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("".join(f"w{i} 1 2\n" for i in range(0, 300, 3)))
    whole = make(tmp_path / "one", text=Words(prefer=str(vectors)))
    monkeypatch.setattr(word_counts, "ENTRIES", 300)
    assert make(tmp_path / "many", text=Words(prefer=str(vectors))) == whole
    assert make(tmp_path / "plain")["text/vocabulary.txt"] != whole["text/vocabulary.txt"]


def test_long_documents_fill_a_shard_sooner(monkeypatch):
    monkeypatch.setattr(shards, "CHARACTERS", 10)
    batches = list(shards._batches(iter([("a" * n, []) for n in (3, 3, 4, 30, 1, 2)])))
    assert [[len(text) for text, _ in batch] for batch in batches] == [[3, 3, 4], [30], [1, 2]]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_preparation_keeps_its_shards(tmp_path, monkeypatch, stop):
    whole = make(tmp_path / "whole")
    with pytest.raises(stop):
        make(tmp_path / "cut", fail={"train": 200, "error": stop()})
    (work,) = left(tmp_path / "cut")
    assert work.endswith("-work") and len(list((tmp_path / "cut" / work / "train").glob("*.npz"))) == 12
    made, tokenise = [], shards.tokenise
    monkeypatch.setattr(shards, "tokenise", lambda *a: (made.append(1), tokenise(*a))[1])
    assert make(tmp_path / "cut") == whole
    assert len(made) == 25 - 12 + 6 and len(left(tmp_path / "cut")) == 1


def test_finished_parts_are_not_read_again(tmp_path):
    whole = make(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "cut", fail={"test": 80, "error": KeyboardInterrupt()})
    read = []

    class Counted(Listed):
        def documents(self, part):
            read.append(part)
            yield from super().documents(part)

        def check(self):
            pass

    source = Counted(**PARTS)
    source.__class__.__name__ = "Listed"  # the name is part of the key
    assert content(prepare(source, "small", Words(), tmp_path / "cut", 1).folder) == whole
    assert read == ["test"]


def test_a_shard_emptied_by_a_crash_is_made_again(tmp_path):
    whole = make(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "cut", fail={"train": 200, "error": KeyboardInterrupt()})
    (work,) = left(tmp_path / "cut")
    (tmp_path / "cut" / work / "train" / "000003.npz").write_bytes(b"")
    (tmp_path / "cut" / work / "train" / ".000004.npz.17").write_bytes(b"half")
    assert make(tmp_path / "cut") == whole


def test_a_label_that_cannot_be_written_is_told_from_a_worker(tmp_path):
    parts = PARTS | {"train": [*PARTS["train"], ("a", ["x\ty"])]}
    for workers in (1, 2):
        with pytest.raises(InputError, match="holds a tab"):
            prepare(Listed(**parts), "small", Words(), tmp_path, workers)
        assert left(tmp_path) == []


# a life for each line of stdin, forked behind the imports; each a process group of its own with its workers
LIVES = """
import os, sys, traceback
from pathlib import Path
from xmtc.data import shards
from xmtc.data.preparation import prepare
from xmtc.data.text import Words
from xmtc.testing.corpora import Listed, random_documents

def live(parts, cache, workers):
    try:
        os.setsid()
        print(os.getpid(), flush=True)
        prepare(Listed(**parts), "small", Words(), Path(cache), int(workers))
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)

if __name__ == "__main__":
    shards.SHARD = 32
    parts = {"train": random_documents(3000, 0, words=300), "test": random_documents(450, 2, words=400, labels=15)}
    for line in sys.stdin:
        pid = os.fork() or live(parts, *line.rstrip().rsplit(" ", 1))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@contextmanager
def lives(folder):
    """`live(cache, workers, seconds=None)`: a preparation; after `seconds` all of it is killed. Was it killed?"""
    (folder / "lives.py").write_text(LIVES)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command, pipes = [sys.executable, str(folder / "lives.py")], {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as process:

        def live(cache, workers, seconds=None):
            print(cache, workers, file=process.stdin, flush=True)
            pid = int(process.stdout.readline())
            if seconds is not None:
                time.sleep(seconds)
                try:
                    os.killpg(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass  # it has ended
            code = int(process.stdout.readline())
            assert code in (0, -signal.SIGKILL)
            return code != 0

        yield live
        process.stdin.close()


def killed_again_and_again(tmp_path, kills, workers):
    """How many lives came to their end, of `kills` that were to be killed at a moment of the time that one takes."""
    with lives(tmp_path) as live:
        started = time.monotonic()
        live(tmp_path / "whole", workers)
        longest = time.monotonic() - started
        (whole,) = (path for path in (tmp_path / "whole").iterdir() if path.is_dir())
        moments = random.Random(0)
        survived, cache = 0, tmp_path / "cut"
        for _ in range(kills):
            if not live(cache, workers, moments.uniform(0, longest)):
                survived += 1  # it was done: begin again
                assert content(cache / whole.name) == content(whole)
                shutil.rmtree(cache)
        live(cache, workers)
    assert content(cache / whole.name) == content(whole)
    assert [name for name in left(cache) if not name.endswith(".lock")] == [whole.name]
    return survived


def test_killed_twice(tmp_path):
    killed_again_and_again(tmp_path, kills=2, workers=1)


@pytest.mark.slow
@pytest.mark.parametrize("workers, kills", [(1, 20), (2, 8)])
def test_killed_at_random_moments(tmp_path, workers, kills):
    assert killed_again_and_again(tmp_path, kills, workers) < kills  # else the moments were all too late
