"""Chunks dealt out to several workers, and again when one is lost.

Owns what is under way, what is to be done again and when to give up. Refuses to know what a worker
is: a process of this machine or a task on a cluster (``Crew``).

    queue -> under way -> finished             told of, at once
                       -> lost                 both halves back to the front of the queue, or whole if it was one: the
                                               usual killer of a worker is an operating system short of memory
                       -> lost too often       the run ends
                       -> failed               what is under way is waited for and told of; the run ends
    a worker that cannot train at all          likewise, whatever it is
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from jaxtyping import Int64

from protocol.errors import AttributionProofsError, InternalError, TrainingError
from protocol.game.sampling import Draw
from protocol.task import Task
from protocol.training import ChunkSize
from protocol.training.chunks import FIRST_CHUNK
from prover.engines.chunks import Trains, train_chunk
from prover.engines.engine import Done, OnDone

MAX_LOSSES = 3
"""Workers that may be lost on one chunk or its parts: a chunk that kills its worker would kill them for ever."""


@dataclass(frozen=True, kw_only=True)
class LostWorker:
    """The worker is gone, and what it was doing with it.

    reason : what is known of why, to follow "a worker was lost (".
    """

    reason: str


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The chunk cannot be trained, however often it is tried."""

    error: AttributionProofsError


Report: TypeAlias = Done | LostWorker | Failed


def report(task: Task, trainer: Trains, draw: Draw, evaluations: Int64[np.ndarray, " k"]) -> Report:
    """Return what became of a chunk that is trained here: what a worker does with one."""
    try:
        return train_chunk(task, trainer, draw, evaluations)
    except AttributionProofsError as error:
        return Failed(error=error)
    except Exception as error:  # noqa: BLE001  what a worker cannot report, its driver would wait for in vain
        return Failed(error=bug(error))


def bug(error: Exception) -> InternalError:
    """Return what a worker reports of an error that nobody expected, its traceback in a note."""
    ours = InternalError(f"a worker met {type(error).__name__}: {' '.join(str(error).split())[:300]}; please report it")
    ours.add_note("".join(traceback.format_exception(error)))
    return ours


class Crew(Protocol):
    """Several workers that train chunks."""

    def has_room(self) -> bool:
        """Whether another chunk is welcome now."""
        ...

    def give(self, ticket: int, draw: Draw, evaluations: Int64[np.ndarray, " k"]) -> None:
        """Let a worker train a chunk; only when there is room."""
        ...

    def wait(self) -> Sequence[tuple[int | None, Report]]:
        """Return what became of chunks under way, by their tickets; blocks until something is to be said, or was.

        None with a ``Failed``: workers cannot be had, whatever the chunk.
        """
        ...

    def drop(self) -> None:
        """Forget what is under way; nothing of it is reported any more."""
        ...


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Places start to stop of the numbers asked for; n_losses workers were lost on them."""

    start: int
    stop: int
    n_losses: int = 0

    def halves(self, n_losses: int) -> list[_Part]:
        middle = (self.start + self.stop + 1) // 2
        bounds = [(self.start, middle), (middle, self.stop)]
        return [_Part(start=a, stop=b, n_losses=n_losses) for a, b in bounds if a < b]


def dispatch(
    crew: Crew, n_workers: int, draw: Draw, evaluations: Int64[np.ndarray, " m"], size: ChunkSize, on_done: OnDone
) -> None:
    """Have a crew train on the numbered evaluations; arguments and errors as of ``Engine.run``.

    Parameters
    ----------
    n_workers : how many share what is left towards the end.
    size : how large chunks are; learns from every report.
    """
    run = _Run(evaluations, size, n_workers, on_done)
    try:
        while run.is_going:
            while run.is_wanting and crew.has_room():
                ticket, chunk = run.next()
                crew.give(ticket, draw, chunk)
            for given, report in crew.wait():
                run.take(given, report)
    except BaseException:
        crew.drop()
        raise
    if run.failure is not None:
        raise run.failure


class _Run:
    """The state of one ``dispatch``."""

    def __init__(self, evaluations: Int64[np.ndarray, " m"], size: ChunkSize, n_workers: int, on_done: OnDone) -> None:
        self._evaluations, self._size, self._n_workers, self._on_done = evaluations, size, n_workers, on_done
        self._queue: deque[_Part] = deque()
        self._put_back([_Part(start=0, stop=len(evaluations))] if len(evaluations) else [])
        self._under_way: dict[int, _Part] = {}
        self._ticket = 0
        self.failure: AttributionProofsError | None = None

    @property
    def is_wanting(self) -> bool:
        return bool(self._queue) and self.failure is None

    @property
    def is_going(self) -> bool:
        return bool(self._under_way) or self.is_wanting

    def next(self) -> tuple[int, Int64[np.ndarray, " k"]]:
        part = self._queue.popleft()
        # Towards the end a chunk is no more than a worker's share of it, or one would work alone.
        share = max(-(-(part.stop - part.start) // self._n_workers), FIRST_CHUNK)
        stop = min(part.stop, part.start + min(self._size.next, share))
        self._put_back([_Part(start=stop, stop=part.stop, n_losses=part.n_losses)] if stop < part.stop else [])
        self._ticket += 1
        self._under_way[self._ticket] = _Part(start=part.start, stop=stop, n_losses=part.n_losses)
        return self._ticket, self._evaluations[part.start : stop]

    def take(self, ticket: int | None, report: Report) -> None:
        if ticket is None:
            self.failure = self.failure or (report.error if isinstance(report, Failed) else None)
            return
        part = self._under_way.pop(ticket)
        match report:
            case Done():
                self._size.took(part.stop - part.start, report.seconds)
                self._on_done(report)
            case LostWorker() if part.n_losses + 1 < MAX_LOSSES:
                self._put_back(part.halves(part.n_losses + 1))
            case LostWorker():
                self.failure = self.failure or TrainingError(self._gave_up(part, report.reason))
            case Failed():
                self.failure = self.failure or report.error

    def _put_back(self, parts: Sequence[_Part]) -> None:
        self._queue.extendleft(reversed(parts))

    def _gave_up(self, part: _Part, reason: str) -> str:
        first, last = self._evaluations[part.start], self._evaluations[part.stop - 1]
        return (
            f"evaluations {first} to {last}: expected outputs, lost {MAX_LOSSES} workers on them ({reason}); look in "
            "the system's log for what killed them, memory running out as a rule, and run the same command again"
        )
