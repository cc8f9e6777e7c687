"""A few lives of the harness; `make faults` has the many."""

import json
import os
import subprocess

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("where", ["anywhere", "writing"])
def test_runs_that_are_killed_end_as_if_they_had_not_been(where, python):
    command = [python, "-m", "tests.faults.kills", "--kills", "4", "--where", where]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["kills"] >= 4 and result["different"] == 0
