"""What `xmtc.testing.run_distributed` does, by forking this process: ranks have what was changed in it."""

from __future__ import annotations

import os
import pickle
import select
import signal
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta

import torch.distributed as dist

WAIT = 20.0  # seconds, whatever the caller allows: a rank that waits for another that is lost
seen: set[tuple[str, int]] = set()  # lines that were executed; what ranks have seen comes back with their answers


def run_forked(function: Callable, world_size: int, *args, timeout_seconds: float = WAIT) -> list:
    """[function(*args) of rank 0, of rank 1, ...]. RuntimeError: a rank failed, or they did not end."""
    answers: dict[int, tuple] = {}
    with tempfile.TemporaryDirectory() as folder:
        readers, pids = {}, []
        try:
            for rank in range(world_size):
                read, write = os.pipe()
                if (pid := os.fork()) == 0:
                    _rank(rank, world_size, f"{folder}/store", function, args, write)
                os.close(write)
                readers[read] = rank
                pids.append(pid)
            waited = 0.0
            while len(answers) < world_size:
                ready, _, _ = select.select([fd for fd, rank in readers.items() if rank not in answers], [], [], 1.0)
                waited += not ready  # in turns of this loop: who is stopped does not wait
                if waited > WAIT:
                    raise RuntimeError("the ranks do not end")
                for fd in ready:
                    with os.fdopen(os.dup(fd), "rb") as file:
                        text = file.read()
                    failed, answer, lines = pickle.loads(text) if text else (True, "a rank died", set())
                    seen.update(lines)
                    if failed:
                        raise RuntimeError(f"rank {readers[fd]} failed:\n{answer}")
                    answers[readers[fd]] = answer
        finally:
            for fd in readers:
                os.close(fd)
            for pid in pids:
                if len(answers) < world_size:
                    os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
    return [answers[rank] for rank in range(world_size)]


def _rank(rank: int, world_size: int, store: str, function: Callable, args: tuple, write: int) -> None:
    try:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size)}
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        patience = timedelta(seconds=WAIT)
        met = dist.FileStore(store, world_size)
        dist.init_process_group("gloo", store=met, rank=rank, world_size=world_size, timeout=patience)
        args = pickle.loads(pickle.dumps(args))  # tensors of its own
        answer = False, function(*args), seen
        dist.barrier()  # no rank leaves while another may still need it
    except BaseException:
        answer = True, traceback.format_exc(), seen
    finally:
        with os.fdopen(write, "wb") as file:
            pickle.dump(answer, file)
        os._exit(0)
