"""How many subsets are trained at once, and the training of one chunk: the same on every engine.

Chunks grow until one takes about ``CHUNK_S``: long enough that saving it costs nothing, short
enough that little is lost to a kill and that a progress bar moves. They grow on, to ``LONGEST_S``,
while twice as many at once make each cheaper by a tenth: many small models cost a GPU hardly more
than one. A chunk that memory does not hold is halved, and none is made as large again.
"""

from __future__ import annotations

import math
import time
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Bool, Int64

from protocol.errors import TrainingError
from protocol.sampling import Draw
from protocol.task import Task
from protocol.training.trainer import Outputs
from prover.engines.engine import Done

CHUNK_S = 0.5
LONGEST_S = 20.0
GAIN = 0.1
"""Share of a training's seconds that twice as many at once must save to be worth a longer chunk."""

FIRST_CHUNK = 16
MAX_CHUNK = 4096
MAX_CHUNK_BYTES = 1 << 26
"""Of a chunk's subsets, a byte a unit, and outputs, 8 bytes a target; the trainer's own memory comes on top."""

_MEMORY_WORDS = ("out of memory", "not enough memory", "can't allocate memory")
"""On a processor torch says so in the words of a RuntimeError alone."""


class ChunkSize:
    """How large the next chunk is; one worker's is all workers'."""

    def __init__(self, task: Task) -> None:
        self._largest = min(MAX_CHUNK, max(MAX_CHUNK_BYTES // (task.n_units + 8 * task.n_targets), 2))
        self._next = FIRST_CHUNK
        self._each_s = math.inf  # of a training, in chunks half as large as the next

    @property
    def next(self) -> int:
        """Subsets of the next chunk, at least 1."""
        return min(self._next, self._largest)

    def took(self, n: int, seconds: float) -> None:
        """Learn that a chunk of n took so long; only one as large as they come says anything about larger ones."""
        if n < self.next:
            return
        each_s = seconds / n
        pays = each_s <= (1 - GAIN) * self._each_s
        if n < self._largest and (seconds < CHUNK_S / 2 or (pays and seconds < LONGEST_S / 2)):
            self._next, self._each_s = min(2 * n, self._largest), each_s
        elif n > FIRST_CHUNK and not pays and seconds > CHUNK_S and self._each_s > 0:
            self._next, self._each_s = n // 2, 0.0  # and does not try again

    def too_large(self, n: int) -> None:
        """Learn that memory did not hold a chunk of n."""
        self._largest = max(min(self._largest, n // 2), 1)


class Trains(Protocol):
    """What a chunk is trained with: a ``training.Trainer``."""

    def outputs(self, subsets: Bool[np.ndarray, "m n"], seeds: Int64[np.ndarray, " m"]) -> Outputs:
        """Return the clipped outputs of a model per subset."""
        ...


class TooLarge(Exception):
    """Memory did not hold a chunk of several subsets: halve it."""


def train_chunk(task: Task, trainer: Trains, draw: Draw, evaluations: Int64[np.ndarray, " k"]) -> Done:
    """Derive the subsets of a chunk and train on them.

    Raises
    ------
    TooLarge
        Memory does not hold the chunk, and half of it may fit.
    TrainingError
        A training gave no number, or memory does not hold a single one; names the evaluation.
    """
    started = time.perf_counter()
    seeds = draw.training_seeds(task, evaluations)
    try:
        outputs = trainer.outputs(draw.subsets(task, evaluations), seeds)
    except TrainingError as error:
        raise TrainingError(f"{_where(evaluations, error.row)}: {error}") from error
    except (MemoryError, RuntimeError) as error:
        if not is_memory(error):
            raise
        if len(evaluations) > 1:
            raise TooLarge from error
        raise TrainingError(
            f"evaluation {evaluations[0]} (seed {seeds[0]}): expected memory for one training, found less; "
            "use a device with more"
        ) from error
    seconds = time.perf_counter() - started
    return Done(evaluations=evaluations, outputs=outputs.values, n_clipped=outputs.n_clipped, seconds=seconds)


def is_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _MEMORY_WORDS)


def _where(evaluations: Int64[np.ndarray, " k"], row: int | None) -> str:
    if row is None:
        return f"evaluations {evaluations[0]} to {evaluations[-1]}"
    return f"evaluation {evaluations[row]}"
