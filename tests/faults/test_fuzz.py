"""A few inputs for every target of the fuzzer; `make faults` has the million. And that it sees what it looks for."""

import signal

import pytest
from hypothesis import strategies as st

from tests.faults import fuzz
from tests.faults.fuzz_targets import Target
from xmtc.errors import InputError


@pytest.mark.slow
def test_odd_inputs_are_answered_or_refused_in_one_line():
    result = fuzz.main(["--inputs", "500", "--plain"])
    assert result["inputs"] >= 450 and result["kinds of failure"] == 0


@pytest.mark.parametrize("plain", [False, True])
def test_what_is_wrong_is_seen(plain, monkeypatch):
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
        tally = fuzz.fuzz(Target(st.integers(0, 5), read, 1, lambda choose: choose.randrange(6)), 60, 0, plain)
    finally:
        signal.signal(signal.SIGPROF, before)
    assert len(tally.failures) == 3
    assert any("ValueError" in line for line in tally.failures) and any("no answer" in line for line in tally.failures)
    assert tally.outcomes["answered"] and tally.outcomes["refused"]


def test_a_log_adds_up_and_goes_on(tmp_path, monkeypatch):
    wrong = {3}

    def read(number):
        if number in wrong:
            raise KeyError(number)

    monkeypatch.setattr(fuzz, "targets", lambda folder: {"numbers": Target(st.integers(0, 1000), read, 1)})
    log = tmp_path / "fuzz.jsonl"
    words = ["--inputs", "400", "--log", str(log)]
    first = fuzz.main([*words, "--seeds", "2"])
    both = fuzz.main([*words, "--seeds", "3"])
    assert len(log.read_text().splitlines()) == 3 and both["inputs"] == 1.5 * first["inputs"] > 600
    assert both["kinds of failure"] == 1 and both["failed"] >= 1
    assert fuzz.main([*words, "--seeds", "0"]) == both
    wrong.clear()
    mended = fuzz.main([*words, "--seeds", "3", "--again"])
    assert mended["kinds of failure"] == 0 == mended["failed"] and mended["inputs"] == both["inputs"]
    assert "KeyError" in log.read_text()  # what was found stays
