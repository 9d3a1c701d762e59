"""One row of coverage.csv: how often a bound was below the truth, and how often a claim just above epsilon passed.

Owns the row's columns and what counts as a miss. Refuses to know how bounds are made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from benchmarks.evidence.subjects import ABOVE
from benchmarks.evidence.tables import Rate

DELTAS = (0.01, 0.05, 0.2)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One certificate, design, subject, claim and delta.

    kind : finite-sample or asymptotic. retrainings : by the verifier and the prover together.
    gap : true, relative to Var f (of Algorithm 1: a share of b^2, the intercept's error included).
    missed : runs whose upper bound was below the gap; limits are Clopper and Pearson's at 95%.
    epsilon : gap / 1.01, so that the claim is just above it; None for a claim whose gap is below 0.001.
    accepted : runs whose upper bound was at most epsilon: false accepts.
    """

    certificate: str
    kind: str
    design: str
    retrainings: int
    subject: str
    n_units: int
    claim: str
    gap: float
    median_bound: float
    delta: float
    runs: int
    missed: int
    miss_rate: float
    miss_low: float
    miss_high: float
    epsilon: float | None
    accepted: int | None
    accept_rate: float | None
    accept_low: float | None
    accept_high: float | None

    @property
    def exceeds(self) -> bool:
        """Whether either rate is above delta."""
        return max(self.miss_rate, self.accept_rate or 0.0) > self.delta

    @property
    def surely_exceeds(self) -> bool:
        """Whether either rate's lower limit is."""
        return max(self.miss_low, self.accept_low or 0.0) > self.delta


def cell_of(
    upper: Float64[np.ndarray, " r"], gap: float, *, certificate: str, kind: str, design: str, retrainings: int,
    subject: str, n_units: int, claim: str, delta: float,
) -> Cell:  # fmt: skip
    """Return the cell of many runs' upper bounds."""
    missed = Rate(hits=int((upper < gap).sum()), runs=len(upper))
    epsilon = gap / ABOVE if gap >= 0.001 else None
    accepted = None if epsilon is None else Rate(hits=int((upper <= epsilon).sum()), runs=len(upper))
    return Cell(
        certificate=certificate, kind=kind, design=design, retrainings=retrainings, subject=subject, n_units=n_units,
        claim=claim, gap=gap, median_bound=float(np.median(upper)), delta=delta, runs=len(upper), missed=missed.hits,
        miss_rate=missed.value, miss_low=missed.limits[0], miss_high=missed.limits[1], epsilon=epsilon,
        accepted=None if accepted is None else accepted.hits,
        accept_rate=None if accepted is None else accepted.value,
        accept_low=None if accepted is None else accepted.limits[0],
        accept_high=None if accepted is None else accepted.limits[1],
    )  # fmt: skip
