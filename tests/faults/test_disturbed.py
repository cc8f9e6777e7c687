"""A few cases of each harness that disturbs commands; `make faults` has the many."""

import json
import os
import subprocess

import pytest

from tests.faults.preloaded import possible


def result_of(python, harness, *words):
    command = [python, "-m", f"tests.faults.{harness}", *words]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow(20)
@pytest.mark.parametrize("harness, cases", [("cache", 4), ("memory", 3)])
def test_disturbed_commands_end_as_if_they_had_not_been(python, harness, cases):
    result = result_of(python, harness, "--cases", str(cases))
    assert result["cases"] == cases and result["failures"] == 0


@pytest.mark.slow(20)
def test_killed_commands_end_as_if_they_had_not_been(python):
    result = result_of(python, "restarts", "--kills", "4")
    assert result["kills"] >= 4 and result["failures"] == 0


@pytest.mark.slow(30)
@pytest.mark.skipif(not possible(), reason="needs Linux and a C compiler")
@pytest.mark.parametrize("harness, cases", [("clock", 3), ("reading", 3)])
def test_behind_a_library(python, harness, cases):
    result = result_of(python, harness, "--cases", str(cases))
    assert result["cases"] == cases and result["failures"] == 0
