"""One rank is lost; `make faults` has twenty."""

import json
import subprocess

import pytest


@pytest.mark.slow
def test_the_other_rank_ends_and_names_the_lost_one(python):
    command = [python, "-m", "tests.faults.ranks", "--cases", "1", "--seed", "4"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[0])["outcome"] == "ended, continued"
