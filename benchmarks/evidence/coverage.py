"""One row of coverage.csv: how often a bound was below the truth, and how often a claim just above epsilon passed.

Owns the row's columns and what counts as a miss. Refuses to know how bounds are made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from benchmarks.tables import Rate


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One certificate, subject, claim and delta.

    kind : finite-sample, or what it assumes. retrainings : by the verifier and the prover together, the mean.
    gap : true, relative to Var f (of Algorithm 1: a share of b^2, the intercept's error included).
    missed : runs whose last upper bound was below the gap; limits are Clopper and Pearson's at 95%.
    epsilon : what was asked for: gap / 1.01, so that the claim is just above it, unless its gap is below 0.001.
    accepted : runs that ended with an ACCEPT: false accepts; None where the claim deserves one.
    """

    certificate: str
    kind: str
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
    epsilon: float
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
    upper: Float64[np.ndarray, " r"], gap: float, *, accepted: int | None, epsilon: float, certificate: str, kind: str,
    retrainings: int, subject: str, n_units: int, claim: str, delta: float,
) -> Cell:  # fmt: skip
    """Return the cell of many runs' upper bounds, of which ``accepted`` led to an ACCEPT."""
    missed = Rate(hits=int((upper < gap).sum()), runs=len(upper))
    passed = None if accepted is None else Rate(hits=accepted, runs=len(upper))
    return Cell(
        certificate=certificate, kind=kind, retrainings=retrainings, subject=subject, n_units=n_units,
        claim=claim, gap=gap, median_bound=float(np.median(upper)), delta=delta, runs=len(upper), missed=missed.hits,
        miss_rate=missed.value, miss_low=missed.limits[0], miss_high=missed.limits[1], epsilon=epsilon,
        accepted=None if passed is None else passed.hits,
        accept_rate=None if passed is None else passed.value,
        accept_low=None if passed is None else passed.limits[0],
        accept_high=None if passed is None else passed.limits[1],
    )  # fmt: skip
