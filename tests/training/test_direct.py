"""A file that is written past the system's cache holds what was written, and its checksum is that of the whole."""

import errno
import fcntl
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from xmtc.training import direct
from xmtc.training.direct import BLOCK, PIECE, Direct
from xmtc.training.kept import checksum, save_tensors


def written(path, *pieces):
    with Direct(path) as file:
        assert [file.write(piece) for piece in pieces] == [len(piece) for piece in pieces]
    assert file.checksum == checksum(path)
    return path.read_bytes()


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 3 * BLOCK + 5])
def test_every_byte_arrives_whatever_the_size(tmp_path, size):
    content = os.urandom(size)
    assert written(tmp_path / "at once", content) == content
    cut = size // 3
    assert written(tmp_path / "in pieces", content[:cut], b"", content[cut:]) == content


def test_a_longer_file_of_that_name_is_gone(tmp_path):
    (tmp_path / "file").write_bytes(b"longer than the new one")
    assert written(tmp_path / "file", b"new") == b"new"


class System:
    """os, with another `open` or `write`."""

    def __init__(self, **other):
        self.__dict__.update(other)

    def __getattr__(self, name):
        return getattr(os, name)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
@pytest.mark.parametrize("where", ["open", "write"])
def test_where_a_file_system_knows_no_direct_writing_it_is_any_other_file(tmp_path, monkeypatch, where, number):
    def refused():
        raise OSError(number, os.strerror(number))

    def opened(path, flags, mode):
        return refused() if flags & os.O_DIRECT else os.open(path, flags, mode)

    def wrote(file, data):
        return refused() if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_DIRECT else os.write(file, data)

    monkeypatch.setattr(direct, "os", System(open=opened) if where == "open" else System(write=wrote))
    content = os.urandom(PIECE + 7)
    assert written(tmp_path / "file", content) == content


def test_whole_blocks_alone_are_written_directly(tmp_path, monkeypatch):
    seen = []

    def wrote(file, data):
        seen.append((len(data), bool(fcntl.fcntl(file, fcntl.F_GETFL) & os.O_DIRECT)))
        return os.write(file, data[: len(data) if len(data) <= BLOCK else len(data) // 2])  # less than was asked

    monkeypatch.setattr(direct, "os", System(write=wrote))
    content = os.urandom(4 * BLOCK + 3)
    assert written(tmp_path / "file", content) == content
    assert [size for size, _ in seen] == [4 * BLOCK, 2 * BLOCK, BLOCK, 3] and not seen[-1][1]
    assert all(way for _, way in seen[:-1]) or not any(way for _, way in seen)  # the latter where no file can be


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", [1, 2])
def test_what_stops_the_writing_is_raised_and_not_what_an_archive_makes_of_it(tmp_path, monkeypatch, error, at):
    calls = []

    def wrote(file, data):
        calls.append(len(data))
        if len(calls) == at:
            raise error
        return os.write(file, data)

    monkeypatch.setattr(direct, "PIECE", 2 * BLOCK)
    monkeypatch.setattr(direct, "os", System(write=wrote))
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(type(error)) as raised:
        save_tensors({"a": torch.randn(5000), "b": torch.randn(5000)}, tmp_path / "file")
    assert raised.value is error and len(calls) == at
    assert len(os.listdir("/proc/self/fd")) == before
    assert torch.serialization.get_crc32_options()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_the_file_is_written(tmp_path, monkeypatch, number):
    """Raised anywhere, it could leave a lock that the writing thread needs: the process would hang."""

    def wrote(file, data):
        os.kill(os.getpid(), number)
        time.sleep(0.001)  # the main thread goes on meanwhile
        return os.write(file, data)

    def handler(*_):
        raise KeyboardInterrupt

    content = {"a": torch.randn(50_000)}
    save_tensors(content, tmp_path / "alone")
    before = {n: signal.signal(n, handler) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        monkeypatch.setattr(direct, "PIECE", BLOCK)
        monkeypatch.setattr(direct, "os", System(write=wrote))
        with pytest.raises(KeyboardInterrupt):
            save_tensors(content, tmp_path / "file")
        assert signal.getsignal(signal.SIGINT) is signal.getsignal(signal.SIGTERM) is handler
    finally:
        for n, other in before.items():
            signal.signal(n, other)
    assert checksum(tmp_path / "file") == checksum(tmp_path / "alone") and torch.serialization.get_crc32_options()


def test_nothing_is_left_in_the_process(tmp_path):
    def held():
        files, maps = os.listdir("/proc/self/fd"), Path("/proc/self/maps").read_text()
        return len(files), threading.active_count(), sum("/dev/zero" in line for line in maps.splitlines())

    written(tmp_path / "file", b"x")
    before = held()
    for size in (1, PIECE + 1):
        written(tmp_path / "file", b"x" * size)
    with pytest.raises(FileNotFoundError):
        Direct(tmp_path / "nowhere" / "file")
    assert held() == before
