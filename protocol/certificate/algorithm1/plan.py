"""What Algorithm 1 takes for one claim (THEORY 6.3), and whether the budgets reach.

There is nothing to search: the task's range, the claim's norm, epsilon and delta give every count.
Unlike the other planners' these are no forecast from the prover's figures, which are not read.
"""

from __future__ import annotations

from dataclasses import replace

from protocol.certificate.algorithm1 import bound as algorithm1
from protocol.certificate.algorithm1.bound import Counts
from protocol.certificate.planning import Budget, Forecast, Plan
from protocol.certificate.terms import Rounds, Terms
from protocol.claim import Claim
from protocol.errors import ArgumentError, BudgetError
from protocol.game import Game


def counts_of(game: Game, claim: Claim, *, epsilon: float, delta: float) -> Counts:
    """Return the counts for this very claim of a task of one target; epsilon is a share of b^2."""
    middle, b = algorithm1.centre(game)
    largest = algorithm1.largest_prediction(claim, middle)
    return algorithm1.counts(epsilon=epsilon * b**2, delta=delta, b=b, largest=largest)


def best_within(game: Game, claim: Claim | None, terms: Terms, budget: Budget) -> Plan:
    """Return the one plan there is, if it fits the budgets.

    A claim that a session rejects before any challenge costs nothing and is planned whatever the budgets: none at
    all, one of another shape, one whose coefficients alone put it off. ``terms.epsilon`` is a share of the squared half
    range. Fewer checks than the counts ask for are refused.

    Raises
    ------
    BudgetError
        A budget does not reach; says what would.
    ArgumentError
        More targets than one, a number out of its range, or rounds larger than any challenge may be.
    """
    epsilon, delta = terms.epsilon, terms.delta
    if game.n_targets != 1:
        raise ArgumentError(f"algorithm1: expected a task of one target, got {game.n_targets}: average them")
    if claim is None or claim.scores.shape != (1, game.n_units) or algorithm1.is_certainly_off(game, claim, epsilon):
        _, b = algorithm1.centre(game)
        least = algorithm1.counts(epsilon=epsilon * b**2, delta=delta, b=b, largest=0.0)
        return _plan(least, epsilon, delta, n_retrained=0, n_answered=0)
    asked = counts_of(game, claim, epsilon=epsilon, delta=delta)
    if budget.n_checks is not None:
        if budget.n_checks < asked.n_checks:
            raise ArgumentError(f"n_checks: expected at least {asked.n_checks} answers a round, got {budget.n_checks}")
        asked = replace(asked, n_checks=budget.n_checks)
    _check_budgets(asked, budget.max_retrainings, budget.max_answers, budget.max_served)
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
    # The theorem promises ACCEPT to a perfect claim; its statistic then has mean 0, and its bound epsilon / 2.
    forecast = Forecast(median_bound=epsilon / 2, power=1 - delta)
    return Plan(
        rounds=Rounds(looks=asked.designs(), n_checks=asked.n_checks),
        first=forecast,
        last=forecast,
        n_retrained=(n_retrained, n_retrained),
        n_answered=(n_answered, n_answered),
        expected_retrained=float(n_retrained),
        expected_answered=float(n_answered),
        sufficient=True,
        summary=_summary(asked, n_retrained, n_answered),
    )


def _summary(asked: Counts, n_retrained: int, n_answered: int) -> str:
    if not n_answered:
        return "Algorithm 1 trains nothing, since the claim is ruled out as it stands"
    pairs = ", ".join(str(n) for n in asked.pairs)
    return (
        f"Algorithm 1, pairs at rho {asked.rho:.3g}, twice that and 0 ({pairs}), {n_answered} trainings asked of the "
        f"prover; {n_retrained} retrainings here, {asked.n_checks} checks a round and {asked.fresh} fresh"
    )
