"""Trainings in this process, on one device.

Owns how many subsets are trained at once. Chunks grow until one takes about ``CHUNK_S``: long
enough that saving it costs nothing, short enough that little is lost to a kill and that a
progress bar moves.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from protocol.sampling import Draw
from protocol.task import Task
from protocol.training import Dataset, Trainer, load
from protocol.training.networks import OwnFactory, own_factory
from prover.engines import Done, OnDone

CHUNK_S = 0.5
FIRST_CHUNK = 16
MAX_CHUNK = 4096
MAX_CHUNK_BYTES = 1 << 26
"""Of a chunk's subsets, a byte a unit, and outputs, 8 bytes a target; the trainer's own memory comes on top."""


class LocalEngine:
    """An :class:`prover.engines.Engine`. Any thread may run it; runs take turns, chunk by chunk.

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
        self._trainer = Trainer(task, dataset, device=device, n_threads=n_threads, factory=factory)
        self._turn = threading.Lock()
        self._chunk = FIRST_CHUNK
        self._max_chunk = min(MAX_CHUNK, max(MAX_CHUNK_BYTES // (task.n_units + 8 * task.n_targets), 2))

    def run(self, draw: Draw, evaluations: Int64[np.ndarray, " m"], on_done: OnDone) -> None:
        """Train on the numbered evaluations; see :class:`prover.engines.Engine`."""
        done = 0
        while done < len(evaluations):
            with self._turn:
                chunk = evaluations[done : done + self._chunk]
                result = self._train(draw, chunk)
            done += len(chunk)
            on_done(result)

    def _train(self, draw: Draw, chunk: Int64[np.ndarray, " k"]) -> Done:
        started = time.perf_counter()
        outputs = self._trainer.outputs(draw.subsets(self._task, chunk), draw.training_seeds(self._task, chunk))
        if time.perf_counter() - started < CHUNK_S / 2:
            self._chunk = min(2 * self._chunk, self._max_chunk)
        return Done(evaluations=chunk, outputs=outputs.values, n_clipped=outputs.n_clipped)


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
