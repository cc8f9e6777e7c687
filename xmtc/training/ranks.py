"""Of several processes one is lost, killed or stuck: the others end within a minute and say which one it was.

Left alone they would wait in a collective until its timeout (half an hour), or Lightning would kill the first without a
word. Each process tells once a second, through the store at which they met, that it lives; a thread of its own does so,
whatever the process is busy with. Who is not heard of for `PATIENCE` seconds is lost: every other process says so and
ends with exit code 75, "start it again", as after SIGTERM. The last checkpoint is on the disk, and `resume` goes on.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytorch_lightning as pl
import torch.distributed as dist

log = logging.getLogger(__name__)
BEAT, ANSWER, PATIENCE = 1.0, 5.0, 20.0  # seconds: between beats, for the store to answer, of silence
PREEMPTED = 75  # as in xmtc.entry
PEER = ("closed by peer", "reset by peer", "Broken pipe", "Timed out", "gloo", "NCCL", "recvBytes", "Socket")


class Ranks(pl.Callback):
    """folder: of the run, named in the last words. Does nothing where there is one process."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def setup(self, trainer, module, stage) -> None:
        if trainer.world_size == 1 or self._thread is not None:
            return
        self.rank, self.world = trainer.global_rank, trainer.world_size
        launcher = trainer.strategy.launcher
        self._children = list(getattr(launcher, "procs", None) or [])
        for thread in threading.enumerate():  # Lightning's would kill this process, and all others, without a word
            if thread.name == "child-process-observer" and hasattr(thread, "_child_processes"):
                thread._child_processes = []
        place = trainer.strategy.cluster_environment
        try:
            self._store = dist.TCPStore(
                place.main_address, place.main_port, is_master=False, timeout=timedelta(seconds=ANSWER)
            )
        except (RuntimeError, ValueError) as error:
            log.warning("a lost process will not be noticed: %s", str(error).splitlines()[0])
            return
        self._thread = threading.Thread(target=self._watch, name="ranks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """This process is about to end, and may."""
        if self._thread is not None and not self._ended.is_set():
            self._ended.set()
            self._thread.join()
            try:
                self._store.set(f"xmtc/{self.rank}", "done")
            except RuntimeError:  # the first process has ended already
                pass

    def await_verdict(self, error: RuntimeError) -> None:
        """Called when a collective has failed: gives the watching thread the time to say whose fault it was. Returns
        where it was nobody's."""
        if self._thread is not None and any(sign in str(error) for sign in PEER):
            time.sleep(2 * PATIENCE)

    def _watch(self) -> None:
        me, beats = f"{socket.gethostname()}, process {os.getpid()}", 0
        silent = {rank: 0.0 for rank in range(self.world) if rank != self.rank}  # seconds
        said: dict[int, str] = {}
        looked = time.monotonic()
        while not self._ended.wait(BEAT):
            self._look_at_children()
            beats += 1
            # a scheduler may have stopped all of us for an hour: that is nobody's silence
            passed, looked = min(time.monotonic() - looked, BEAT + 2 * ANSWER), time.monotonic()
            try:
                self._store.set(f"xmtc/{self.rank}", f"{beats} {me}")
                for rank in silent:
                    key = f"xmtc/{rank}"
                    word = self._store.get(key).decode() if self._store.check([key]) else ""
                    known = word == said.get(rank) and word not in ("", "done")  # not begun, ended
                    silent[rank] = silent[rank] + passed if known else 0.0
                    said[rank] = word
            except RuntimeError as error:  # the store lives in the first process; no answer is one, too
                log.debug("no answer from the store: %s", error)
                if self.rank == 0:
                    continue
                silent[0] += passed
            for rank, seconds in silent.items():
                if seconds > PATIENCE and not self._ended.is_set():
                    where = said.get(rank, "").partition(" ")[2]
                    self._lost(rank, f"has not been heard of for {PATIENCE:g} s", where)

    def _look_at_children(self) -> None:
        for rank, process in enumerate(self._children, start=1):
            code = process.poll()
            if code is None or code == 0:
                continue
            if code > 0 and self._ended.wait(10):  # it had a reason, which this process may find as well
                return
            why = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            self._lost(rank, why, f"process {process.pid}", code if code > 0 else PREEMPTED)

    def _lost(self, rank: int, why: str, where: str, code: int = PREEMPTED) -> None:
        print(
            f"xmtc: rank {rank} of {self.world}{f' ({where})' if where else ''} {why}: rank {self.rank} stops;"
            f" resume={self.folder} goes on from the last checkpoint",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        for process in self._children:
            if process.poll() is None:
                process.kill()  # a stopped one would hear nothing else
        os._exit(code)  # the main thread waits in a collective that nothing can end
