"""The wheel: carries the configuration, works from any folder, takes an encoder from somebody else's package."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from xmtc.config import config_dir

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel unpacked into a folder of its own, as pip would."""
    pytest.importorskip("hatchling")
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("there is no source tree around these tests, so nothing to build a wheel of")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def python(code, site, cwd, *more):
    """stdout of `code` run where only the installed wheel can be imported."""
    path = os.pathsep.join(str(p) for p in (site, *more))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_carries_every_configuration_file(installed):
    def files(folder):
        return {p.relative_to(folder).as_posix() for p in folder.rglob("*.yaml")}

    assert files(installed / "xmtc" / "conf") == files(ROOT / "conf")
    assert not (installed / "tests").exists()
    assert (installed / "xmtc" / "py.typed").is_file()  # else type checkers take no notice of our annotations


def test_the_wheel_carries_the_launchers_where_hydra_looks(installed, tmp_path):
    code = """
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
import sys
for found in Plugins.instance().discover(Launcher):
    if "xmtc" in found.__module__:
        print(found.__name__, sys.modules[found.__module__].__file__)
"""
    found = dict(line.split() for line in python(code, installed, tmp_path).splitlines())
    assert sorted(found) == ["LocalLauncher", "SubmititLauncher"]
    assert all(path.startswith(str(installed)) for path in found.values())
    assert (installed / "xmtc" / "reporting" / "page.html").is_file()


def test_a_source_tree_uses_its_own_configuration():
    assert config_dir() == ROOT / "conf"


def test_a_stale_copy_beside_the_package_is_not_used(tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "xmtc" / "conf").mkdir(parents=True)
    assert config_dir(tmp_path / "xmtc") == tmp_path / "xmtc" / "conf"  # conf in site-packages: somebody else's
    (tmp_path / "pyproject.toml").touch()
    assert config_dir(tmp_path / "xmtc") == tmp_path / "conf"


def test_the_installed_wheel_finds_its_configuration_from_any_folder(installed, tmp_path):
    found = python("from xmtc.config import config_dir; print(config_dir())", installed, tmp_path).strip()
    assert found == str(installed / "xmtc" / "conf")


def test_an_encoder_from_somebody_elses_package(installed, tmp_path):
    """One file and one YAML, outside of this package."""
    (tmp_path / "theirs" / "encoder").mkdir(parents=True)
    (tmp_path / "theirs" / "encoder" / "mine.yaml").write_text("_target_: their_package.mine.Mine\nwidth: 3\n")
    (tmp_path / "code" / "their_package").mkdir(parents=True)
    (tmp_path / "code" / "their_package" / "mine.py").write_text(
        "from xmtc.encoders.base import Encoder\n\n\nclass Mine(Encoder):\n"
        "    def __init__(self, vocabulary, width: int = 2):\n        super().__init__()\n"
    )
    code = """
from xmtc.config import compose_checked
from xmtc.errors import InputError
print(compose_checked(["hydra.searchpath=[theirs]", "encoder=mine", "encoder.width=4"]).encoder.width)
try:
    compose_checked(["hydra.searchpath=[theirs]", "encoder=mine", "encoder.width=wide"])
except InputError as error:
    print(error)
"""
    assert python(code, installed, tmp_path, tmp_path / "code").splitlines() == [
        "4",
        "encoder.width: expected a whole number, got the text wide",
    ]
