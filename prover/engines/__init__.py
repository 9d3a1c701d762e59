"""Where trainings run: one interface, a file for each kind of machine.

An engine takes a draw and the numbers of evaluations and reports their outputs chunk by chunk. It
refuses to know what they are for, and keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from jaxtyping import Float64, Int64

from protocol.sampling import Draw


@dataclass(frozen=True, kw_only=True, eq=False)
class Done:
    """A chunk of trainings that is finished.

    evaluations : shape (k,), the numbers asked for, in their order.
    outputs : shape (k, T), clipped. n_clipped : how many of the k T numbers lay outside their range.
    """

    evaluations: Int64[np.ndarray, " k"]
    outputs: Float64[np.ndarray, "k t"]
    n_clipped: int


OnDone: TypeAlias = Callable[[Done], None]
"""Told of each chunk, in order. What it raises ends the run: that is how a run is stopped."""


class Engine(Protocol):
    """Trains the task's recipe on the subsets of a draw."""

    def run(self, draw: Draw, evaluations: Int64[np.ndarray, " m"], on_done: OnDone) -> None:
        """Train on the numbered evaluations, telling ``on_done`` of each chunk in their order.

        Parameters
        ----------
        evaluations : shape (m,), numbers from 0 to ``draw.n_evaluations`` - 1.

        Raises
        ------
        TrainingError
            A training gave no number; the chunks told of before it stand.
        """
        ...
