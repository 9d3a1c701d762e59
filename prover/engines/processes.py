"""Trainings in worker processes of this machine, one for each device.

Owns starting them, talking to them and starting them again. Processes rather than threads: a recipe
that makes many small steps spends as much time in Python as on its device, and what kills a
training, the kernel's shortage of memory or a driver's fault, then kills no more than that.

A worker ends with its pipe, so none outlives a driver that was killed. What goes through the pipe is
pickled: between this program and itself, never another party. A worker is told what to train only once it has
spoken: what a process is started with is written to it whether it still lives or not, and more than a pipe holds
would be waited for without end.

    starting -> here      it has said a first word, and has been told its errand
             -> idle      it can train
             -> busy      and back to idle, as often as there are chunks
    any      -> gone      started again, unless it said why it cannot train or too many ended before they were idle;
                          then the next run starts another
"""

from __future__ import annotations

import contextlib
import enum
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Self

import numpy as np
from jaxtyping import Int64

from protocol.errors import AttributionProofsError, TrainingError
from protocol.game.sampling import Draw
from protocol.task import Task
from protocol.training import ChunkSize, Dataset, Trainer
from protocol.training.descent.networks import own_factory
from prover.engines.dispatch import Failed, LostWorker, Report, bug, dispatch, report
from prover.engines.engine import OnDone

MAX_STARTS = 3
"""Starts in succession that may end before the worker is ready: whatever kills a training may kill a start, too."""

_CONTEXT = multiprocessing.get_context("spawn")  # a fork of a process with threads or with CUDA is broken
_STOP_S = 5.0


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
            self._crew.complete()
            dispatch(self._crew, self.n_workers, draw, evaluations, self._size, on_done)


class _Errand:
    """What a worker is told when it starts."""

    def __init__(self, task: Task, dataset: Dataset, device: str, n_threads: int, factory: str | None) -> None:
        self.task, self.dataset, self.device, self.n_threads, self.factory = task, dataset, device, n_threads, factory

    def trainer(self) -> Trainer:
        own = own_factory(self.factory) if self.factory else None
        return Trainer(self.task, self.dataset, device=self.device, n_threads=self.n_threads, factory=own)


class _Stage(enum.Enum):
    """How far a worker has come; the head of this file draws it."""

    STARTING = enum.auto()
    HERE = enum.auto()
    IDLE = enum.auto()
    BUSY = enum.auto()
    GONE = enum.auto()


class _Worker:
    """A process as its driver sees it. When busy it has a ticket, which ``drop`` makes nobody's.

    n_failed : how many in its place ended before they were idle, since the last that was.
    """

    def __init__(self, errand: _Errand, *, n_failed: int = 0) -> None:
        self.errand, self.n_failed = errand, n_failed
        self.pipe, theirs = _CONTEXT.Pipe()
        self.process = _CONTEXT.Process(target=_work, args=(theirs,), daemon=True)
        try:
            with _without_interrupts():
                self.process.start()
        except OSError as error:
            self.pipe.close()
            raise TrainingError(f"{self._expected}, the system started none ({error}); end other programs") from error
        finally:
            theirs.close()  # so that its end of the pipe dies with it
        self.stage = _Stage.STARTING
        self.ticket: int | None = None

    @property
    def is_gone(self) -> bool:
        return self.stage is _Stage.GONE

    def hear(self) -> Report | None:
        """Return what it has to report, if anything: a worker that is gone, or cannot train, reports that."""
        try:
            said = self.pipe.recv()
            if self.stage is _Stage.STARTING:
                self.stage = _Stage.HERE
                self.pipe.send(self.errand)
                return None
        except (EOFError, OSError):
            return self._lost()
        if self.stage is _Stage.HERE and said is not None:
            self.bury()
            return Failed(error=said)
        self.stage = _Stage.IDLE
        reported: Report | None = said
        return reported

    def bury(self) -> str:
        """Return what is known of its death."""
        self.pipe.close()
        self.process.join()
        self.stage = _Stage.GONE
        status = self.process.exitcode or 0
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return f"process {self.process.pid} on {self.errand.device}, {how}"

    def _lost(self) -> Report:
        was, reason = self.stage, self.bury()
        if was in {_Stage.IDLE, _Stage.BUSY}:
            self.n_failed = 0
            return LostWorker(reason=reason)
        self.n_failed += 1
        if self.n_failed < MAX_STARTS:
            return LostWorker(reason=reason)
        said = f"{MAX_STARTS} ended before they were ready (the last: {reason}); is there memory for the data?"
        return Failed(error=TrainingError(f"{self._expected}, {said}"))

    @property
    def _expected(self) -> str:
        return f"device {self.errand.device!r}: expected a worker to start there"


class _Processes:
    """A :class:`prover.engines.dispatch.Crew`."""

    def __init__(self, errands: Sequence[_Errand]) -> None:
        self._workers: list[_Worker] = []
        try:
            for errand in errands:
                self._workers.append(_Worker(errand))
            while any(worker.stage is not _Stage.IDLE for worker in self._workers):
                for _, report in self.wait():
                    if isinstance(report, Failed):
                        raise report.error
        except BaseException:
            self.stop()
            raise

    @property
    def pids(self) -> list[int]:
        return [worker.process.pid or 0 for worker in self._workers]

    def complete(self) -> None:
        """Start workers where an earlier run gave up."""
        for place, worker in enumerate(self._workers):
            if worker.is_gone:
                self._workers[place] = _Worker(worker.errand)

    def has_room(self) -> bool:
        return any(worker.stage is _Stage.IDLE for worker in self._workers)

    def give(self, ticket: int, draw: Draw, evaluations: Int64[np.ndarray, " k"]) -> None:
        worker = next(worker for worker in self._workers if worker.stage is _Stage.IDLE)
        worker.stage, worker.ticket = _Stage.BUSY, ticket
        with contextlib.suppress(OSError):  # it died while idle: its end of the pipe says so to ``wait``
            worker.pipe.send((draw, evaluations))

    def wait(self) -> list[tuple[int | None, Report]]:
        reports: list[tuple[int | None, Report]] = []
        speaking = set(wait([worker.pipe for worker in self._workers if not worker.is_gone]))
        for place, worker in enumerate(self._workers):
            if worker.is_gone or worker.pipe not in speaking:
                continue
            said, ticket, worker.ticket = worker.hear(), worker.ticket, None
            is_of_all = isinstance(said, Failed) and worker.is_gone
            if said is not None and (ticket is not None or is_of_all):
                reports.append((ticket, said))
            if isinstance(said, LostWorker):
                reports.extend(self._replaced(place))
        return reports

    def _replaced(self, place: int) -> Iterator[tuple[None, Failed]]:
        gone = self._workers[place]
        try:
            self._workers[place] = _Worker(gone.errand, n_failed=gone.n_failed)
        except TrainingError as error:
            yield None, Failed(error=error)

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


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Let a process that is started here never hear of Ctrl-C: that is the driver's, which stops it."""
    resource_tracker.ensure_running()  # started by the first worker otherwise, which lets Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pipe: Connection) -> None:
    """Be a worker: ask what to train, say whether that can begin, train chunk after chunk until the pipe ends."""
    try:
        pipe.send(None)
        errand = pipe.recv()
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
