"""Downloads from a server that stalls, cuts, lies and refuses."""

import email.utils
import hashlib
import multiprocessing
import shutil
import time
from collections import namedtuple

import numpy as np
import pytest

from xmtc.data.download import Unavailable, fetch
from xmtc.errors import InputError
from xmtc.testing.server import cut_after, serving, stall_after, status, whole

DATA = np.random.default_rng(0).integers(0, 256, 600_000, np.uint8).tobytes()
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with serving() as server:
        server.files["/a.zip"] = DATA
        yield server


@pytest.fixture
def get(server, tmp_path):
    """`get(...)`: (bytes that came, seconds slept between tries)."""

    def get(path="/a.zip", **options):
        slept = []
        fetch(server.url + path, tmp_path / "a.zip", sleep=slept.append, **({"timeout": 5} | options))
        return (tmp_path / "a.zip").read_bytes(), slept

    return get


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_as_it_should_be(get, tmp_path):
    assert get(sha256=SHA, size=len(DATA)) == (DATA, [])
    assert left(tmp_path) == ["a.zip"]


def test_what_is_there_is_not_fetched_again(get, server, tmp_path):
    (tmp_path / "a.zip").write_bytes(b"mine")
    assert get() == (b"mine", []) and server.requests == []


def test_an_empty_file(get, server):
    server.files["/a.zip"] = b""
    assert get() == (b"", [])


def test_cut_connections_go_on_where_they_ended(get, server):
    server.tricks["/a.zip"] = [cut_after(200_000), cut_after(100_000)]
    data, slept = get(sha256=SHA)
    assert data == DATA and len(slept) == 2
    assert [asked for _, asked in server.requests] == [None, "bytes=200000-", "bytes=300000-"]


def test_a_stalling_server_is_left_and_gone_on_with(get, server):
    server.tricks["/a.zip"] = [stall_after(300_000, 30)]
    begun = time.monotonic()
    assert get(timeout=0.5)[0] == DATA and time.monotonic() - begun < 10
    assert server.requests[1][1] is not None


def test_a_later_call_goes_on_with_the_part(get, server, tmp_path):
    server.tricks["/a.zip"] = [cut_after(250_000)] + [status(503)] * 6
    with pytest.raises(Unavailable, match="503"):
        get()
    assert left(tmp_path) == ["a.zip.part", "a.zip.part.json"]
    assert get()[0] == DATA and server.requests[-1] == ("/a.zip", "bytes=250000-")
    assert left(tmp_path) == ["a.zip"]


def test_a_file_that_changed_meanwhile_begins_again(server, tmp_path):
    server.tricks["/a.zip"] = [cut_after(250_000)]
    server.versions["/a.zip"] = '"old"'
    server.files["/a.zip"] = DATA[::-1]

    def replace(_):
        server.versions["/a.zip"], server.files["/a.zip"] = '"new"', DATA

    fetch(server.url + "/a.zip", tmp_path / "a.zip", sleep=replace, timeout=5)
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert [asked for _, asked in server.requests] == [None, "bytes=250000-"]


def test_without_a_version_only_a_known_hash_allows_to_go_on(get, server, tmp_path):
    server.versions["/a.zip"] = ""
    server.tricks["/a.zip"] = [cut_after(200_000)]
    assert get()[0] == DATA and [asked for _, asked in server.requests] == [None, None]
    (tmp_path / "a.zip").unlink()
    server.tricks["/a.zip"] = [cut_after(200_000)]
    assert get(sha256=SHA)[0] == DATA and server.requests[-1][1] == "bytes=200000-"


def test_a_server_that_knows_no_ranges(get, server):
    def plain(handler, body):
        del handler.headers["Range"]
        whole(handler, body)

    server.tricks["/a.zip"] = [cut_after(200_000), plain]
    assert get()[0] == DATA


def test_another_piece_than_asked_for_is_not_taken(get, server):
    def wrong(handler, body):
        handler.headers.replace_header("Range", "bytes=1000-")
        whole(handler, body)

    server.tricks["/a.zip"] = [cut_after(200_000), wrong]
    assert get()[0] == DATA


def test_a_part_longer_than_the_file_begins_again(get, server, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(DATA + b"more")
    assert get(sha256=SHA)[0] == DATA


def test_wrong_bytes_are_thrown_away(get, server, tmp_path):
    with pytest.raises(Unavailable, match=f"sha256 {SHA[:12]}..., expected 000000000000"):
        get(sha256="0" * 64)
    assert left(tmp_path) == []


def test_a_length_that_is_not_the_expected_one(get, tmp_path):
    with pytest.raises(Unavailable, match="has 600,000 bytes, expected 5"):
        get(size=5)
    assert left(tmp_path) == []


def test_a_server_that_claims_more_than_it_gives(get, server):
    """All of it came, and the server says at each try that there is more."""
    server.tricks["/a.zip"] = [lambda handler, body: whole(handler, body, claimed=len(DATA) + 10)] * 50
    with pytest.raises(Unavailable):
        get(attempts=3)
    assert len(server.requests) < 10


@pytest.mark.parametrize("code", [401, 403, 404, 410, 451])
def test_refusals_are_not_tried_again(get, server, code):
    server.tricks["/a.zip"] = [status(code)]
    with pytest.raises(Unavailable, match=str(code)):
        get()
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_busy_servers_are_tried_again(get, server, code):
    server.tricks["/a.zip"] = [status(code), status(code)]
    data, slept = get()
    assert data == DATA and 1 <= slept[0] <= 2 and 2 <= slept[1] <= 4


def test_a_busy_server_says_when(get, server):
    date = email.utils.formatdate(time.time() + 50, usegmt=True)
    server.tricks["/a.zip"] = [
        status(429, Retry_After="7"), status(503, Retry_After=date), status(503, Retry_After="9999"),
        status(503, Retry_After="soon"),
    ]  # fmt: skip
    data, slept = get()
    assert data == DATA and slept[0] == 7 and 40 <= slept[1] <= 50 and slept[2] == 300 and slept[3] <= 16


def test_giving_up(get, server):
    server.tricks["/a.zip"] = [status(503)] * 9
    with pytest.raises(Unavailable, match=r"503 .*\(4 times\)"):
        get(attempts=4)
    assert len(server.requests) == 4


def test_redirects(get, server):
    server.tricks["/old"] = [status(302, Location="/a.zip")]
    assert get("/old")[0] == DATA


def test_a_redirect_without_end(get, server):
    server.tricks["/loop"] = [status(302, Location="/loop")] * 99
    with pytest.raises(Unavailable, match="redirects"):
        get("/loop")


def test_a_web_page_in_place_of_the_file(get, server):
    server.tricks["/a.zip"] = [status(200, Content_Type="text/html; charset=utf-8")]
    with pytest.raises(Unavailable, match="a web page instead of the file"):
        get()


def test_nobody_there(tmp_path):
    with pytest.raises(Unavailable, match="2 times"):
        fetch("http://127.0.0.1:9/a.zip", tmp_path / "a.zip", attempts=2, sleep=lambda _: None)
    with pytest.raises(Unavailable):
        fetch("gopher://example.org/a.zip", tmp_path / "a.zip")


def test_a_disk_too_small_is_told_before(get, monkeypatch, tmp_path):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
    with pytest.raises(InputError, match="paths.data_dir: .* 1,000 bytes free, 600,000 more are needed"):
        get()
    assert left(tmp_path) == []


def test_a_proxy_of_the_environment_is_asked(server, get, monkeypatch, tmp_path):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    server.files["http://corpora.example/a.zip"] = DATA
    fetch("http://corpora.example/a.zip", tmp_path / "b.zip", timeout=5)
    assert (tmp_path / "b.zip").read_bytes() == DATA


def _fetch(url, target):
    fetch(url, target, timeout=5)


def test_several_processes_fetch_once(server, tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_fetch, args=(f"{server.url}/a.zip", tmp_path / "a.zip")) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert (tmp_path / "a.zip").read_bytes() == DATA and len(server.requests) == 1
