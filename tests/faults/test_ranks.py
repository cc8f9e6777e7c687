"""One rank is lost; `make faults` has twenty."""

import signal

import pytest

from tests.faults.ranks import case


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_other_rank_ends_and_names_the_lost_one(tmp_path):
    row = case(tmp_path / "run", tmp_path / "cache", 1, signal.SIGKILL)
    assert row["outcome"] == "ended, continued", row
