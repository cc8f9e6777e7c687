"""Trains, predicts and serves for hours in the same two processes, and looks at whether they grow.

    python -m tests.faults.soak --minutes 120 [--share 0.2] [--log FILE]

One process trains the same small run again and again, loads it and predicts; another, `xmtc.serve`, lives all the time
and is asked over HTTP, rightly and wrongly. Every run must end with the bits of the first, every answer of the server
must be the model's. A line a minute: resident memory, descriptors and threads of both. `--share` is the part of the
time in which the loop works. A call goes on where FILE ends, in new processes: growth is told of each call alone, as
the median of its last fifth over the median of its second fifth; the first is its warm-up. The last line is JSON.
"""

from __future__ import annotations

import argparse
import gc
import http.client
import json
import logging
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import xmtc
from tests.faults.training import TRAINING
from tests.system.contents import contents, difference

MOST = 0.02  # growth of resident memory
WORDS = 300  # that the texts are made of; some are in the vocabulary


@contextmanager
def server(run: Path, errors: Path) -> Iterator[tuple[subprocess.Popen, int]]:
    """A serving process, and its port."""
    command = [sys.executable, "-m", "xmtc.serve", str(run), "port=0", "threads=1"]
    with open(errors, "w") as file, subprocess.Popen(command, stderr=file) as process:
        try:
            while not (found := re.search(r"listening on http://127.0.0.1:(\d+)", errors.read_text())):
                if process.poll() is not None:
                    raise SystemExit(f"the server has ended:\n{errors.read_text()[-2000:]}")
                time.sleep(0.1)
            yield process, int(found[1])
        finally:
            process.terminate()


def sizes(pid: int) -> dict:
    """Of a process: resident bytes, open descriptors, threads."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return {"resident": int(status["VmRSS"].split()[0]) * 1024, "descriptors": descriptors,
            "threads": int(status["Threads"])}  # fmt: skip


def ask(port: int, texts: list[str], wanted: list, choose: random.Random) -> int:
    """Requests of all kinds on one connection, and clients that leave; how many. AssertionError: a wrong answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    count = 0

    def answer(method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        nonlocal count
        count += 1
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read()

    status, found = answer("POST", "/predict", json.dumps({"texts": texts, "k": 5}).encode())
    assert status == 200, found
    for ours, theirs in zip(wanted, json.loads(found)["predictions"], strict=True):
        assert ours.labels == theirs["labels"], (ours.labels, theirs)
        assert all(abs(a - b) < 1e-4 for a, b in zip(ours.scores, theirs["scores"], strict=True))
    for text in texts[:4]:
        body = json.dumps({"texts": [text], "k": choose.randrange(1, 50)}).encode()
        assert answer("POST", "/predict", body)[0] == 200
    assert answer("POST", "/explain", json.dumps({"text": texts[0], "k": 3, "why": True}).encode())[0] == 200
    for path in ("/labels?q=1&limit=20", "/health", "/metrics"):
        assert answer("GET", path)[0] == 200
    assert answer("POST", "/predict", b'{"texts": [')[0] in (400, 422) and answer("GET", "/nothing")[0] == 404
    connection.close()
    with socket.create_connection(("127.0.0.1", port)) as left:  # in the middle of its request
        left.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    return count + 1


def cycle(base: Path, port: int, wanted: dict, choose: random.Random) -> tuple[int, int]:
    """One training, its predictions, and the server's; documents and requests."""
    folder = base / "run"
    workers = choose.randrange(4) == 0  # processes that read and must be gone afterwards
    xmtc.run([*told(base, "run"), f"data.workers={int(workers)}"])
    found = difference(contents(folder), wanted)
    assert not found, f"another run than the first: {found}"
    texts = [" ".join(f"w{choose.randrange(WORDS)}" for _ in range(choose.choice((0, 1, 30, 400)))) for _ in range(8)]
    requests = ask(port, texts, xmtc.load(folder).predict(texts, k=5), choose)
    shutil.rmtree(folder)
    return len(texts), requests


def told(base: Path, name: str) -> list[str]:
    return [*TRAINING, f"paths.cache_dir={base / 'cache'}", f"hydra.run.dir={base / name}"]


def growth(lines: list[dict], process: str, what: str) -> float | None:
    """Of one call's lines: median of their last fifth over that of the second, less one. None for fewer than ten."""
    values, fifth = [line[process][what] for line in lines], len(lines) // 5
    if len(lines) < 10:
        return None
    return statistics.median(values[-fifth:]) / statistics.median(values[fifth : 2 * fifth]) - 1


def judged(rows: list[dict]) -> dict:
    """What all lines of a log show. Flat: no call's memory has grown by MOST, no descriptors or threads were left."""
    calls: dict[str, list[dict]] = {}
    for row in rows:
        calls.setdefault(row["call"], []).append(row)
    grown = {
        call: {f"{process} {what}": round(found, 4) for process in ("worker", "server")
               for what in ("resident", "descriptors", "threads")
               if (found := growth(lines, process, what)) is not None}
        for call, lines in calls.items()
    }  # fmt: skip
    flat = all(
        value < MOST if name.endswith("resident") else value <= 0
        for found in grown.values() for name, value in found.items()
    )  # fmt: skip
    counts = {name: sum(row[name] for row in rows) for name in ("runs", "documents", "requests")}
    return {"minutes": round(sum(row["seconds"] for row in rows) / 60, 1), **counts, "growth": grown, "flat": flat}


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--share", type=float, default=1.0, help="of the time, in which the loop works")
    parser.add_argument("--every", type=float, default=60, help="seconds between two lines")
    parser.add_argument("--log", type=Path)
    options = parser.parse_args(argv)
    logging.disable(logging.CRITICAL)
    log = options.log
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log is not None and log.exists() else []
    left = 60 * options.minutes - sum(row["seconds"] for row in rows)
    call = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    choose = random.Random(call)
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        xmtc.run(told(base, "served"))
        wanted = contents(base / "served")
        with server(base / "served", base / "server.log") as (process, port):
            looked = time.monotonic()
            counts = {"seconds": 0.0, "runs": 0, "documents": 0, "requests": 0}
            while left > 0:
                began = time.monotonic()
                documents, requests = cycle(base, port, wanted, choose)
                for key, more in (("runs", 1), ("documents", documents), ("requests", requests)):
                    counts[key] += more
                time.sleep(min(60, (time.monotonic() - began) * (1 / options.share - 1)))
                # who stopped both processes for an hour has not tested them for an hour
                passed, looked = min(time.monotonic() - looked, 120), time.monotonic()
                counts["seconds"], left = counts["seconds"] + passed, left - passed
                if counts["seconds"] >= options.every or left <= 0:
                    counts["seconds"] = round(counts["seconds"], 1)
                    gc.collect()  # a run's objects refer to each other: Python frees them when it next looks
                    row = {"call": call, **counts, "worker": sizes("self"), "server": sizes(process.pid)}
                    rows.append(row)
                    if log is not None:
                        log.parent.mkdir(parents=True, exist_ok=True)
                        with open(log, "a") as file:
                            file.write(json.dumps(row) + "\n")
                    counts = dict.fromkeys(counts, 0)
    logging.disable(logging.NOTSET)
    result = judged(rows)
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    sys.exit(not main()["flat"])
