"""An engine that plays a game instead of training, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from protocol.errors import TrainingError
from protocol.game.known import OneTarget
from protocol.game.sampling import Draw
from protocol.task import Task
from prover.engines import Done, OnDone


class GameEngine:
    """Plays ``game``, clipped into the task's ranges, ``chunk`` evaluations at a time.

    fail_at : evaluation at which a training fails. before_chunk : called with each chunk's first evaluation.
    """

    def __init__(
        self,
        task: Task,
        game: OneTarget,
        *,
        chunk: int = 37,
        fail_at: int | None = None,
        before_chunk: Callable[[int], None] = lambda first: None,
    ) -> None:
        self._task, self._game, self._chunk = task, game, chunk
        self._fail_at, self._before_chunk = fail_at, before_chunk
        self.asked: list[int] = []

    n_workers = 1

    def run(self, draw: Draw, evaluations: np.ndarray, on_done: OnDone) -> None:
        targets = self._task.targets
        for start in range(0, len(evaluations), self._chunk):
            chunk = evaluations[start : start + self._chunk]
            self._before_chunk(int(chunk[0]))
            if self._fail_at is not None and self._fail_at in chunk:
                raise TrainingError("recipe ridge: expected a number, got none")
            self.asked += chunk.tolist()
            raw = self._game.outputs(draw.subsets(self._task, chunk))
            outputs = np.clip(raw, targets.lo, targets.hi)
            on_done(Done(evaluations=chunk, outputs=outputs, n_clipped=int((raw != outputs).sum())))
