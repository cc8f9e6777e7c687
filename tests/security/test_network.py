"""Training, preparing, predicting and reporting on data that is here open no connection but to this machine."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

WALL = """
import socket
connect = socket.socket.connect
def walled(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise SystemExit(f"a connection to {address}")
    return connect(self, address)
def lookup(host, *rest, **words):
    if host not in ("127.0.0.1", "::1", "localhost", None):
        raise SystemExit(f"a lookup of {host}")
    return known(host, *rest, **words)
known, socket.getaddrinfo = socket.getaddrinfo, lookup
socket.socket.connect = socket.socket.connect_ex = walled
"""
# behind it, one after the other: an interpreter that has imported nothing when the wall is built
COMMANDS = """
import json, runpy, sys
for sys.argv in json.loads(sys.argv[1]):
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if ended.code:
            raise
    print("ended:", sys.argv[0], flush=True)
"""


@pytest.mark.slow
def test_no_command_calls_out(small, tmp_path):
    run = tmp_path / "run"
    options = [word for word in small if not word.startswith("logger")]
    commands = [
        ["xmtc.prepare", *(word for word in options if word.startswith(("dataset", "paths", "prepare")))],
        # with the default logger: W&B, offline
        ["xmtc.run", *options, "encoder=bow", "head=none", "encoder.embedding.size=8", f"hydra.run.dir={run}"],
        ["xmtc.predict", f"checkpoint={run}", "input=-"],
        ["xmtc.report", str(run)],
        ["xmtc.analyse", str(run)],
    ]
    done = subprocess.run(
        [sys.executable, "-c", WALL + COMMANDS, json.dumps(commands)],
        capture_output=True, text=True, timeout=200, input="one two\n", cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-1500:]
    lines = done.stdout.splitlines()
    ends = [line.removeprefix("ended: ") for line in lines if line.startswith("ended: ")]
    ends = [end.removesuffix(".py").replace("/", ".").rpartition(".")[2] for end in ends]  # a file's or a module's name
    assert ends == ["prepare", "run", "predict", "report", "analyse"]
    assert sum(line.startswith('{"labels"') for line in lines) == 1 and (run / "metrics.json").is_file()


def test_the_wall_stands():
    for call in ("socket.create_connection(('example.org', 80))", "socket.socket().connect(('192.0.2.1', 80))"):
        done = subprocess.run([sys.executable, "-c", f"{WALL}\n{call}"], capture_output=True, text=True)
        assert done.returncode == 1 and "a connection to" in done.stderr or "a lookup of" in done.stderr
    assert socket.gethostbyname("localhost")
