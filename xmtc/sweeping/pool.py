"""Runs jobs as processes, as many at once as there are slots; one that fails does not stop the others."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from xmtc.sweeping.devices import Slot
from xmtc.sweeping.jobs import LOCK, LOG, Job, free

# of an outer torchrun, srun or salloc: a job that saw them would think it is a part of that
OUTER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT", "SLURM_NTASKS",
         "SLURM_PROCID", "SLURM_LOCALID", "TORCHELASTIC_RUN_ID", "PL_GLOBAL_SEED")  # fmt: skip


@dataclass
class State:
    """waiting, running, elsewhere (another process holds its folder), kept (was finished), finished, failed, stopped"""

    state: str = "waiting"
    slot: Slot | None = None
    started: float = 0.0
    seconds: float = 0.0
    code: int | None = None
    why: str = ""  # it could not be started


class Pool:
    """`run()` until every job has ended. show(states) is called a few times a second, changed(job, state) when one
    starts or ends, or turns out to run elsewhere. KeyboardInterrupt stops all jobs, which write their checkpoint, and
    is raised again.

    A launcher that is killed leaves jobs that go on by themselves. The next one starts none of them twice: it waits for
    them, and gives their slots to nobody else as long. What they have not finished then, it takes up.
    """

    def __init__(
        self,
        jobs: list[Job],
        slots: list[Slot],
        environment: dict[str, str],
        show: Callable[[dict[int, State]], None] = lambda states: None,
        changed: Callable[[Job, State], None] = lambda job, state: None,
        stop_seconds: float = 120.0,
        pause: float = 0.2,
    ):
        self.jobs, self.free = jobs, deque(slots)
        self.environment, self.show, self.changed = environment, show, changed
        self.stop_seconds, self.pause = stop_seconds, pause
        self.states = {job.number: State() for job in jobs}
        self._running: dict[int, tuple[Job, subprocess.Popen, int]] = {}
        self._left: dict[Path, Slot] = {}  # folders of jobs whose launcher is gone, and where they run

    def run(self) -> dict[int, State]:
        waiting = deque(self.jobs)
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            for number in handlers:  # also where a shell's `&` had them ignored, which jobs would inherit
                signal.signal(number, _interrupt)
            while waiting or self._running:
                self._take_back()
                for _ in range(len(waiting)):
                    if not self.free:
                        break
                    job = waiting.popleft()
                    if not self._start(job):
                        waiting.append(job)
                self._collect()
                self.show(self.states)
                if waiting or self._running:
                    time.sleep(self.pause)
        except KeyboardInterrupt:
            self._stop()
            raise
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return self.states

    def _start(self, job: Job) -> bool:
        """False if it has to wait, because another process runs it, or another job in its folder."""
        try:
            return self._started(job)
        except OSError as error:  # the disk is full, or cannot be written
            state = self.states[job.number]
            state.state, state.why = "failed", f"cannot be started ({error})"
            self.changed(job, state)
            return True

    def _started(self, job: Job) -> bool:
        state = self.states[job.number]
        job.join({each.folder for each in self.jobs})
        if job.displaced:
            job.folder = free(job.folder, {*job.folder.parent.iterdir(), *(each.folder for each in self.jobs)})
        job.folder.mkdir(parents=True, exist_ok=True)
        lock = locked(job.folder)
        if lock is None:
            self._elsewhere(job, state)
            return False
        slot, running = self.free[0], None
        try:
            if job.displaced:  # since we looked
                return False
            if job.finished:
                state.state = "kept"
            else:
                running = begin(job, slot, self.environment, lock)
                state.state, state.slot, state.started = "running", self.free.popleft(), time.monotonic()
                self._running[job.number] = (job, running, lock)
        finally:
            if running is None:
                os.close(lock)
        if running:
            job.note(state="running", device=slot.name, host=socket.gethostname(), launcher=os.getpid())
        self.changed(job, state)
        return True

    def _elsewhere(self, job: Job, state: State) -> None:
        """Another process holds the job: of a launcher that was killed, or of one that works beside this one."""
        if state.state != "elsewhere":
            state.state = "elsewhere"
            self.changed(job, state)
        note = job.noted()
        if note.get("host") != socket.gethostname() or _alive(note.get("launcher")):
            return
        slot = next((slot for slot in self.free if slot.name == note.get("device")), None)
        if slot and job.folder not in self._left:
            self.free.remove(slot)
            self._left[job.folder] = slot

    def _take_back(self) -> None:
        """Slots of left jobs that have ended."""
        for folder, slot in list(self._left.items()):
            if (lock := locked(folder)) is not None:
                os.close(lock)
                del self._left[folder]
                self.free.append(slot)

    def _collect(self) -> None:
        for number, (job, process, lock) in list(self._running.items()):
            state = self.states[number]
            state.seconds = time.monotonic() - state.started
            if process.poll() is not None:
                self._ended(job, process, lock, job.outcome(process.returncode))

    def _ended(self, job: Job, process: subprocess.Popen, lock: int, how: str) -> None:
        state = self.states[job.number]
        state.state, state.code, state.seconds = how, process.returncode, time.monotonic() - state.started
        del self._running[job.number]
        job.note(state=how, exit_code=process.returncode, seconds=round(state.seconds, 1), device=state.slot.name)
        os.close(lock)
        self.free.appendleft(state.slot)
        self.changed(job, state)

    def _stop(self) -> None:
        """As Ctrl-C on a single run: each job writes last.ckpt and leaves. Whoever does not is killed in the end."""
        for _, process, _ in self._running.values():
            _signal(process, signal.SIGINT)
        deadline = time.monotonic() + self.stop_seconds
        try:
            while self._running and time.monotonic() < deadline:
                for job, process, lock in list(self._running.values()):
                    if process.poll() is not None:
                        self._ended(job, process, lock, "finished" if job.finished else "stopped")
                time.sleep(0.05)
        except KeyboardInterrupt:  # a second one: not willing to wait
            pass
        for job, process, lock in list(self._running.values()):
            _signal(process, signal.SIGKILL)
            process.wait()
            self._ended(job, process, lock, "stopped")


def begin(job: Job, slot: Slot, environment: Mapping[str, str], lock: int) -> subprocess.Popen:
    """The job's process, on the slot's devices. It holds `lock` as long as it lives, also if we do not."""
    told = {key: value for key, value in environment.items() if key not in OUTER}
    if slot.gpus:
        told["CUDA_VISIBLE_DEVICES"] = ",".join(slot.gpus)
    if slot.threads:
        told.setdefault("OMP_NUM_THREADS", str(slot.threads))
    with open(job.folder / LOG, "ab") as log:
        return subprocess.Popen(
            job.command(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=told,
            start_new_session=True,  # so that Ctrl-C reaches jobs through us alone, once
            pass_fds=(lock,),
        )


def locked(folder: Path) -> int | None:
    """A file descriptor that holds `folder` for one process and its children; None if another process holds it."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:  # some network file systems know no locks: then nothing is held, and nothing is in the way
        pass
    return descriptor


def _alive(process: int | None) -> bool:
    try:
        os.kill(process or 0, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return bool(process)


def _interrupt(number, frame) -> None:
    raise KeyboardInterrupt


def _signal(process: subprocess.Popen, number: int) -> None:
    try:
        os.killpg(process.pid, number)  # its whole session: ranks of DDP and workers too
    except ProcessLookupError:
        pass
