"""Which regression makes the scores, and what each needs. A claim is a claim, whatever made it."""

from __future__ import annotations

import enum
import math

from protocol.errors import ArgumentError

N_FOLDS = 5
"""One of them is held out: a fifth of the evaluations."""

MIN_EVALUATIONS = 4 * N_FOLDS
"""Fewer leave a fold with too few to estimate a gap from."""

LEAST_SQUARES_PER_UNIT = 1.5
"""Evaluations a unit below which least squares is refused: for noise v its gap is v N / (n - N), unbounded at n = N.

Four fifths of them, which the held-out gap is of, are then 1.2 a unit and the system's condition is 480."""

PLENTY_PER_UNIT = 2.0
"""Evaluations a unit from which a fit to all is safely better than those to four fifths, whatever the penalty."""


class Method(enum.Enum):
    """How scores are fitted; does not affect outputs."""

    RIDGE = "ridge"
    LASSO = "lasso"
    LEAST_SQUARES = "least-squares"

    def least_evaluations(self, n_units: int) -> int:
        """Return the fewest independent evaluations that scores of so many units can be fitted to."""
        if self is Method.LEAST_SQUARES:
            return max(math.ceil(LEAST_SQUARES_PER_UNIT * n_units), MIN_EVALUATIONS)
        return MIN_EVALUATIONS

    def check_enough(self, n: int, n_units: int, sides: int) -> None:
        """Raise :class:`ArgumentError` for fewer than :meth:`least_evaluations`; ``sides`` retrainings are one."""
        least = self.least_evaluations(n_units)
        if n < least:
            remedy = "train more, or fit ridge" if self is Method.LEAST_SQUARES else "train more"
            raise ArgumentError(
                f"retrainings: expected at least {least * sides} to fit by {self.value}, got {n * sides}: {remedy}"
            )
