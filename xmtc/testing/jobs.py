"""A stand-in for `python -m xmtc.run` that takes milliseconds, to test what starts and stops jobs."""

import json
import sys

from xmtc.sweeping.jobs import Job

# writes that it started and what it saw; on Ctrl-C a checkpoint, from which the next start finishes at once
SCRIPT = """
import json, os, pathlib, sys, time
folder, seconds, code = pathlib.Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
with open(folder / "starts", "a") as file:
    file.write(json.dumps({k: os.environ.get(k) for k in ("CUDA_VISIBLE_DEVICES", "LOCAL_RANK", "NAME")}) + "\\n")
try:
    (folder / "ready").touch()
    if not (folder / "checkpoints" / "last.ckpt").exists():
        time.sleep(seconds)
except KeyboardInterrupt:
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").touch()
    sys.exit(130)
if code:
    sys.exit("no such thing")
(folder / "metrics.json").write_text("{}")
"""


class StandIn(Job):
    """seconds: how long it takes. code: not 0 if it fails."""

    seconds, code = 0.0, 0

    def command(self):
        return [sys.executable, "-c", SCRIPT, str(self.folder), str(self.seconds), str(self.code)]


def starts(job: Job) -> list[dict]:
    """What each start of the job saw of its environment."""
    path = job.folder / "starts"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
