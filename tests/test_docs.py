"""Every command and every program in docs/ runs, page by page, in the order in which a reader would type them.

A training that stands on several pages, word for word, runs once: the other pages go on with copies of what it left.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from xmtc.data.files import locked

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.M | re.S)
RUN = [page for page in PAGES if re.search(r"^```(bash|python)", page.read_text(encoding="utf-8"), re.M)]
TRAINING = re.compile(r"^python -m xmtc\.run .*\bhydra\.run\.dir=(\S+)$", re.M)
ON_PAGES = Counter(found[0] for page in RUN for found in TRAINING.finditer(page.read_text(encoding="utf-8")))


def script(text, port, made):
    """The page as one bash script. made: what to type in place of a line."""
    lines = ["set -euo pipefail"]
    for number, (language, title, body) in enumerate(FENCE.findall(text)):
        if title:
            lines.append(f"mkdir -p {Path(title).parent}\ncat > {title} <<'END_OF_{number}'\n{body}END_OF_{number}")
        elif language == "python":
            lines.append(f"python - <<'END_OF_{number}'\n{body}END_OF_{number}")
        elif language == "bash":
            # the port of the page may be somebody's
            body = re.sub(r"(xmtc\.serve runs/first)", rf"\1 port={port}", body).replace(":8000", f":{port}")
            body = TRAINING.sub(lambda found: made.get(found[0], found[0]), body)
            lines.append(f"set -x\n{body}{{ set +x; }} 2>/dev/null")
        else:
            assert language in ("text", "json", "yaml"), f"blocks of {language} are not run"
    return "\n".join(lines)


@pytest.fixture
def trained(common):
    """`trained(line, environment)`: runs this training, or finds that another page has; answers the line that puts a
    copy of its run directory where it would be."""

    def trained(line, environment):
        place = common / f"docs{sorted(ON_PAGES).index(line)}"
        with locked(common / f"{place.name}.lock"):
            if not (place / "done").exists():
                place.mkdir(exist_ok=True)
                subprocess.run(["bash", "-c", line], cwd=place, env=environment, check=True, stdin=subprocess.DEVNULL)
                (place / "done").touch()
        run = TRAINING.fullmatch(line)[1]
        return f"mkdir -p {Path(run).parent}\ncp -r {place}/{run} {run}"

    return trained


def test_the_first_training_is_on_several_pages():
    assert max(ON_PAGES.values()) > 3


@pytest.mark.slow(40)
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_everything_on_a_page_runs(page, tmp_path, python, common, trained):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "PATH": f"{Path(python).parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{tmp_path}",
        "XMTC_CACHE": str(common / "cache"),
        "WANDB_MODE": "disabled",
        "OMP_NUM_THREADS": "1",
    }
    text = page.read_text(encoding="utf-8")
    several = [found[0] for found in TRAINING.finditer(text) if ON_PAGES[found[0]] > 1]
    made = {line: trained(line, environment) for line in several}
    command = ["bash", "-c", script(text, port, made)]
    with open(tmp_path / "log", "w+") as log:
        # a session of its own: a page that hangs leaves no server behind
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(timeout=850)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    said = (tmp_path / "log").read_text(errors="replace")
    assert code == 0, said[-5000:]
    assert "Traceback" not in said


def test_the_pages_are_all_in_the_list():
    listed = [path for entry in yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"] for path in entry.values()]
    assert sorted(listed) == [page.name for page in PAGES]


def test_the_texts_on_the_pages_are_of_words_that_the_built_in_corpus_has():
    """Any other word is unknown to its models, and every such text has the same answer."""
    from xmtc.data.sources.toy import ToySource

    known = {word for text, _ in ToySource(train=600).documents("train") for word in text.split()}
    for page in PAGES:
        blocks = [body for language, _, body in FENCE.findall(page.read_text(encoding="utf-8")) if language != "text"]
        found = set(re.findall(r"\b[a-z]\d+(?:[a-z]\d+)*\b(?!\.)", " ".join(blocks)))
        assert found <= known, page.name


def test_every_command_is_on_some_page():
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    modules = ("run", "prepare", "report", "predict", "calibrate", "explain", "ensemble", "serve", "export", "search",
               "evaluate", "enhance", "analyse", "estimate", "reproduce")  # fmt: skip
    for module in modules:
        assert f"python -m xmtc.{module}" in text


@pytest.mark.slow
def test_the_pages_build_strictly(tmp_path):
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    pytest.importorskip("mkdocstrings", reason="the extra `docs` is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    api = (tmp_path / "site" / "api" / "index.html").read_text()
    assert "predict_batch" in api
    home = (tmp_path / "site" / "index.html").read_text()
    assert re.findall(r"(?:src|href)=\"https?://(?!squidfunk|www\.mkdocs)[^\"]+\"", home) == []
