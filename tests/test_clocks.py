"""Nothing is decided or measured by the time of day, which people and machines set back and forward."""

import re
from pathlib import Path

import pytest

import xmtc

FILES = sorted(Path(xmtc.__file__).parent.rglob("*.py"))
TIME_OF_DAY = re.compile(r"\btime\.(time|time_ns|localtime|gmtime|ctime)\(|\b(datetime|date)\.(now|utcnow|today)\(")
# a server may name a date to come back at; the wait has a bound. A folder is named by it, as Hydra's ${now:} does
EXEMPT = {"data/download.py": 1, "config/outside.py": 1}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(FILES[0].parent).as_posix())
def test_the_time_of_day_is_not_asked_for(path):
    name = path.relative_to(Path(xmtc.__file__).parent).as_posix()
    assert len(TIME_OF_DAY.findall(path.read_text())) == EXEMPT.get(name, 0)


def test_it_would_be_found():
    assert TIME_OF_DAY.search("began = time.time()") and TIME_OF_DAY.search("datetime.now(UTC)")
    assert not TIME_OF_DAY.search("time.monotonic()")


def test_a_server_that_asks_to_come_back_next_year_is_asked_again_soon(tmp_path, monkeypatch):
    from xmtc.data import download

    assert download._retry_after("Wed, 21 Oct 2115 07:28:00 GMT") > download.LONGEST_WAIT
    waits = []

    def busy(*_, **__):
        raise download._TryAgain("busy", download._retry_after("Wed, 21 Oct 2115 07:28:00 GMT"))

    monkeypatch.setattr(download, "_transfer", busy)
    with pytest.raises(download.Unavailable):
        download.fetch("http://127.0.0.1:1/x", tmp_path / "x", sleep=waits.append)
    assert waits and set(waits) == {download.LONGEST_WAIT}
