"""A few inputs for every target of the fuzzer; `make faults` has the million. And that it sees what it looks for."""

import signal

import pytest
from hypothesis import strategies as st

from tests.faults import fuzz
from tests.faults.fuzz_targets import Target
from xmtc.errors import InputError


@pytest.mark.slow
def test_odd_inputs_are_answered_or_refused_in_one_line():
    result = fuzz.main(["--inputs", "500"])
    assert result["inputs"] >= 450 and result["kinds of failure"] == 0


def test_what_is_wrong_is_seen(monkeypatch):
    monkeypatch.setattr(fuzz, "ALARMS", {signal.ITIMER_PROF: (signal.SIGPROF, 0.3)})  # of work, on any machine

    def read(number):
        if number == 1:
            raise ValueError("not ours")
        if number == 2:
            raise InputError("")
        while number == 3:
            pass
        if number == 4:
            raise InputError("a fair answer")

    before = signal.signal(signal.SIGPROF, fuzz._hang)
    try:
        tally = fuzz.fuzz(Target(st.integers(0, 5), read, 1), 60, seed=0)
    finally:
        signal.signal(signal.SIGPROF, before)
    assert len(tally.failures) == 3
    assert any("ValueError" in line for line in tally.failures) and any("no answer" in line for line in tally.failures)
    assert tally.outcomes["answered"] and tally.outcomes["refused"]
