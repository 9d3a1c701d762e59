"""Trainings in worker processes of this machine, one for each device.

Owns starting them, talking to them and starting them again. Processes rather than threads: a recipe
that makes many small steps spends as much time in Python as on its device, and what kills a
training, the kernel's shortage of memory or a driver's fault, then kills no more than that.

A worker ends with its pipe, so none outlives a driver that was killed. What goes through the pipe is
pickled: between this program and itself, never another party.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Self, TypeAlias

import numpy as np
from jaxtyping import Int64

from protocol.errors import AttributionProofsError, TrainingError
from protocol.sampling import Draw
from protocol.task import Task
from protocol.training import Dataset, Trainer
from protocol.training.networks import own_factory
from prover.engines.chunks import ChunkSize
from prover.engines.dispatch import LostWorker, Report, bug, dispatch, report
from prover.engines.engine import OnDone

MAX_STARTS = 3
"""Starts in succession that may end before the worker is ready: whatever kills a training may kill a start, too."""

_CONTEXT = multiprocessing.get_context("spawn")  # a fork of a process with threads or with CUDA is broken
_STOP_S = 5.0

_Ready: TypeAlias = AttributionProofsError | None
"""A worker's first word: nothing, or why it cannot train."""


class ProcessEngine:
    """An :class:`prover.engines.Engine` for several devices. Any thread may run it; runs take turns.

    Parameters
    ----------
    dataset : the task's own, from ``training.load``.
    devices : one worker for each; ``cpu`` may come several times.
    n_threads : of each worker on a processor; by default the cores shared out among them.
    factory : ``package.module:function`` of the user's own network. None of these affects outputs beyond the
        task's tolerance.

    Raises
    ------
    TrainingError, ArgumentError
        As ``training.Trainer``, from whichever worker says so first.
    """

    def __init__(
        self,
        task: Task,
        dataset: Dataset,
        *,
        devices: Sequence[str],
        n_threads: int | None = None,
        factory: str | None = None,
    ) -> None:
        n_threads = n_threads or max((os.cpu_count() or 1) // len(devices), 1)
        self._turn = threading.Lock()
        self._size = ChunkSize(task)
        self._crew = _Processes([_Errand(task, dataset, device, n_threads, factory) for device in devices])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the workers, whatever they are doing."""
        self._crew.stop()

    @property
    def n_workers(self) -> int:
        """One for each device."""
        return len(self.pids)

    @property
    def pids(self) -> list[int]:
        """The workers' process numbers, in the devices' order."""
        return self._crew.pids

    def run(self, draw: Draw, evaluations: Int64[np.ndarray, " m"], on_done: OnDone) -> None:
        """Train on the numbered evaluations; see :class:`prover.engines.Engine`."""
        with self._turn:
            dispatch(self._crew, self.n_workers, draw, evaluations, self._size, on_done)


class _Errand:
    """What a worker is told when it starts."""

    def __init__(self, task: Task, dataset: Dataset, device: str, n_threads: int, factory: str | None) -> None:
        self.task, self.dataset, self.device, self.n_threads, self.factory = task, dataset, device, n_threads, factory

    def trainer(self) -> Trainer:
        own = own_factory(self.factory) if self.factory else None
        return Trainer(self.task, self.dataset, device=self.device, n_threads=self.n_threads, factory=own)


class _Worker:
    """A process as its driver sees it: starting, idle, or busy with a ticket, which ``drop`` makes nobody's.

    n_failed : how many in its place ended before they were ready, since the last that was.
    """

    def __init__(self, errand: _Errand, *, n_failed: int = 0) -> None:
        self.errand, self.n_failed = errand, n_failed
        self.pipe, theirs = _CONTEXT.Pipe()
        self.process = _CONTEXT.Process(target=_work, args=(theirs, errand), daemon=True)
        with _without_interrupts():
            self.process.start()
        theirs.close()  # so that its end of the pipe dies with it
        self.is_ready, self.is_busy = False, False
        self.ticket: int | None = None

    @property
    def is_idle(self) -> bool:
        return self.is_ready and not self.is_busy

    def greet(self, word: _Ready) -> None:
        if word is not None:
            raise word
        self.is_ready = True

    def bury(self) -> str:
        """Return what is known of its death."""
        self.pipe.close()
        self.process.join()
        status = self.process.exitcode or 0
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return f"process {self.process.pid} on {self.errand.device}, {how}"


class _Processes:
    """A :class:`prover.engines.dispatch.Crew`."""

    def __init__(self, errands: Sequence[_Errand]) -> None:
        self._workers = [_Worker(errand) for errand in errands]
        try:
            while not all(worker.is_ready for worker in self._workers):
                self.wait()
        except BaseException:
            self.stop()
            raise

    @property
    def pids(self) -> list[int]:
        return [worker.process.pid or 0 for worker in self._workers]

    def has_room(self) -> bool:
        return any(worker.is_idle for worker in self._workers)

    def give(self, ticket: int, draw: Draw, evaluations: Int64[np.ndarray, " k"]) -> None:
        worker = next(worker for worker in self._workers if worker.is_idle)
        worker.is_busy, worker.ticket = True, ticket
        try:
            worker.pipe.send((draw, evaluations))
        except OSError:
            return  # it died while idle: its end of the pipe says so to ``wait``

    def wait(self) -> list[tuple[int, Report]]:
        reports = []
        speaking = set(wait([worker.pipe for worker in self._workers]))
        for worker in [worker for worker in self._workers if worker.pipe in speaking]:
            said = self._hear(worker)
            if said is not None and worker.ticket is not None:
                reports.append((worker.ticket, said))
            if said is not None:
                worker.is_busy, worker.ticket = False, None
        return reports

    def drop(self) -> None:
        for worker in self._workers:
            worker.ticket = None

    def stop(self) -> None:
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(_STOP_S)
            if worker.process.is_alive():
                worker.process.kill()
            worker.pipe.close()

    def _hear(self, worker: _Worker) -> Report | None:
        """Return what a worker reports; None for its first word, or instead of it. One that is gone is replaced."""
        try:
            said = worker.pipe.recv()
        except (EOFError, OSError):
            return self._replace(worker, worker.bury())
        if not worker.is_ready:
            worker.greet(said)
            return None
        reported: Report = said
        return reported

    def _replace(self, worker: _Worker, reason: str) -> LostWorker | None:
        n_failed = 0 if worker.is_ready else worker.n_failed + 1
        is_given_up = n_failed == MAX_STARTS
        place = self._workers.index(worker)
        self._workers[place] = _Worker(worker.errand, n_failed=0 if is_given_up else n_failed)  # a next run has one
        if is_given_up:
            raise TrainingError(
                f"device {worker.errand.device!r}: expected a worker to start there, {MAX_STARTS} ended before they "
                f"were ready (the last: {reason}); is there memory for the data?"
            )
        return LostWorker(reason=reason) if worker.is_ready else None


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Let a process that is started here never hear of Ctrl-C: that is the driver's, which stops it."""
    resource_tracker.ensure_running()  # started by the first worker otherwise, which lets Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pipe: Connection, errand: _Errand) -> None:
    """Be a worker: say whether training can begin, then train chunk after chunk until the pipe ends."""
    try:
        trainer = _started(pipe, errand)
        while trainer is not None:
            draw, evaluations = pipe.recv()
            pipe.send(report(errand.task, trainer, draw, evaluations))
    except (EOFError, OSError):
        return  # nobody is there any more


def _started(pipe: Connection, errand: _Errand) -> Trainer | None:
    try:
        trainer = errand.trainer()
    except AttributionProofsError as error:
        pipe.send(error)
    except Exception as error:  # noqa: BLE001  said to the driver, which raises it
        pipe.send(bug(error))
    else:
        pipe.send(None)
        return trainer
    return None
