"""How much of the evidence is run: all of it, or enough to see that the programs work."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.evidence.subjects import Effort


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much of everything is run.

    n_runs : of a cheap cell. budget : trainings for all runs of a real task's design.
    crossfit_runs : of a game. crossfit_budget : trainings for all runs of a real task's plan.
    jobs : processes for coverage; does not affect its figures.
    """

    n_runs: int
    budget: int
    crossfit_runs: int
    crossfit_budget: int
    ridge: Effort
    logistic: Effort
    jobs: int = 1


FULL = Scale(
    n_runs=2000, budget=120_000, crossfit_runs=300, crossfit_budget=80_000,
    ridge=Effort(n_train=1000, n_fit=12_000, n_reference=50_000),
    logistic=Effort(n_train=300, n_fit=6000, n_reference=30_000),
)  # fmt: skip
QUICK = Scale(
    n_runs=40, budget=2000, crossfit_runs=2, crossfit_budget=12_000,
    ridge=Effort(n_train=60, n_fit=600, n_reference=1000), logistic=Effort(n_train=60, n_fit=600, n_reference=1000),
)  # fmt: skip
