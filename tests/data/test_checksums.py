"""A list of checksums tells of every change, and of nothing else."""

import zlib

import pytest

from xmtc.data.checksums import damaged, list_files, require_whole
from xmtc.errors import InputError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name, content in (("a", b"one"), ("empty", b""), ("deep/er/two  blanks", bytes(3_000_000))):
        (tmp_path / name).write_bytes(content)
    list_files(tmp_path)
    return tmp_path


def test_the_list_reads_as_it_says(folder):
    lines = (folder / "checksums").read_text().splitlines()
    assert f"{zlib.crc32(b'one'):08x}  3  a" in lines and len(lines) == 3
    assert damaged(folder) is None


def test_each_change_is_found(folder):
    for name in ("a", "empty"):
        kept = (folder / name).read_bytes()
        (folder / name).write_bytes(kept + b"x")
        assert damaged(folder) == damaged(folder, ["a", "empty"]) == name
        with pytest.raises(InputError, match=f"{name}: changed or damaged"):
            require_whole(folder, [name])
        (folder / name).write_bytes(kept)
    (folder / "a").unlink()
    assert damaged(folder) == "a"
    assert damaged(folder, ["a"]) is None, "its reader says that it is missing"


def test_what_is_not_listed_is_whole_and_what_is_listed_anew_replaces(folder):
    (folder / "later").write_text("x")
    assert damaged(folder) is None and damaged(folder, ["later"]) is None
    (folder / "a").write_bytes(b"two")
    list_files(folder, ["a", "later", "nowhere"])
    assert damaged(folder) is None
    assert len((folder / "checksums").read_text().splitlines()) == 4
    (folder / "checksums").unlink()
    (folder / "a").write_bytes(b"three")
    assert damaged(folder) is None


@pytest.mark.parametrize("content", [b"\0" * 90, b"\xff\xfe nonsense", b"00000000  3  a\n"])
def test_a_damaged_list_makes_nothing_whole(folder, content):
    (folder / "checksums").write_bytes(content)
    assert damaged(folder) is not None
