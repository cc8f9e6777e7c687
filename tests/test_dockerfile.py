"""The Dockerfile, as far as it goes without Docker: what it copies is enough to install, what it starts starts."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "Dockerfile").read_text()


def test_what_is_copied_makes_the_wheel_of_a_server(tmp_path):
    pytest.importorskip("hatchling")
    for line in re.findall(r"^COPY (.+)$", TEXT, re.M):
        *sources, target = line.split()
        for source in sources:
            place = tmp_path / "app" / target / (source if target == "./" else "")
            (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, _made(place))
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=tmp_path / "app", check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"xmtc/serve.py", "xmtc/serving/page.html", "xmtc/conf/run.yaml"} <= names


def _made(place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def test_its_command_line_is_the_servers():
    from xmtc.config.settings import read_settings
    from xmtc.serving.settings import Settings

    entry = json.loads(re.search(r"^ENTRYPOINT (.+)$", TEXT, re.M)[1])
    run, *settings = json.loads(re.search(r"^CMD (\[\"/.+)$", TEXT, re.M)[1])
    assert entry == ["python", "-m", "xmtc.serve"] and run == "/run-dir"
    assert read_settings(Settings, settings).host == "0.0.0.0"
    assert f"EXPOSE {Settings().port}" in TEXT


def test_it_installs_the_versions_we_develop_with():
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    assert f"ARG TORCH={pinned['torch']}" in TEXT
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.search(r"'\.\[(.+)\]'", TEXT)[1].split(",")) <= set(extras)
