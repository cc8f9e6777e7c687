"""Every command and every program in docs/ runs, page by page, in the order in which a reader would type them."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.M | re.S)
RUN = [page for page in PAGES if re.search(r"^```(bash|python)", page.read_text(encoding="utf-8"), re.M)]


def script(text, port):
    """The page as one bash script."""
    lines = ["set -euo pipefail"]
    for number, (language, title, body) in enumerate(FENCE.findall(text)):
        if title:
            lines.append(f"mkdir -p {Path(title).parent}\ncat > {title} <<'END_OF_{number}'\n{body}END_OF_{number}")
        elif language == "python":
            lines.append(f"python - <<'END_OF_{number}'\n{body}END_OF_{number}")
        elif language == "bash":
            # the port of the page may be somebody's
            body = re.sub(r"(xmtc\.serve runs/first)", rf"\1 port={port}", body).replace(":8000", f":{port}")
            lines.append(f"set -x\n{body}{{ set +x; }} 2>/dev/null")
        else:
            assert language in ("text", "json", "yaml"), f"blocks of {language} are not run"
    return "\n".join(lines)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_everything_on_a_page_runs(page, tmp_path, python):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "PATH": f"{Path(python).parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{tmp_path}",
        "XMTC_CACHE": str(tmp_path / "cache"),
        "WANDB_MODE": "disabled",
        "OMP_NUM_THREADS": "1",
    }
    command = ["bash", "-c", script(page.read_text(encoding="utf-8"), port)]
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
        found = set(re.findall(r"\b[a-z]\d+(?:[a-z]\d+)*\b", " ".join(blocks)))
        assert found <= known, page.name


def test_every_command_is_on_some_page():
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    modules = ("run", "prepare", "report", "predict", "calibrate", "explain", "ensemble", "serve", "export", "search",
               "enhance", "analyse", "estimate", "reproduce")  # fmt: skip
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
