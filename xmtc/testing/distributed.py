"""Run a function in several processes that talk to each other, as DDP does, on one machine without accelerators."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import socket
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import wait

import torch
import torch.distributed as dist


def run_distributed(function: Callable, world_size: int, *args, timeout_seconds: float = 60.0) -> list:
    """[function(*args) of rank 0, of rank 1, ...], each called in a process of one gloo group.

    Inside, `torch.distributed` is initialised and RANK, LOCAL_RANK, WORLD_SIZE are set, for code that reads them. Each
    process computes with one thread. The function and its arguments are pickled: a function at the top level of an
    importable module, not a lambda; tensors arrive as copies, never shared between ranks.

    The first rank that raises ends the others, and RuntimeError carries its traceback; so do a rank that dies and
    the timeout, after which no process is left behind.

    Processes fork from a server that has imported torch and Lightning once (seconds); later calls start in a
    fraction of one, plus what the function's own module still has to import.
    """
    # The parent keeps the rendezvous on a port that the system gives it: no port is chosen first and lost to another.
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch.distributed", "pytorch_lightning"])  # else every rank imports them anew
    payload = pickle.dumps((function, args))
    results: dict[int, object] = {}
    processes, readers = [], {}
    try:
        for rank in range(world_size):
            reader, writer = context.Pipe(duplex=False)
            process = context.Process(
                target=_rank, daemon=True, args=(rank, world_size, store.port, payload, writer, timeout_seconds)
            )
            process.start()
            writer.close()  # the child holds the only writing end: if it dies, the reader sees the end of the file
            processes.append(process)
            readers[reader] = rank
        deadline = time.monotonic() + timeout_seconds
        while readers:
            ready = wait(list(readers), timeout=max(deadline - time.monotonic(), 0.0))
            if not ready:
                raise RuntimeError(
                    f"ranks {sorted(readers.values())} of {world_size} did not finish in {timeout_seconds:g} seconds"
                )
            for reader in ready:
                rank = readers.pop(reader)
                results[rank] = _received(reader, rank)
    finally:
        for process in processes:
            if len(results) == world_size:
                process.join(timeout=5.0)
            if process.is_alive():
                process.kill()
            process.join()
    return [results[rank] for rank in range(world_size)]


def _received(reader, rank: int):
    try:
        succeeded, value = pickle.loads(reader.recv_bytes())
    except EOFError:
        raise RuntimeError(f"rank {rank} died without an answer") from None
    finally:
        reader.close()
    if not succeeded:
        raise RuntimeError(f"rank {rank} failed:\n{value}")
    return value


def _rank(rank: int, world_size: int, port: int, payload: bytes, writer, timeout_seconds: float) -> None:
    try:
        torch.set_num_threads(1)
        os.environ |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(world_size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        if any(name == "lo" for _, name in socket.if_nameindex()):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # else gloo resolves the host's name, which may fail
        timeout = timedelta(seconds=timeout_seconds)
        store = dist.TCPStore("127.0.0.1", port, is_master=False, timeout=timeout)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=world_size, timeout=timeout)
        function, args = pickle.loads(payload)
        answer = pickle.dumps((True, function(*args)))
        dist.barrier()  # no rank leaves while another may still need it
        dist.destroy_process_group()
    except BaseException:
        answer = pickle.dumps((False, traceback.format_exc()))
    writer.send_bytes(answer)
    writer.close()
