"""Start to first answer for a model of very many labels: memory-mapped safetensors, a process of its own.

The folder has its checksums, as one of `xmtc.export` has: `xmtc.load` reads every byte of the weights once to see that
they are whole.

    python experiments/serving/start.py [--labels 500000] [--rank 100] [--words 500000]

XML-CNN with a head, random weights. "cold": the file's pages are dropped from memory first, where the system allows it.
Prints one JSON line: seconds of imports, of `xmtc.load`, to the first answer, of the second one; resident memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from xmtc.data.checksums import list_files
from xmtc.testing.checkpoints import synthetic_run

CHILD = """
import json, re, sys, time
start = time.perf_counter()
import xmtc
import xmtc.loading
imported = time.perf_counter()
model = xmtc.load(sys.argv[1])
loaded = time.perf_counter()
def resident(name):
    return round(int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024)
after_load = resident("VmRSS")
text = " ".join(f"w{i * i % 5000 + 2}" for i in range(500))
model.predict([text], k=5)
first = time.perf_counter()
model.predict([text], k=5)
second = time.perf_counter()
print(json.dumps({"import_s": imported - start, "load_s": loaded - imported, "first_answer_s": first - loaded,
                  "start_to_first_answer_s": first - start, "second_answer_s": second - first,
                  "resident_after_load_mib": after_load, "resident_mib": resident("VmRSS"),
                  "anonymous_mib": resident("RssAnon"), "peak_mib": resident("VmHWM")}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"labels": 500_000, "rank": 100, "words": 500_000}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    result = {"bench": "start", **vars(given), "load": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as place:
        choices = ["encoder=xmlcnn", "head=lcenet", f"head.rank={given.rank}"]
        run = synthetic_run(Path(place) / "run", choices, given.labels, given.words)
        list_files(run)
        weights = run / "model.safetensors"
        result["weights_mib"] = round(weights.stat().st_size / 2**20)
        for way in ("cold", "warm"):
            if way == "cold":
                os.sync()
                with open(weights, "rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            done = subprocess.run([sys.executable, "-c", CHILD, str(run)], capture_output=True, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            result[way] = {k: round(v, 3) for k, v in found.items()}
            print(way, result[way])
    print(json.dumps(result))


if __name__ == "__main__":
    main()
