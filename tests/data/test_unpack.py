"""Archives that want to write elsewhere, fill the disk or are no archives."""

import io
import stat
import tarfile
import zipfile

import pytest

from xmtc.data import unpack as module
from xmtc.data.unpack import unpack
from xmtc.errors import InputError


def zipped(path, files, mode=None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if mode:
                info.external_attr = mode << 16
            archive.writestr(info, data)
    return path


def tarred(path, files, kind=tarfile.REGTYPE):
    with tarfile.open(path, "w:" + ("xz" if path.suffix == ".xz" else "gz")) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.size = len(data) if kind == tarfile.REGTYPE else 0
            info.linkname = "/etc/passwd"
            archive.addfile(info, io.BytesIO(data))
    return path


def content(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


FILES = [("c/train.txt", b"a" * 1000), ("c/sub/test.txt", b""), ("__MACOSX/c/._train.txt", b"x"), ("c/._test", b"x")]


@pytest.mark.parametrize("name, pack", [("a.zip", zipped), ("a.tar.gz", tarred), ("a.tar.xz", tarred)])
def test_files_and_folders(tmp_path, name, pack):
    unpack(pack(tmp_path / name, FILES), tmp_path / "out")
    assert content(tmp_path / "out") == {"c/train.txt": b"a" * 1000, "c/sub/test.txt": b""}


@pytest.mark.parametrize("pack, name", [(zipped, "a.zip"), (tarred, "a.tar.gz")])
@pytest.mark.parametrize("path", ["../evil", "/evil", "a/../../evil", "a\\..\\evil"])
def test_nothing_is_written_elsewhere(tmp_path, pack, name, path):
    archive = pack(tmp_path / name, [("fine", b"x"), (path, b"evil")])
    with pytest.raises(InputError, match="outside of its own folder"):
        unpack(archive, tmp_path / "out")
    assert not list(tmp_path.rglob("*evil*")) and set(content(tmp_path / "out")) == {"fine"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_of_a_tar(tmp_path, kind):
    with pytest.raises(InputError, match="a link or a device"):
        unpack(tarred(tmp_path / "a.tar.gz", [("l", b"")], kind), tmp_path / "out")
    assert content(tmp_path / "out") == {}


def test_links_of_a_zip(tmp_path):
    with pytest.raises(InputError, match="a link or a device"):
        unpack(zipped(tmp_path / "a.zip", [("l", b"/etc/passwd")], stat.S_IFLNK | 0o777), tmp_path / "out")


@pytest.mark.parametrize("pack, name", [(zipped, "a.zip"), (tarred, "a.tar.gz")])
def test_a_bomb_stops_at_the_bound(tmp_path, monkeypatch, pack, name):
    monkeypatch.setattr(module, "SMALL", 5000)
    archive = pack(tmp_path / name, [("zeros", bytes(3_000_000))])
    bound = max(5000, 100 * archive.stat().st_size)
    with pytest.raises(InputError, match=f"grows to more than {bound:,} bytes"):
        unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "zeros").stat().st_size <= bound


def test_too_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_FILES", 3)
    with pytest.raises(InputError, match="more than 3 files"):
        unpack(zipped(tmp_path / "a.zip", [(str(i), b"") for i in range(4)]), tmp_path / "out")


@pytest.mark.parametrize("pack, name", [(zipped, "a.zip"), (tarred, "a.tar.gz")])
def test_one_name_twice(tmp_path, pack, name):
    with pytest.warns(UserWarning) if pack is zipped else pytest.MonkeyPatch.context():
        archive = pack(tmp_path / name, [("same", b"1"), ("same", b"2")])
    with pytest.raises(InputError, match="holds same twice"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("pack, name", [(zipped, "a.zip"), (tarred, "a.tar.gz"), (tarred, "a.tar.xz")])
def test_damage_is_told(tmp_path, pack, name):
    archive = pack(tmp_path / name, [(f"f{i}", bytes(range(256)) * 40) for i in range(20)])
    data = bytearray(archive.read_bytes())
    middle = len(data) // 3
    data[middle : middle + 40] = b"?" * 40
    archive.write_bytes(data)
    with pytest.raises(InputError, match="remove it and download it again"):
        unpack(archive, tmp_path / "out")


def test_no_archive(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"<html>quota exceeded</html>")
    with pytest.raises(InputError, match="expected a whole zip or tar archive"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_a_member_without_a_name(tmp_path):
    archive = zipped(tmp_path / "a.zip", [("q", b"1")])
    archive.write_bytes(archive.read_bytes().replace(b"q", b"\0"))
    with pytest.raises(InputError, match="the archive is damaged"):
        unpack(archive, tmp_path / "out")
