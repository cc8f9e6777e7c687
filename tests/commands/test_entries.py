"""Every command as a shell starts it: a fresh interpreter finds it, imports it without a word, and it tells its use.

The other tests start commands in server.py's children, where the imports have happened.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [path for path in [*ROOT.glob("xmtc/*.py"), *ROOT.glob("xmtc/*/__main__.py")]
         if '\nif __name__ == "__main__":' in path.read_text(encoding="utf-8")]  # fmt: skip
NAMES = sorted(path.stem if path.parent.name == "xmtc" else path.parent.name for path in FILES)


def test_there_are_commands():
    assert {"run", "prepare", "predict", "report", "serve", "data", "bench"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_help(name, tmp_path):
    """Without the seconds that torch takes: what a command needs to work it imports when it works."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", f"xmtc.{name}", "--help"], cwd=tmp_path, capture_output=True,
        text=True, timeout=250,
    )  # fmt: skip
    imports, said = [], []
    for line in done.stderr.splitlines():
        (imports if line.startswith("import time:") else said).append(line.rpartition("|")[2].strip())
    assert done.returncode == 0 and said == [] and list(tmp_path.iterdir()) == []
    assert f"python -m xmtc.{name}" in done.stdout
    assert "xmtc" in imports and "torch" not in imports
