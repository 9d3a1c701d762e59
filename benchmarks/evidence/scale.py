"""How much of the evidence is run: all of it, or enough to see that the programs work."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.evidence.subjects import Effort


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much of everything is run.

    n_runs : of a cheap cell, without sessions. n_sessions : of a cell of the default certificate.
    jobs : processes for coverage; does not affect its figures.
    """

    n_runs: int
    n_sessions: int
    ridge: Effort
    logistic: Effort
    jobs: int = 1

    @property
    def is_quick(self) -> bool:
        """Whether this shows no more than that the programs run."""
        return self.n_sessions <= QUICK.n_sessions


FULL = Scale(
    n_runs=1000, n_sessions=40,
    ridge=Effort(n_train=1000, n_fit=12_000, n_reference=20_000),
    logistic=Effort(n_train=300, n_fit=3000, n_reference=6000),
)  # fmt: skip
QUICK = Scale(
    n_runs=40, n_sessions=2,
    ridge=Effort(n_train=60, n_fit=600, n_reference=1000), logistic=Effort(n_train=60, n_fit=600, n_reference=1000),
)  # fmt: skip
