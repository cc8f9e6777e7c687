"""The server under load: wrk against `python -m xmtc.serve`, dynamic batching beside batch 1, far too much, a stop.

    python experiments/serving/load.py [--labels 4271] [--seconds 10] [--connections 64] [--threads 2]

XML-CNN with a head in EURLEX57K's shapes, random weights, texts of 500 words by Zipf's law, one a request, k=5. Both
ways run in turn on one machine. Prints rows and one JSON line. Needs wrk (Debian: apt-get install wrk).

batch_documents is what the model really got at once (1 with max_batch=1). Overload: 640 clients, ten times as many as a
batch of 32 and a queue of 32 have places for, each asking again at once; `offered_over_answered` is how much more they
asked for than was answered, and the resident memory (at the start, after 5 s, at the end) must not grow. Stop: 32
clients ask without a pause when SIGTERM comes; `lost` counts requests that were sent and not answered.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx

from xmtc.testing.checkpoints import synthetic_run, zipf_texts

WORDS = 166_000  # of EURLEX57K's training texts
LUA = """local bodies, i = {}, 0
for line in io.lines("%s") do bodies[#bodies + 1] = line end
request = function() i = i %% #bodies + 1; return wrk.format("POST", "/predict", nil, bodies[i]) end
"""


class Server:
    def __init__(self, run: Path, port: int, *settings: str):
        command = [sys.executable, "-m", "xmtc.serve", str(run), f"port={port}", *settings]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.port, self.url = port, f"http://127.0.0.1:{port}"
        while True:
            if self.process.poll() is not None:
                sys.exit(f"the server did not start: {self.process.stderr.read()}")
            try:
                httpx.get(self.url + "/health").raise_for_status()
                return
            except httpx.HTTPError:
                time.sleep(0.2)

    def resident(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024

    def counts(self) -> collections.Counter:
        """Answers by status, and `documents` in so many `batches`, since the start."""
        text = httpx.get(self.url + "/metrics").text
        found = re.findall(r'xmtc_requests_total\{path="/predict",status="(\d+)"\} (\S+)', text)
        found += [("documents", re.search(r"^xmtc_batch_documents_sum (\S+)", text, re.M)[1])]
        found += [("batches", re.search(r"^xmtc_batch_documents_count (\S+)", text, re.M)[1])]
        return collections.Counter({name: int(float(count)) for name, count in found})

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait()


def measure(server: Server, script: Path, connections: int, seconds: int) -> dict:
    before = server.counts()
    row = wrk(server.url, script, connections, seconds)
    seen = server.counts() - before
    return row | {"batch_documents": round(seen["documents"] / max(seen["batches"], 1), 2)}


def stop_under_load(server: Server, body: str, clients: int = 32, seconds: float = 2.0) -> dict:
    """What becomes of the requests of clients that never pause when the server is told to stop."""
    codes: collections.Counter = collections.Counter()

    def ask() -> None:
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            try:
                connection.connect()
            except OSError:  # never accepted
                codes["refused"] += 1
                return
            try:
                while True:
                    connection.request("POST", "/predict", body)
                    answer = connection.getresponse()
                    answer.read()
                    codes[answer.status] += 1
                    if answer.will_close:
                        break
            except (OSError, http.client.HTTPException):
                codes["lost"] += 1
            finally:
                connection.close()

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    begin = time.perf_counter()
    code = server.stop()
    took = time.perf_counter() - begin
    for thread in threads:
        thread.join()
    return {"answered": codes[200], "refused": codes["refused"], "lost": codes["lost"], "exit_code": code,
            "seconds": round(took, 2)}  # fmt: skip


def wrk(url: str, script: Path, connections: int, seconds: int) -> dict:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "--latency", "-s", script, url]
    out = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True).stdout
    unit = {"us": 1e-3, "ms": 1, "s": 1e3}
    quantiles = {q: float(v) * unit[u] for q, v, u in re.findall(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)", out, re.M)}
    refused, errors = re.search(r"Non-2xx or 3xx responses: (\d+)", out), re.search(r"Socket errors: (.*)", out)
    return {
        "requests_per_second": float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]),
        "p50_ms": quantiles["50"],
        "p99_ms": quantiles["99"],
        "refused": int(refused[1]) if refused else 0,
        "socket_errors": errors[1] if errors else "none",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"labels": 4271, "seconds": 10, "connections": 64, "threads": 2, "rounds": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed")
    result = {"bench": "serve", "labels": given.labels, "connections": given.connections, "load": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        run = synthetic_run(place / "run", ["encoder=xmlcnn", "head=lcenet"], given.labels, WORDS)
        bodies, script = place / "bodies", place / "load.lua"
        bodies.write_text("".join(json.dumps({"texts": [text]}) + "\n" for text in zipf_texts(256, 500, WORDS)))
        script.write_text(LUA % bodies)
        ways = {"batch 1": ("max_batch=1", "max_wait_ms=0"), "batch 32": ()}
        measured: dict[str, list[dict]] = {way: [] for way in ways}
        for _ in range(given.rounds):
            for way, settings in ways.items():
                server = Server(run, 8765, f"threads={given.threads}", *settings)
                wrk(server.url, script, given.connections, 2)  # warm
                measured[way].append(measure(server, script, given.connections, given.seconds))
                server.stop()
        for way, rows in measured.items():
            result[way] = max(rows, key=lambda row: row["requests_per_second"])
            print(way, *rows, sep="\n  ")
        result["ratio"] = result["batch 32"]["requests_per_second"] / result["batch 1"]["requests_per_second"]
        server = Server(run, 8766, f"threads={given.threads}", "queue=32", "max_texts=32")
        memory = [server.resident()]
        wrk(server.url, script, 640, 5)
        memory.append(server.resident())
        before = server.counts()
        over = wrk(server.url, script, 640, given.seconds)
        memory.append(server.resident())
        statuses = {status: n for status, n in (server.counts() - before).items() if status.isdigit()}
        result["overload"] = over | {
            "statuses": statuses,
            "offered_over_answered": round(sum(statuses.values()) / max(statuses.get("200", 0), 1), 1),
            "resident_mb": [round(b / 1e6) for b in memory],
            "exit_code": server.stop(),
        }
        print("overload", result["overload"], sep="\n  ")
        server = Server(run, 8767, f"threads={given.threads}")
        result["stop"] = stop_under_load(server, bodies.read_text().split("\n", 1)[0])
        print("stop", result["stop"], sep="\n  ")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
