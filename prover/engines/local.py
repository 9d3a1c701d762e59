"""Trainings in this process, on one device."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from protocol.game.sampling import Draw
from protocol.task import Task
from protocol.training import ChunkSize, Dataset, Trainer, load
from protocol.training.descent.networks import OwnFactory, own_factory
from prover.engines.chunks import Trains, train_chunk
from prover.engines.engine import OnDone


class LocalEngine:
    """An :class:`prover.engines.Engine`. Any thread may run it; runs take turns, chunk by chunk. Keeps the order.

    Parameters
    ----------
    dataset : the task's own, from ``training.load``.
    device, n_threads, factory : as of ``training.Trainer``; do not affect outputs beyond the task's tolerance.
    """

    def __init__(
        self,
        task: Task,
        dataset: Dataset,
        *,
        device: str = "cpu",
        n_threads: int | None = None,
        factory: OwnFactory | None = None,
    ) -> None:
        self._task = task
        self._trainer: Trains = Trainer(task, dataset, device=device, n_threads=n_threads, factory=factory)
        self._turn = threading.Lock()
        self._size = ChunkSize(task)

    @property
    def n_workers(self) -> int:
        """One: chunks of several runs take turns."""
        return 1

    def run(self, draw: Draw, evaluations: Int64[np.ndarray, " m"], on_done: OnDone) -> None:
        """Train on the numbered evaluations; see :class:`prover.engines.Engine`."""
        n_done = 0
        while n_done < len(evaluations):
            with self._turn:
                done = train_chunk(self._task, self._trainer, draw, evaluations[n_done : n_done + self._size.next])
                self._size.took(len(done.evaluations), done.seconds)
            n_done += len(done.evaluations)
            on_done(done)


def prepare(
    task: Task, *, data: Path | None, device: str = "cpu", n_threads: int | None = None, factory: str | None = None
) -> LocalEngine:
    """Return an engine, its data read and checked against the task's digest.

    Parameters
    ----------
    data : where the task's file is; None for a ``sklearn:`` set. Does not affect outputs: the digest decides.

    factory : ``package.module:function`` of the user's own network, if the task has one; likewise.

    Raises
    ------
    DataError
        The data cannot be read, or are not the task's.
    ArgumentError
        The task's network is the user's own, and ``factory`` is not it.
    TrainingError
        The device is not there, or a network cannot be trained here.
    """
    own = own_factory(factory) if factory else None
    return LocalEngine(task, load(task, data), device=device, n_threads=n_threads, factory=own)
