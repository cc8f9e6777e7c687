"""Preparing that is cut off goes on where it was, and words can be counted in as many passes as memory asks for."""

import os
import random
import signal
import subprocess
import sys
import time
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


CHILD = """
import sys
from pathlib import Path
from xmtc.data import shards
from xmtc.data.preparation import prepare
from xmtc.data.text import Words
from xmtc.testing.corpora import Listed, random_documents

if __name__ == "__main__":
    shards.SHARD = 64
    parts = {"train": random_documents(6000, 0, words=300), "test": random_documents(900, 2, words=400, labels=15)}
    print("go", flush=True)
    prepare(Listed(**parts), "small", Words(), Path(sys.argv[1]), int(sys.argv[2]))
"""


def run_child(script, cache, workers, seconds=None):
    """Starts a preparation in a process group of its own; after `seconds` kills all of it. Was it killed?"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(script), str(cache), str(workers)]
    child = subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.PIPE)
    child.stdout.readline()
    if seconds is not None:
        time.sleep(seconds)
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
    code = child.wait(120)
    assert code in (0, -signal.SIGKILL)
    return code != 0


def killed_again_and_again(tmp_path, kills, workers, longest):
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    run_child(script, tmp_path / "whole", workers)
    (whole,) = (path for path in (tmp_path / "whole").iterdir() if path.is_dir())
    moments = random.Random(0)
    survived, cache = 0, tmp_path / "cut"
    for _ in range(kills):
        if not run_child(script, cache, workers, moments.uniform(0, longest)):
            survived += 1  # it was done: begin again
            assert content(cache / whole.name) == content(whole)
            subprocess.run(["rm", "-rf", str(cache)], check=True)
    run_child(script, cache, workers)
    assert content(cache / whole.name) == content(whole)
    assert [name for name in left(cache) if not name.endswith(".lock")] == [whole.name]
    return survived


def test_killed_twice(tmp_path):
    killed_again_and_again(tmp_path, kills=2, workers=1, longest=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_twenty_random_moments(tmp_path, workers):
    survived = killed_again_and_again(tmp_path, kills=20, workers=workers, longest=0.5 if workers == 1 else 4.0)
    assert survived < 20  # else the moments were all too late
