"""What the README tells people to type is accepted, and what it tells of the configuration is there."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from xmtc.config import checked_command_line, config_dir

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = [shlex.split(line, comments=True) for line in re.findall(r"^    python -m (xmtc\.\w+[^\n]*)", README, re.M)]


def test_there_are_commands():
    assert len(COMMANDS) > 8


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_are_accepted(command):
    module, *arguments = command
    assert (ROOT / Path(*module.split("."))).with_suffix(".py").exists() or (ROOT / Path(*module.split("."))).is_dir()
    if module in ("xmtc.run", "xmtc.prepare"):
        # a run directory is a placeholder in the text
        with checked_command_line([word for word in arguments if not word.startswith(("resume=", "--help"))]):
            pass


def test_every_choice_of_every_group_is_named():
    table = "\n".join(line for line in README.splitlines() if line.startswith("| `"))
    for group in ("encoder", "head", "dataset", "recipe", "embedding", "text", "trainer", "logger"):
        (row,) = (line for line in table.splitlines() if line.startswith(f"| `{group}` |"))
        for choice in (config_dir() / group).glob("*.yaml"):
            assert f"`{choice.stem}`" in row, f"{group}={choice.stem} is missing from the README"


@pytest.mark.slow(30)
def test_the_tutorial_of_your_own_corpus_runs(tmp_path, python):
    (script,) = re.findall(r"^```bash\n(.*?)^```$", README, re.M | re.S)
    environment = os.environ | {
        "PATH": f"{Path(python).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "XMTC_CACHE": str(tmp_path / "cache"),
        "WANDB_MODE": "disabled",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    scores = {
        kind: json.loads((tmp_path / "runs" / kind / "metrics.json").read_text())["test"]
        for kind in ("folder", "csv", "jsonl")
    }
    assert scores["folder"] == scores["csv"] == scores["jsonl"]  # one corpus in three shapes
    assert scores["csv"]["P@1"] > 0.9
    answer = json.loads(done.stdout.splitlines()[-1])
    assert set(answer["labels"]) <= {"energy", "trade", "fishery"}


@pytest.mark.parametrize("target", ["run", "test"])
def test_make_targets_exist(target):
    assert f"make {target}" in README
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)
