"""Which checkpoint a run goes on from when files are missing, cut or flipped."""

import zipfile

import pytest
import torch

from xmtc.errors import InputError
from xmtc.training.direct import Direct
from xmtc.training.kept import is_whole, newest, save_tensors, write


def saves(content):
    """What `write` takes: writes a text and returns its checksum."""

    def save(path):
        with Direct(path) as file:
            file.write(content.encode())
        return file.checksum

    return save


@pytest.fixture
def folder(tmp_path):
    """A run's checkpoints of three times; the last two are kept."""
    for content in ("first", "second", "third"):
        write(tmp_path / "last.ckpt", saves(content))
    return tmp_path


def test_the_last_two_are_kept(folder):
    assert newest(folder).read_text() == "third"
    assert (folder / "previous.ckpt").read_text() == "second"
    assert {file.name for file in folder.iterdir()} == {"last.ckpt", "previous.ckpt", "hashes"}
    assert is_whole(folder / "last.ckpt") and is_whole(folder / "previous.ckpt")


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "remove"])
def test_a_damaged_one_is_recognised_and_the_previous_used_loudly(folder, harm, caplog):
    last = folder / "last.ckpt"
    content = bytearray(last.read_bytes())
    content[2] ^= 1
    {
        "flip": lambda: last.write_bytes(content),
        "cut": lambda: last.write_bytes(content[:3]),
        "empty": lambda: last.write_bytes(b""),
        "remove": last.unlink,
    }[harm]()
    assert newest(folder).read_text() == "second"
    assert ("missing" if harm == "remove" else "damaged") in caplog.text and "previous.ckpt" in caplog.text


def test_both_damaged_or_none_there(folder, tmp_path):
    for name in ("last.ckpt", "previous.ckpt"):
        (folder / name).write_text("other")
    with pytest.raises(InputError, match="damaged.*no whole previous.ckpt"):
        newest(folder)
    with pytest.raises(InputError, match="has no checkpoints/last.ckpt"):
        newest(tmp_path / "nowhere")


def test_a_run_without_a_list_counts_as_whole(tmp_path):
    (tmp_path / "last.ckpt").write_text("from an older version")
    assert newest(tmp_path).name == "last.ckpt"


def test_a_damaged_list_makes_nothing_whole(folder):
    (folder / "hashes").write_bytes(b"\xff\x00 nonsense")
    with pytest.raises(InputError, match="damaged"):
        newest(folder)


def test_many_kills_before_the_rename_leave_the_old_one_whole(folder, monkeypatch):
    from xmtc.training import kept

    replace = kept.os.replace
    monkeypatch.setattr(kept.os, "replace", lambda old, new: "hashes" in str(new) and replace(old, new))
    for content in "abcd":
        write(folder / "last.ckpt", saves(content))
    assert newest(folder).read_text() == "third"


def test_tensors_are_written_without_checksums_that_nobody_reads(tmp_path):
    content = {"state_dict": {"a": torch.arange(5.0), "b": torch.zeros(0, 3)}, "step": 7}
    save_tensors(content, tmp_path / "best.ckpt")
    assert torch.serialization.get_crc32_options()  # as it was
    back = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert back["step"] == 7 and torch.equal(back["state_dict"]["a"], torch.arange(5.0))
    assert back["state_dict"]["b"].shape == (0, 3)
    with zipfile.ZipFile(tmp_path / "best.ckpt") as archive:  # the records' sums are not those of what they hold
        assert archive.testzip() is not None
