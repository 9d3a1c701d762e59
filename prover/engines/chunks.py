"""The training of one chunk: the same on every engine."""

from __future__ import annotations

import time
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Int64

from protocol.errors import TrainingError
from protocol.game.sampling import Draw
from protocol.task import Task
from protocol.training import Outputs
from prover.engines.engine import Done


class Trains(Protocol):
    """What a chunk is trained with: a ``training.Trainer``."""

    def outputs(self, subsets: Bool[np.ndarray, "m n"], seeds: Int64[np.ndarray, " m"]) -> Outputs:
        """Return the clipped outputs of a model per subset."""
        ...


def train_chunk(task: Task, trainer: Trains, draw: Draw, evaluations: Int64[np.ndarray, " k"]) -> Done:
    """Derive the subsets of a chunk and train on them.

    Raises
    ------
    TrainingError
        A training gave no number, which the message names with its evaluation, or memory does not hold one.
    """
    started = time.perf_counter()
    seeds = draw.training_seeds(task, evaluations)
    try:
        outputs = trainer.outputs(draw.subsets(task, evaluations), seeds)
    except TrainingError as error:
        raise TrainingError(f"{_where(evaluations, error.row)}: {error}") from error
    seconds = time.perf_counter() - started
    return Done(evaluations=evaluations, outputs=outputs.values, n_clipped=outputs.n_clipped, seconds=seconds)


def _where(evaluations: Int64[np.ndarray, " k"], row: int | None) -> str:
    if row is None:
        return f"evaluations {evaluations[0]} to {evaluations[-1]}"
    return f"evaluation {evaluations[row]}"
