"""A few cases of the harness; `make faults` has the many. Each kind of file is harmed several times."""

import random

from tests.faults.damage import KINDS, harm, main


def test_damage_is_recognised_or_harmless():
    result = main(["--cases", "72"])
    assert result["cases"] == 72 and result["failures"] == 0 and result["recognised"] > 20


def test_harm_harms():
    content = bytes(range(256)) * 3
    for number in range(200):
        choose = random.Random(number)
        harmed = harm(content, choose.choice(KINDS), number % 16, choose)
        assert harmed != content
    assert harm(b"", "flip", 3, random.Random(0)) is None


def test_a_wrong_answer_would_be_seen(monkeypatch):
    monkeypatch.setattr("xmtc.data.preparation.damaged", lambda folder: None)
    result = main(["--cases", "40", "--what", "store"])
    assert result.get("WRONG", 0) > 0
