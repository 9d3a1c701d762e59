"""What Algorithm 1 takes for one claim (THEORY 6.3), and whether the budgets reach.

There is nothing to search: the task's range, the claim's norm, epsilon and delta give every count.
Unlike the other planners' these are no forecast from the prover's figures, which are not read.
"""

from __future__ import annotations

from dataclasses import replace

from protocol.certificate import algorithm1
from protocol.certificate.algorithm1 import Counts
from protocol.certificate.plan import Forecast, Plan
from protocol.certificate.terms import Across, Assurance, Method, Terms
from protocol.claim import Claim
from protocol.errors import ArgumentError, BudgetError
from protocol.task import Task


def counts_of(task: Task, claim: Claim, *, epsilon: float, delta: float) -> Counts:
    """Return the counts for this very claim of a task of one target; epsilon is a share of b^2."""
    middle, b = algorithm1.centre(task)
    largest = algorithm1.largest_prediction(claim, middle)
    return algorithm1.counts(epsilon=epsilon * b**2, delta=delta, b=b, largest=largest)


def best_within(
    task: Task,
    claim: Claim | None,
    *,
    epsilon: float,
    delta: float,
    max_retrainings: int,
    max_answers: int,
    n_checks: int | None = None,
    max_served: int | None = None,
) -> Plan:
    """Return the one plan there is, if it fits the budgets.

    A claim that a session rejects before any challenge costs nothing and is planned whatever the budgets: none at
    all, one of another shape, one whose coefficients alone put it off.

    Parameters
    ----------
    epsilon : as a share of the squared half range.
    max_retrainings : most trainings that the verifier will do. max_answers : most asked of the prover.
    n_checks : answers rechecked a round; by default as many as the counts ask for, and fewer are refused.
    max_served : most trainings that the prover's server takes in one session; None where it does not say.

    Raises
    ------
    BudgetError
        A budget does not reach; says what would.
    ArgumentError
        More targets than one, a number out of its range, or rounds larger than any challenge may be.
    """
    if task.n_targets != 1:
        raise ArgumentError(f"algorithm1: expected a task of one target, got {task.n_targets}: average them")
    if claim is None or claim.scores.shape != (1, task.n_units) or algorithm1.is_certainly_off(task, claim, epsilon):
        _, b = algorithm1.centre(task)
        least = algorithm1.counts(epsilon=epsilon * b**2, delta=delta, b=b, largest=0.0)
        return _plan(least, epsilon, delta, n_retrained=0, n_answered=0)
    asked = counts_of(task, claim, epsilon=epsilon, delta=delta)
    if n_checks is not None:
        if n_checks < asked.n_checks:
            raise ArgumentError(f"n_checks: expected at least {asked.n_checks} answers a round, got {n_checks}")
        asked = replace(asked, n_checks=n_checks)
    _check_budgets(asked, max_retrainings, max_answers, max_served)
    return _plan(asked, epsilon, delta, n_retrained=asked.n_retrained, n_answered=asked.n_answers)


def _check_budgets(asked: Counts, max_retrainings: int, max_answers: int, max_served: int | None) -> None:
    if asked.n_answers > max_answers or asked.n_retrained > max_retrainings:
        raise BudgetError(
            f"algorithm1: expected budgets of {asked.n_answers} answers and {asked.n_retrained} retrainings, got "
            f"{max_answers} and {max_retrainings}: raise max-answers and max-retrainings, or epsilon"
        )
    if max_served is not None and asked.n_answers > max_served:
        raise BudgetError(
            f"algorithm1: expected a server that answers {asked.n_answers} trainings a session, got one that answers "
            f"{max_served}: ask the prover to serve with that many, or raise epsilon"
        )


def _plan(asked: Counts, epsilon: float, delta: float, *, n_retrained: int, n_answered: int) -> Plan:
    terms = Terms(
        epsilon=epsilon, delta=delta, across=Across.MEAN, assurance=Assurance.AUDITED, looks=asked.designs(),
        n_checks=asked.n_checks, method=Method.ALGORITHM1,
    )  # fmt: skip
    # The theorem promises ACCEPT to a perfect claim; its statistic then has mean 0, and its bound epsilon / 2.
    forecast = Forecast(median_bound=epsilon / 2, power=1 - delta)
    return Plan(
        terms=terms, first=forecast, last=forecast, n_retrained=(n_retrained, n_retrained),
        n_answered=(n_answered, n_answered), sufficient=True,
    )  # fmt: skip
