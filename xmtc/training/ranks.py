"""Of several processes one is lost, killed or stuck: the others end within a minute and say which one it was.

Left alone they would wait in a collective until its timeout (half an hour), or Lightning would kill the first without a
word. Each process tells once a second, through the store at which they met, that it lives; a thread of its own does so,
whatever the process is busy with. Who is not heard of for `patience` seconds is lost: every other process says so and
ends with exit code 75, "start it again", as after SIGTERM. The last checkpoint is on the disk, and `resume` goes on.

The thread needs Python's interpreter, which a long call of a library may hold: silence alone is no death. Those on the
same machine therefore look what the system knows of a silent process. One that is gone is lost within seconds, one
that is stopped after `patience`, one that runs or waits for a disk after ten times as long. Of a process elsewhere only
its silence is known.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import socket
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import NamedTuple

import pytorch_lightning as pl
import torch.distributed as dist

from xmtc.errors import PREEMPTED

log = logging.getLogger(__name__)
BEAT = 1.0  # seconds between two beats
GONE, RUNNING = 5 * BEAT, 10  # silence of one that has no process any more; times the patience for one that runs
PEER = ("closed by peer", "reset by peer", "Broken pipe", "Timed out", "gloo", "NCCL", "recvBytes", "Socket")


class Process(NamedTuple):
    """What the system knows of a process. word: its number and when it was started, which no other one has."""

    word: str
    state: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return cls(f"{pid}/{fields[19]}", fields[0])


@functools.cache
def place() -> str:
    """The same for all processes that can see each other: this boot of this machine, and a container's own numbers."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return f"nowhere/{uuid.uuid4()}"


class Ranks(pl.Callback):
    """A context around all that processes do together. folder: of the run, named in the last words. patience: seconds
    of silence; less than some ten would take a busy machine for a death. Does nothing where there is one process."""

    def __init__(self, folder: Path, patience: float = 30.0):
        self.folder, self.patience = folder, patience
        self.rank, self.world = 0, 1
        self._children: list = []  # processes that Lightning has started for the other ranks of this machine
        self._threads: list[threading.Thread] = []
        self._ended = threading.Event()
        self._said: dict[int, str] = {}  # the last word of each other rank: beats, place, process, for people
        self._warned: set[int] = set()
        self._answered = False  # the store, since somebody looked
        self._failed = False  # something that was done together

    def setup(self, trainer, module, stage) -> None:
        if trainer.world_size == 1 or self._threads:
            return
        place = trainer.strategy.cluster_environment
        try:
            store = dist.TCPStore(place.main_address, place.main_port, is_master=False)
        except RuntimeError as error:
            log.warning("a lost process will not be noticed: %s", str(error).splitlines()[0])
            return
        self._children = list(getattr(trainer.strategy.launcher, "procs", None) or [])
        for thread in threading.enumerate():  # Lightning's would kill this process, and all others, without a word
            if thread.name == "child-process-observer" and hasattr(thread, "_child_processes"):
                thread._child_processes = []
        self.watch(trainer.global_rank, trainer.world_size, store)

    def watch(self, rank: int, world: int, store: dist.Store) -> None:
        self.rank, self.world = rank, world
        self._silent = {other: 0.0 for other in range(world) if other != rank}  # seconds
        self._heard = {other: "" for other in self._silent}
        self._say(store, "0")  # before anything is done together, in which this process may die
        # two threads: a store whose process is stopped does not answer, and asking it has no timeout
        for work in (lambda: self._talk(store), self._judge):
            self._threads.append(threading.Thread(target=work, name="ranks", daemon=True))
            self._threads[-1].start()

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, kind, error, trace) -> None:
        """This process is about to end. A collective that failed gives the watching thread the time to say whose fault
        that was; after any other failure of the first process nobody waits for the rest."""
        failed = isinstance(error, Exception) and self._threads
        if failed and isinstance(error, RuntimeError) and any(sign in str(error) for sign in PEER):
            self._failed = True
            self._ended.wait(min(self.patience, 30) + 10)
        self._ended.set()
        for process in self._children if failed else ():
            process.kill()
        for thread in self._threads:
            thread.join(2 * BEAT)

    def _talk(self, store: dist.Store) -> None:
        """Says that this process lives, and hears who else does."""
        beats = 0
        while True:
            ending = self._ended.wait(BEAT)
            beats += 1
            self._say(store, "done" if ending else str(beats))
            try:
                for rank in range(self.world):
                    key = f"xmtc/{rank}"
                    if rank != self.rank and not ending and store.check([key]):
                        self._said[rank] = store.get(key).decode()
                self._answered = True
            except RuntimeError as error:  # no answer is one, too
                log.debug("no answer from the store: %s", error)
            if ending:
                return

    def _say(self, store: dist.Store, word: str) -> None:
        mine = Process.of(os.getpid())
        me = f" {place()} {mine and mine.word} {socket.gethostname()}, process {os.getpid()}"
        try:
            store.set(f"xmtc/{self.rank}", word + me * (word != "done"))
        except RuntimeError as error:
            log.debug("the store takes nothing: %s", error)

    def _judge(self) -> None:
        looked = time.monotonic()
        while not self._ended.wait(BEAT):
            self._look_at_children()
            # a scheduler may have stopped all of us for an hour: that is nobody's silence
            passed, looked = min(time.monotonic() - looked, 5 * BEAT), time.monotonic()
            rank = self._silent_one(passed)
            if rank is not None and not self._ended.is_set():
                where = self._heard[rank].split(" ", 3)[3:]
                why = f"has not been heard of for {self._silent[rank]:.0f} s ({self._state(rank)})"
                self._lost(rank, why, "".join(where))

    def _silent_one(self, passed: float) -> int | None:
        """The rank of which nothing was heard for too long, after `passed` more seconds."""
        answered, self._answered = self._answered, False
        for rank in self._silent:
            word = self._said.get(rank, "")
            # one that has not begun is not waited for as long as all goes well; "done" is its last word
            excused = word == "done" or (word == "" and not self._failed)
            if answered and (excused or word != self._heard[rank]):
                self._silent[rank] = 0.0
            elif answered or 0 in (rank, self.rank):  # the store lives in the first process: no answer is its silence
                self._silent[rank] += passed
            self._heard[rank] = word
        return next((rank for rank, seconds in self._silent.items() if seconds > self._limit(rank, seconds)), None)

    def _limit(self, rank: int, seconds: float) -> float:
        """Of its silence. The system is asked when there is something to ask."""
        if seconds <= min(GONE, self.patience):
            return self.patience
        state = self._state(rank)
        if state == "gone":
            return self.patience if rank == 0 else GONE  # the first may have ended well, and its store with it
        if state != "running":
            return self.patience
        if seconds > self.patience and rank not in self._warned:
            self._warned.add(rank)
            log.warning("rank %d is silent for %.0f s, but its process runs: waiting on", rank, seconds)
        return RUNNING * self.patience

    def _state(self, rank: int) -> str:
        """What this machine's system says of a rank's process: gone, stopped, running, or out of sight."""
        words = self._heard[rank].split(" ", 3)
        if len(words) < 4 or words[1] != place():
            return "out of sight"
        now = Process.of(int(words[2].partition("/")[0]))
        if now is None or now.word != words[2] or now.state in "ZX":  # another process may have its number
            return "gone"
        return "stopped" if now.state in "Tt" else "running"

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
