"""Training, preparing, predicting and reporting on data that is here open no connection but to this machine."""

import socket
import subprocess
import sys

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
import runpy, sys
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def walled(*words, text=None):
    command = [sys.executable, "-c", WALL, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, input=text)


@pytest.mark.slow
def test_no_command_calls_out(small, tmp_path):
    run = tmp_path / "run"
    options = [word for word in small if not word.startswith("logger")]
    done = walled("xmtc.prepare", *(word for word in options if word.startswith(("dataset", "paths", "prepare"))))
    assert done.returncode == 0, done.stderr[-1500:]
    # with the default logger: W&B, offline
    done = walled("xmtc.run", *options, "encoder=bow", "head=none", "encoder.embedding.size=8", f"hydra.run.dir={run}")
    assert done.returncode == 0, done.stderr[-1500:]
    done = walled("xmtc.predict", f"checkpoint={run}", "input=-", text="one two\n")
    assert done.returncode == 0 and done.stdout, done.stderr[-1500:]
    done = walled("xmtc.report", run)
    assert done.returncode == 0, done.stderr[-1500:]


def test_the_wall_stands():
    script = WALL.rsplit("import runpy", 1)[0]
    for call in ("socket.create_connection(('example.org', 80))", "socket.socket().connect(('192.0.2.1', 80))"):
        done = subprocess.run([sys.executable, "-c", f"{script}\n{call}"], capture_output=True, text=True)
        assert done.returncode == 1 and "a connection to" in done.stderr or "a lookup of" in done.stderr
    assert socket.gethostbyname("localhost")
