"""Trials as runs: asked of Optuna, started as processes, watched through their curves.csv, stopped when they lag."""

from __future__ import annotations

import csv
import logging
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState

from xmtc.errors import InputError
from xmtc.reporting.configurations import QUALITY
from xmtc.searching.journal import open_study, refuse_other
from xmtc.searching.space import words_of
from xmtc.sweeping.devices import Slot
from xmtc.sweeping.jobs import LOG, Job
from xmtc.sweeping.pool import State, _interrupt, _signal, begin, locked
from xmtc.sweeping.table import reason

log = logging.getLogger("xmtc.search")
FOLDER = "folder"


@dataclass
class Running:
    trial: optuna.Trial
    job: Job
    process: subprocess.Popen
    slot: Slot
    reported: int = 0
    pruned: bool = False


class Search:
    """`run(trials)` until so many have ended, those of earlier starts included. fixed: overrides of each trial. metric:
    of validation, by which the trials choose their weights too.
    KeyboardInterrupt and errors leave trials that were cut as such: the next start goes on with them. Trials of a
    search that was killed go on by themselves: the next start waits for them. InputError: another process searches in
    the folder."""

    def __init__(
        self,
        folder: Path,
        fixed: Sequence[str],
        space: dict[str, BaseDistribution],
        slots: Sequence[Slot],
        seed: int = 0,
        metric: str = QUALITY,
        job: type[Job] = Job,
        pause: float = 0.5,
    ):
        self.folder, self.fixed, self.space = Path(folder).absolute(), list(fixed), space
        self.free, self.metric, self.job, self.pause = deque(slots), metric, job, pause
        self.study = open_study(self.folder, seed)
        refuse_other(self.study, self.folder, self.fixed, space)
        self._running: list[Running] = []

    def run(self, trials: int) -> None:
        lock = locked(self.folder)
        if lock is None:
            raise InputError(f"--into {self.folder}: another process searches there")
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self._asked_to_stop = False
        try:
            for number in handlers:
                signal.signal(number, self._ask_to_stop)
            self._take_up_cut_ones()
            while self._running or self._ended() < trials:
                while self.free and self._ended() + len(self._running) < trials:
                    self._start()
                    self._obey()
                for running in list(self._running):
                    self._watch(running)
                    self._obey()
                time.sleep(self.pause)
                self._obey()
        except BaseException:  # Ctrl-C; a full disk
            for number in handlers:
                signal.signal(number, _interrupt)  # a second one does not wait for the trials' checkpoints
            _stop([running.process for running in self._running])
            raise
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            os.close(lock)

    def _ask_to_stop(self, number, frame) -> None:
        """A signal that raised where it comes could fall into a write of the journal: its lock would stay."""
        self._asked_to_stop = True

    def _obey(self) -> None:
        if self._asked_to_stop:
            raise KeyboardInterrupt

    def _ended(self) -> int:
        ended = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        return sum(t.state in ended and not t.user_attrs.get("cut") for t in self.study.get_trials(deepcopy=False))

    def _take_up_cut_ones(self) -> None:
        """Trials of an earlier start that never ended are asked again, with their folder and its checkpoint; those that
        have ended since then are told."""
        for old in self.study.get_trials(states=(TrialState.RUNNING,)):
            folder = old.user_attrs.get(FOLDER)
            if folder and (score := self._left(Path(folder))) is not None:
                self.study.tell(old.number, score)
                log.info("trial %d: validation %s %.2f", old.number, self.metric, 100 * score)
                continue
            self.study._storage.set_trial_user_attr(old._trial_id, "cut", True)
            self.study.tell(old.number, state=TrialState.FAIL)
            if set(old.params) == set(self.space):
                self.study.enqueue_trial(old.params, user_attrs={FOLDER: folder})

    def _left(self, folder: Path) -> float | None:
        """The score that a trial of an earlier start came to, waited for while its process still runs."""
        folder.mkdir(parents=True, exist_ok=True)
        told = False
        while (lock := locked(folder)) is None:
            if not told:
                log.info("%s: its process goes on since an earlier start, and is waited for", folder)
                told = True
            time.sleep(self.pause)
            self._obey()
        os.close(lock)
        return _score(self.job(0, [], folder))

    def _start(self) -> None:
        trial = self.study.ask(self.space)
        folder = Path(trial.user_attrs.get(FOLDER) or self.folder / "trials" / f"{trial.number:04d}")
        trial.set_user_attr(FOLDER, str(folder))
        overrides = [*self.fixed, *words_of(trial.params), "test=false"]
        job = self.job(trial.number, overrides, folder)
        folder.mkdir(parents=True, exist_ok=True)
        lock = locked(folder)
        if lock is None:
            raise InputError(f"{folder}: another process runs this trial")
        slot = self.free.popleft()
        process = begin(job, slot, os.environ | {"XMTC_SWEEP": self.folder.name}, lock)
        os.close(lock)  # the trial holds it
        self._running.append(Running(trial, job, process, slot))
        log.info("trial %d: %s", trial.number, " ".join(words_of(trial.params)))

    def _watch(self, running: Running) -> None:
        """Reports new evaluations by their number, which is what trials of different batch sizes share."""
        done = running.process.poll() is not None
        for value in evaluations(running.job.folder, self.metric)[running.reported :]:
            running.trial.report(value, running.reported)
            running.reported += 1
        if not done and not running.pruned and running.trial.should_prune():
            running.pruned = True
            _stop([running.process])
            done = True
        if done:
            self._running.remove(running)
            self.free.append(running.slot)
            self._tell(running)

    def _tell(self, running: Running) -> None:
        number, score = running.trial.number, _score(running.job)
        if running.pruned:
            self.study.tell(running.trial, state=TrialState.PRUNED)
            log.info("trial %d: stopped, it lags behind the others", number)
        elif score is None:
            self.study.tell(running.trial, state=TrialState.FAIL)
            why = reason(running.job, State(code=running.process.returncode))
            log.info("trial %d: failed: %s (%s)", number, why, running.job.folder / LOG)
        else:
            self.study.tell(running.trial, score)
            log.info("trial %d: validation %s %.2f", number, self.metric, 100 * score)

    def best(self, count: int) -> list[optuna.trial.FrozenTrial]:
        """The best finished trials of different settings."""
        found: dict[str, optuna.trial.FrozenTrial] = {}
        for trial in sorted(self.study.get_trials(states=(TrialState.COMPLETE,)), key=lambda each: -each.value):
            found.setdefault(str(sorted(trial.params.items())), trial)
        return list(found.values())[:count]


def evaluations(folder: Path, metric: str) -> list[float]:
    """That validation metric of each evaluation so far."""
    try:
        with (folder / "curves.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        return []
    return [float(value) for row in rows if (value := row.get(f"val/{metric}"))]


def _score(job: Job) -> float | None:
    return (job.result().get("best") or {}).get("score")


def _stop(processes: Sequence[subprocess.Popen], seconds: float = 60.0) -> None:
    """All at once, as Ctrl-C on a single run. Those that take longer, or that somebody is not willing to wait for, are
    killed."""
    try:
        for process in processes:
            _signal(process, signal.SIGINT)
        deadline = time.monotonic() + seconds
        for process in processes:
            process.wait(max(deadline - time.monotonic(), 0))
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        for process in processes:
            _signal(process, signal.SIGKILL)
            process.wait()
