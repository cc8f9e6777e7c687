"""The server under load: wrk against `python -m xmtc.serve`, dynamic batching beside batch 1, then far too much.

    python experiments/serving/load.py [--labels 4271] [--seconds 10] [--connections 64] [--threads 2]

XML-CNN with a head in EURLEX57K's shapes, random weights, texts of 500 words by Zipf's law, one a request, k=5. Both
ways run in turn on one machine. Prints a table and one JSON line. Needs wrk (Debian: apt-get install wrk).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
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
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.url = f"http://127.0.0.1:{port}"
        while True:
            try:
                httpx.get(self.url + "/health").raise_for_status()
                return
            except httpx.HTTPError:
                time.sleep(0.2)

    def resident(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024

    def counts(self) -> dict[str, float]:
        text = httpx.get(self.url + "/metrics").text
        found = re.findall(r'xmtc_requests_total\{path="/predict",status="(\d+)"\} (\S+)', text)
        return {status: float(count) for status, count in found}

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait()


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
                measured[way].append(wrk(server.url, script, given.connections, given.seconds))
                server.stop()
        for way, rows in measured.items():
            result[way] = max(rows, key=lambda row: row["requests_per_second"])
            print(way, *rows, sep="\n  ")
        result["ratio"] = result["batch 32"]["requests_per_second"] / result["batch 1"]["requests_per_second"]
        # ten times as many clients as a batch and the queue have places for
        server = Server(run, 8766, f"threads={given.threads}", "queue=32", "max_texts=32")
        memory = [server.resident()]
        wrk(server.url, script, 640, 5)
        memory.append(server.resident())
        over = wrk(server.url, script, 640, given.seconds)
        memory.append(server.resident())
        more = {
            "statuses": server.counts(),
            "resident_mb": [round(b / 1e6) for b in memory],
            "exit_code": server.stop(),
        }
        result["overload"] = over | more
        print("overload", result["overload"], sep="\n  ")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
