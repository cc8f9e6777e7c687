"""A few turns of the soak, and that it would see what it looks for."""

import json
import os
import subprocess

import pytest

from tests.faults.soak import judged, sizes


def lines(resident, descriptors=9, call="a"):
    def of(bytes_):
        return {"resident": bytes_, "descriptors": descriptors, "threads": 1}

    counts = {"seconds": 60, "runs": 1, "documents": 8, "requests": 3}
    return [{"call": call, **counts, "worker": of(1000), "server": of(value)} for value in resident]


def test_memory_that_grows_is_seen_behind_the_warm_up():
    flat = judged(lines([500, 900] + [1000, 1004, 998] * 6))
    assert flat["flat"] and flat["minutes"] == 20 and flat["documents"] == 160
    assert abs(flat["growth"]["a"]["server resident"]) < 0.005
    leak = judged(lines([1000 + 2 * i for i in range(20)]))  # 2 of 1000 bytes a minute
    assert not leak["flat"] and leak["growth"]["a"]["server resident"] == pytest.approx(0.0238, abs=0.001)


def test_each_call_is_judged_alone():
    two = lines([1000] * 20) + lines([2000] * 20, call="b")
    assert judged(two)["flat"]
    assert judged(two[:20])["growth"]["a"]["server resident"] == 0
    assert judged(lines([1, 2, 3]))["growth"] == {"a": {}}  # too few to be told


def test_a_descriptor_that_stays_open_is_seen():
    rows = lines([1000] * 20)
    for row in rows[-4:]:
        row["worker"]["descriptors"] += 1
    assert not judged(rows)["flat"]


def test_sizes_are_those_of_the_process(tmp_path):
    before = sizes("self")
    with open(tmp_path / "file", "w"):
        held = bytearray(os.urandom(1 << 20) * 32)
        now = sizes("self")
    assert now["descriptors"] == before["descriptors"] + 1
    assert now["resident"] - before["resident"] > 0.7 * len(held)


@pytest.mark.slow
def test_a_few_turns(tmp_path, python):
    pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    command = [python, "-m", "tests.faults.soak", "--minutes", "0.05", "--every", "1", "--log", tmp_path / "log"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    rows = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert result["runs"] == sum(row["runs"] for row in rows) > 0 and result["requests"] > 0
