"""Algorithm 1's plan: the counts of this very claim, or one line that says what it would take."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocol.certificate.algorithm1.bound import norm_excess
from protocol.certificate.algorithm1.method import Algorithm1
from protocol.certificate.algorithm1.plan import best_within, counts_of
from protocol.certificate.planning import Budget, Plan
from protocol.certificate.terms import Across, Answers, Terms
from protocol.claim import Claim
from protocol.errors import ArgumentError, BudgetError
from protocol.game.known import Majority
from protocol.task import Task
from tests.games import task_of

GAME = Majority(n_units=3)
ENOUGH = {"max_retrainings": 10**7, "max_answers": 10**7}


def claim_of(asked: Task, factor: float = 1.0) -> Claim:
    scores = factor * GAME.best
    return Claim(task_digest=asked.digest, intercepts=-scores.sum(axis=1) / 2, scores=scores)


def terms_of(epsilon: float = 0.5, delta: float = 0.2) -> Terms:
    return Terms(epsilon=epsilon, delta=delta, across=Across.POOLED, answers=Answers.DELEGATED, method="algorithm1")


def planned(asked: Task, claim: Claim | None, *, epsilon: float = 0.5, delta: float = 0.2, **budgets: int) -> Plan:
    return best_within(asked, claim, terms_of(epsilon, delta), Budget(**(ENOUGH | budgets)))


@pytest.mark.parametrize("b", [1.0, 7.0])
def test_the_plan_is_the_counts_of_the_claims_own_norm(b: float) -> None:
    asked = task_of(3, bound=b)
    claim, counts = claim_of(asked, b), counts_of(asked, claim_of(asked, b), epsilon=0.5, delta=0.2)
    plan = planned(asked, claim)
    assert plan.rounds.looks == counts.designs()
    assert (plan.n_answered[0], plan.n_retrained[0]) == (counts.n_answers, counts.n_retrained)
    assert counts.largest == pytest.approx(1.5 * b)
    assert (
        counts.pairs == counts_of(task_of(3, bound=1.0), claim_of(task_of(3, bound=1.0)), epsilon=0.5, delta=0.2).pairs
    )
    assert norm_excess(asked, claim, plan.rounds.looks[-1], epsilon=0.5, delta=0.2) is None
    Algorithm1().check_rounds(asked, terms_of(), plan.rounds)  # takes them


def test_a_budget_that_does_not_reach_is_refused_with_the_counts() -> None:
    asked = task_of(3, bound=1.0)
    claim = claim_of(asked)
    counts = counts_of(asked, claim, epsilon=0.5, delta=0.2)
    n_answers, n_here = counts.n_answers, counts.n_retrained
    exact = {"max_answers": n_answers, "max_retrainings": n_here, "max_served": n_answers}
    assert planned(asked, claim, **exact).n_answered[0] == n_answers
    for budget in ("max_answers", "max_retrainings"):
        with pytest.raises(BudgetError, match=f"budgets of {n_answers} answers and {n_here} retrainings, got"):
            planned(asked, claim, **(exact | {budget: exact[budget] - 1}))
    with pytest.raises(BudgetError, match=f"answers {n_answers} trainings a session, got one that answers 50000:"):
        planned(asked, claim, max_served=50_000)


def test_a_claim_that_is_ruled_out_as_it_stands_costs_nothing_and_needs_no_budget() -> None:
    asked, nothing = task_of(3, bound=1.0), {"max_answers": 1, "max_retrainings": 1}
    wrong_shape = Claim(task_digest=asked.digest, intercepts=np.zeros(1), scores=np.zeros((1, 4)))
    for claim in (None, wrong_shape, claim_of(asked, 3.0)):
        plan = planned(asked, claim, **nothing)
        assert (plan.n_answered, plan.n_retrained) == ((0, 0), (0, 0))
        Algorithm1().check_rounds(asked, terms_of(), plan.rounds)
    with pytest.raises(BudgetError):
        planned(asked, claim_of(asked, 1.5), **nothing)


def test_more_checks_may_be_asked_for_and_fewer_may_not() -> None:
    asked = task_of(3, bound=1.0)
    least = planned(asked, claim_of(asked)).rounds.n_checks
    more = planned(asked, claim_of(asked), n_checks=least + 100)
    assert more.rounds.n_checks == least + 100
    assert more.n_retrained[0] == planned(asked, claim_of(asked)).n_retrained[0] + 300
    with pytest.raises(ArgumentError, match=f"n_checks: expected at least {least} answers a round, got {least - 1}"):
        planned(asked, claim_of(asked), n_checks=least - 1)


def test_what_cannot_be_planned_is_refused() -> None:
    two = task_of(3, n_targets=2, bound=1.0)
    with pytest.raises(ArgumentError, match="algorithm1: expected a task of one target, got 2: average them"):
        planned(two, None)
    asked = task_of(3, bound=1.0)
    for change in ({"epsilon": 0.0}, {"epsilon": 1.0}, {"delta": 0.0}, {"delta": 1.0}):
        with pytest.raises(ArgumentError, match="expected"):
            planned(asked, claim_of(asked), **change)
    with pytest.raises(ArgumentError, match="algorithm1: expected at most 50000000 trainings a round"):
        planned(asked, claim_of(asked), epsilon=0.05, max_answers=10**12, max_retrainings=10**12)


def test_figures_play_no_part_and_the_claims_size_does() -> None:
    asked = task_of(3, bound=1.0)
    small, large = planned(asked, claim_of(asked, 0.1)), planned(asked, claim_of(asked, 1.5))
    assert small.n_answered == large.n_answered
    assert small.rounds.looks[:3] == large.rounds.looks[:3]
    assert small.rounds.looks[3].n_families < large.rounds.looks[3].n_families
    assert replace(small.rounds, looks=large.rounds.looks) == large.rounds
