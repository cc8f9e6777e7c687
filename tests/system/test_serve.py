"""`python -m xmtc.serve` as its users start and stop it, on a trained run."""

import concurrent.futures
import itertools
import os
import re
import signal
import ssl
import subprocess
import sys

import pytest

import xmtc

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # else httpx reads all certificates for every request
TEXTS = ["g2c1w0 g2c4w1 g2c4w1 n7", "", "nobody knows these words", "g5c0w1 g5c0w2 n3 n4 n4"]


class Command:
    def __init__(self, python, *arguments, **environment):
        self.process = subprocess.Popen(
            [python, "-m", "xmtc.serve", *map(str, arguments)],
            env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.lines = []
        for line in self.process.stderr:
            self.lines.append(line)
            if found := re.search(r"listening on (http://\S+)", line):
                self.url = found[1]
                return

    def end(self):
        rest = self.process.communicate(timeout=60)[1]
        return self.process.returncode, "".join(self.lines) + rest


@pytest.fixture
def start():
    commands = []

    def start(python, *arguments, **environment):
        commands.append(Command(python, *arguments, **environment))
        return commands[-1]

    yield start
    for command in commands:
        if command.process.poll() is None:
            command.process.kill()
            command.process.wait()


def test_answers_are_the_models_and_a_stop_loses_none(finished, start, python):
    command = start(python, finished[1], "port=0", "max_batch=2", "threads=1")
    predicted = xmtc.load(finished[1]).predict(TEXTS, k=7)
    assert len({tuple(p.scores) for p in predicted}) == len(TEXTS) - 1  # all but the two without known words
    expected = [{"labels": p.labels, "names": p.names} for p in predicted]
    answer = httpx.post(command.url + "/predict", json={"texts": TEXTS, "k": 7}).json()
    assert [{k: p[k] for k in ("labels", "names")} for p in answer["predictions"]] == expected
    raw = httpx.post(command.url + "/predict", json={"texts": TEXTS, "k": 3, "raw": True}).json()["predictions"]
    compared = [httpx.post(command.url + "/explain", json={"text": t, "k": 3}).json() for t in TEXTS]
    assert [[move["label"] for move in c["raw"]] for c in compared] == [p["labels"] for p in raw]
    assert [[m["label"] for m in c["enhanced"]] for c in compared] == [e["labels"][:3] for e in expected]
    from xmtc.explaining.document import explain

    why = httpx.post(command.url + "/explain", json={"text": TEXTS[0], "k": 3, "why": True}).json()["why"]
    wanted = explain(xmtc.load(finished[1]), TEXTS[0], 3, words=False)["labels"]
    assert [(label["id"], label["moved"]) for label in why] == [(label["id"], label["moved"]) for label in wanted]
    assert why[0]["blocks"]
    assert httpx.get(command.url + "/labels").json()["total"] == 128

    def ask(number):
        try:
            answer = httpx.post(command.url + "/predict", json={"texts": TEXTS, "k": 1}, timeout=30, verify=NO_TLS)
            return answer.status_code
        except httpx.ConnectError:
            return "refused"  # never accepted, so nothing is lost

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, i) for i in range(100)]
        next(itertools.islice(concurrent.futures.as_completed(asked), 19, None))
        command.process.send_signal(signal.SIGTERM)
        codes = [future.result() for future in asked]
    assert set(codes) <= {200, "refused"} and codes.count(200) >= 20
    code, log = command.end()
    assert code == 0 and "everything that was sent is answered" in log


def test_ctrl_c(finished, start):
    command = start(sys.executable, finished[1], "port=0")
    command.process.send_signal(signal.SIGINT)
    code, log = command.end()
    assert code == 130 and "Traceback" not in log


@pytest.mark.parametrize(
    "words, says",
    [
        (["port=http"], "port: expected a whole number"),
        (["prot=1"], "did you mean port"),
        (["--port=1"], "without dashes: port=1"),
        (["max_batch=0"], "max_batch: expected at least 1"),
        (["token_file=/nowhere"], "token_file=/nowhere: cannot be read"),
        (["host=256.256.256.256", "port=0"], "cannot listen"),
    ],
)
def test_settings_that_cannot_be_used(tmp_path, capsys, words, says):
    from xmtc.serve import main

    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), *words])
    line = capsys.readouterr().err
    assert stopped.value.code == 2 and says in line and line.count("\n") == 1


def test_a_folder_that_is_no_run(tmp_path, capsys):
    from xmtc.serve import main

    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), "port=0"])
    assert stopped.value.code == 2 and "not a run directory" in capsys.readouterr().err


def test_the_token(tmp_path, monkeypatch):
    from xmtc.errors import InputError
    from xmtc.serve import read_token
    from xmtc.serving.settings import Settings

    monkeypatch.delenv("XMTC_TOKEN", raising=False)
    assert read_token(Settings()) is None
    monkeypatch.setenv("XMTC_TOKEN", "from the environment")
    assert read_token(Settings()) == "from the environment"
    (tmp_path / "token").write_text("of the file\n")
    assert read_token(Settings(token_file=str(tmp_path / "token"))) == "of the file"
    (tmp_path / "token").write_text("\n")
    with pytest.raises(InputError, match="is empty"):
        read_token(Settings(token_file=str(tmp_path / "token")))
