"""What every engine is: trainings by number, told of as they are finished.

Owns the interface, and how to have chunks in order from an engine that does not keep it. Refuses to
know what trainings are for, and where they run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from jaxtyping import Float64, Int64

from protocol.game.sampling import Draw


@dataclass(frozen=True, kw_only=True, eq=False)
class Done:
    """A chunk of trainings that is finished.

    evaluations : shape (k,), consecutive among the numbers asked for, in their order.
    outputs : shape (k, T), clipped. n_clipped : how many of the k T numbers lay outside their range.
    seconds : for how long a device or worker was busy with it.
    """

    evaluations: Int64[np.ndarray, " k"]
    outputs: Float64[np.ndarray, "k t"]
    n_clipped: int
    seconds: float = 0.0


OnDone: TypeAlias = Callable[[Done], None]
"""Told of each chunk, by one thread at a time. What it raises ends the run: that is how a run is stopped."""


class Engine(Protocol):
    """Trains the task's recipe on the subsets of a draw."""

    @property
    def n_workers(self) -> int:
        """How many chunks train at once."""
        ...

    def run(self, draw: Draw, evaluations: Int64[np.ndarray, " m"], on_done: OnDone) -> None:
        """Train on the numbered evaluations, telling ``on_done`` of each chunk as soon as it is finished.

        Chunks are disjoint and together all that was asked for. With several workers a later one
        may be finished before an earlier one: :func:`in_order` is for those who care.

        Parameters
        ----------
        evaluations : shape (m,), distinct numbers from 0 to ``draw.n_evaluations`` - 1.

        Raises
        ------
        TrainingError
            A training gave no number, which the message names with its seed, or a worker was lost
            again and again; the chunks told of before it stand.
        """
        ...


def in_order(evaluations: Int64[np.ndarray, " m"], on_done: OnDone) -> OnDone:
    """Return an ``on_done`` for a run on ``evaluations`` that passes its chunks on in their order.

    What is finished early waits here, and is lost with the process.
    """
    place = {int(number): i for i, number in enumerate(evaluations)}
    waiting: dict[int, Done] = {}
    n_passed = 0

    def hold(done: Done) -> None:
        nonlocal n_passed
        waiting[place[int(done.evaluations[0])]] = done
        while n_passed in waiting:
            chunk = waiting.pop(n_passed)
            n_passed += len(chunk.evaluations)
            on_done(chunk)

    return hold
