"""Leaves commands less memory than they need, and looks at how they end and what the continued ones end with.

    python -m tests.faults.memory --cases 40 [--seed 0] [--log FILE]

The address space of a child is bounded (RLIMIT_AS): from its beginning to a random part of what it needs beyond its
imports, or from a random moment of its processor time on to what it has then. Right is: it ends as if nothing had been,
or says one line, or is ended by a signal (a library in C++ that finds no memory aborts); never a traceback. Without the
bound it is then started again, and a run that has saved is continued. It must end as one that had enough, but for the
last bits: without memory for its buffers, the library that multiplies matrices adds in another order.
A server must answer or refuse each request, or end in one line. A loader process is killed with SIGKILL, as the
kernel does for want of memory. The last line is JSON.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from tests.faults import child
from tests.faults.commands import Commands, kill, preload
from tests.faults.log import Log, asked

KINDS = ("run", "run", "prepare", "predict", "run", "serve", "loader", "prepare", "predict", "serve")
MOST = 120  # seconds in which a server must have answered or ended
TEXTS = (["g0c1w1 n3"], ["w" * 200_000], ["n1 " * 50_000] * 4, ["", "n2"], ["g1c1w1 " * 2000] * 60)


def far(ours: dict, theirs: dict) -> str:
    """Path of the first value of two runs that differs by more than other sums do; '' if there is none."""
    labels = "predictions.npz", "predictions_validation.npz"
    for name in labels:
        (kind, shape, mine), (*_, other) = ours[name]["labels"], theirs[name]["labels"]
        mine, other = (np.frombuffer(content, kind).reshape(shape) for content in (mine, other))
        if (mine != other).mean() > 0.01:  # those of nearly the same score may change places
            return f"{name}/labels"
    for file in ("best.ckpt", "last.ckpt"):
        if ours[file].get("step") != theirs[file].get("step"):
            return f"{file}/step"
        for key, value in theirs[file]["state_dict"].items():
            if not torch.allclose(ours[file]["state_dict"][key], value, rtol=1e-3, atol=1e-4):
                return f"{file}/{key}"
    return ""


def status(pid: int | str, field: str) -> int:
    """Bytes of a field of a process's status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def bound(pid: int, more: int = 0) -> None:
    """From now on the process has the address space that it has now, and `more` bytes."""
    try:
        resource.prlimit(pid, resource.RLIMIT_AS, (status(pid, "VmSize") + more, resource.RLIM_INFINITY))
    except (ProcessLookupError, StopIteration):
        pass  # it has just ended


def needs(commands: Commands, name: str) -> int:
    """Bytes of address space that an undisturbed command takes beyond what it has when it begins."""
    told = commands.base / "peak"

    def around(work):
        def measured() -> None:
            before = status("self", "VmSize")
            try:
                work()
            finally:
                told.write_text(str(status("self", "VmPeak") - before))

        return measured

    if name == "run":
        commands.give_store()
    how, said = commands.disturbed(name, None, kill, around)
    commands.clear()
    if how != "ended":
        raise SystemExit(f"{name}: {how} {said}")
    return int(told.read_text())


def starved(commands: Commands, name: str, needed: int, choose: random.Random) -> dict:
    """A command with too little memory, from its beginning or from some moment on."""
    if name == "run" and choose.random() < 0.7:
        commands.give_store()
    at_once, room = choose.random() < 0.5, int(choose.random() * 1.05 * needed)
    if at_once:

        def around(work):
            def little() -> None:
                bound(os.getpid(), room)
                work()

            return little

        how, said = commands.disturbed(name, None, kill, around)
    else:
        room = choose.choice((0, 1 << 16, 1 << 20, 1 << 22))
        after = child.sometime(choose, commands.seconds[name])
        how, said = commands.disturbed(name, after, lambda pid: bound(pid, room))
    first = said
    how, said, found = commands.to_the_end(name, how, said)
    return {"at_once": at_once, "room": room, "outcome": how, "said": (said or first)[:300], "difference": found}


def loader(commands: Commands, choose: random.Random) -> dict:
    """A run whose loader process is killed."""
    commands.give_store()
    more, hit = ["data.workers=1"], []

    def happens(pid: int) -> None:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for one in map(int, children):
            hit.append(one)
            os.kill(one, signal.SIGKILL)

    how, said = commands.disturbed("run", child.sometime(choose, commands.seconds["run"]), happens, more=more)
    first = said
    how, said, found = commands.to_the_end("run", how, said, more)
    return {"killed": len(hit), "outcome": how, "said": (said or first)[:300], "difference": found}


def serve(commands: Commands, choose: random.Random) -> dict:
    """A server that gets no more memory from some request on."""
    errors, began = commands.base / "serve.log", time.monotonic()
    words = [str(commands.finished), "port=0", "threads=1", "body_timeout=20", "timeout=20"]
    pid = child.start(child.command("serve", words), errors)
    row = {"codes": [], "outcome": "", "said": "", "difference": ""}
    try:
        while not (port := re.search(r"listening on http://127.0.0.1:(\d+)", errors.read_text())):
            if time.monotonic() - began > MOST or not child.alive(pid):
                return row | {"outcome": "NO SERVER", "said": errors.read_text()[-1000:]}
            time.sleep(0.05)
        first = choose.randrange(4)
        for turn in range(12):
            if turn == first:
                bound(pid, choose.choice((0, 0, 1 << 16, 1 << 20)))
            try:
                connection = http.client.HTTPConnection("127.0.0.1", int(port[1]), timeout=MOST)
                connection.request("POST", "/predict", json.dumps({"texts": choose.choice(TEXTS), "k": 5}).encode())
                row["codes"].append(connection.getresponse().status)
                connection.close()
            except TimeoutError:
                return row | {"outcome": "NO ANSWER IN TIME"}
            except (OSError, http.client.HTTPException):
                row["codes"].append(0)  # closed
            if not child.alive(pid):
                break
        if child.alive(pid):
            resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            connection = http.client.HTTPConnection("127.0.0.1", int(port[1]), timeout=MOST)
            connection.request("POST", "/predict", json.dumps({"texts": ["g0c1w1 n3"], "k": 5}).encode())
            answer = connection.getresponse()
            if answer.status != 200:
                return row | {"outcome": "NOT WELL AGAIN", "said": answer.read().decode()[:300]}
            connection.close()
            os.kill(pid, signal.SIGTERM)
        code, _ = child.wait(pid)
        pid = None
        how, said = child.outcome(code, errors)
        if code == 0 and "panicked at" in errors.read_text():  # pydantic's Rust prints what it has met, and goes on
            how, said = "ended", "a library has printed a panic"
        return row | {"outcome": how if how in ("ended", "refused", "died") else how.upper(), "said": said[-1000:]}
    except (OSError, http.client.HTTPException) as error:
        if child.alive(pid):
            return row | {"outcome": "NO ANSWER", "said": str(error)}
        code, _ = child.wait(pid)
        pid = None
        how, said = child.outcome(code, errors)
        return row | {"outcome": how if how in ("refused", "died") else how.upper(), "said": said[-1000:]}
    finally:
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def main(argv: list[str] | None = None) -> dict:
    parser = asked(__doc__, 40)
    parser.add_argument("--kinds", nargs="+", choices=sorted(set(KINDS)), help="only these")
    options = parser.parse_args(argv)
    preload()
    done = failures = refused = died = 0
    with tempfile.TemporaryDirectory() as name, Log(options.log, options.seed) as log:
        commands = Commands(Path(name), far)
        needed = {name: needs(commands, name) for name in ("run", "prepare", "predict")}
        for number in range(log.done, options.cases):
            choose = random.Random(f"{options.seed}/{number}")
            kind = KINDS[number % len(KINDS)]
            if options.kinds and kind not in options.kinds:
                continue
            if kind == "serve":
                row = serve(commands, choose)
            elif kind == "loader":
                row = loader(commands, choose)
            else:
                row = starved(commands, kind, needed[kind], choose)
            commands.clear()
            log.write(number, {"kind": kind} | row)
            bad = row["outcome"][:1].isupper() or row["difference"]
            done, failures = done + 1, failures + bool(bad)
            refused, died = refused + row["outcome"].startswith("refused"), died + row["outcome"].startswith("died")
            if bad:
                print(json.dumps({"number": number, "kind": kind} | row), flush=True)
    result = {"cases": done, "refused": refused, "died": died, "failures": failures}
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    sys.exit(bool(main()["failures"]))
