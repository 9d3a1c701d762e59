"""Cross-fit's planner: nine runs of ten are accepted with the planned number, and not with much less."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from protocol.certificate import spot_check
from protocol.certificate.crossfit import plan as crossfit_plan
from protocol.certificate.crossfit.bound import CHECK_SHARE, certify
from protocol.certificate.planning import Budget, Outlook, Plan
from protocol.certificate.terms import Across, Answers, Terms
from protocol.claim import Claim
from protocol.game.known import Polynomial
from protocol.game.sampling import choose
from protocol.task import Task
from tests.protocol.certificate.crossfit.test_bound import Round, bounded, claim_of, dataclasses, round_of
from tests.protocol.certificate.crossfit.test_pilot import MANY, N_UNITS

DELTA, GAP = 0.05, 0.005
GAME = Polynomial(n_units=200, w1=0.97, w2=0.01, w3=0.02)


def planned(task: Task, claim: Claim, epsilon: float, outlook: Outlook, answers: Answers = Answers.OWN) -> Plan:
    terms = Terms(epsilon=epsilon, delta=DELTA, across=Across.POOLED, answers=answers, method="crossfit")
    plan = crossfit_plan.best_within(task, claim, terms, Budget(max_retrainings=20_000), outlook)
    assert plan.sufficient
    return plan


def rounds_of(plan: Plan, share: float, task: Task, run: int) -> tuple[Round, Round]:
    """This share of a plan's rounds A and B of the game."""
    m_b, m_a = (int(share * look.n_families) for look in plan.rounds.looks)
    return round_of(task, GAME, m_a, 2 * run), round_of(task, GAME, m_b, 2 * run + 1)


@pytest.mark.slow
def test_nine_runs_of_ten_are_accepted_with_the_planned_number_and_few_with_four_fifths_of_it() -> None:
    task, runs, epsilon = bounded(GAME, 4.0), 30, 0.1
    claim = claim_of(task, GAME, GAP)
    plan = planned(task, claim, epsilon, Outlook(relative_gap=GAP, residual=GAP + GAME.w3, r2=GAME.w1))
    accepted = [
        sum(
            certify(task, claim, *rounds_of(plan, share, task, run), delta=DELTA).upper_bound <= epsilon
            for run in range(runs)
        )
        for share in (1.0, 0.8)
    ]
    assert accepted[0] >= stats.binom.ppf(1e-4, runs, 0.9)
    assert accepted[1] <= stats.binom.isf(1e-4, runs, 0.3)


@pytest.mark.slow
def test_a_plan_with_a_provers_answers_is_accepted_too() -> None:
    task, runs, epsilon = bounded(GAME, 4.0), 8, 0.15
    claim = claim_of(task, GAME, GAP)
    outlook = Outlook(relative_gap=GAP, residual=GAP + GAME.w3, r2=GAME.w1)
    plan = planned(task, claim, epsilon, outlook, Answers.DELEGATED)
    assert plan.n_answered[1] > plan.n_retrained[1]
    n_checks, accepted = plan.rounds.n_checks, 0
    for run in range(runs):
        a, b = rounds_of(plan, 1.0, task, run)
        n_false = spot_check.most_false(b.n_pairs, n_checks, DELTA * CHECK_SHARE)
        b = dataclasses.replace(b, trained=choose(b.draw.seed, b.n_pairs, n_checks), n_false=n_false)
        accepted += certify(task, claim, a, b, delta=DELTA * (1 - CHECK_SHARE)).upper_bound <= epsilon
    assert accepted >= stats.binom.ppf(1e-4, runs, 0.9)


def test_many_targets_that_err_apart_need_far_fewer() -> None:
    task = MANY.task(4.0)
    claim = MANY.claim(task)
    rank = crossfit_plan.rank_of(task, claim)
    assert rank == pytest.approx(1 / (1 / N_UNITS + 1 / 200), rel=0.1), "of 200 random directions among 40"
    outlook = Outlook(relative_gap=0.0, residual=0.02, r2=0.96)
    alike = dataclasses.replace(claim, scores=np.tile(claim.scores[:1], (200, 1)))
    together, apart = planned(task, alike, 0.05, outlook), planned(task, claim, 0.05, outlook)
    assert apart.n_retrained[1] < 0.5 * together.n_retrained[1]
    m_b, m_a = (look.n_families for look in apart.rounds.looks)
    found = [
        certify(task, claim, MANY.round(task, m_a, 2 * i), MANY.round(task, m_b, 2 * i + 1), delta=DELTA).upper_bound
        for i in range(10)
    ]
    assert np.sum(np.array(found) <= 0.05) >= stats.binom.ppf(1e-4, 10, 0.9)


def test_the_rank_of_a_claim() -> None:
    task = MANY.task(4.0)
    same = Claim(task_digest=task.digest, intercepts=np.zeros(200), scores=np.outer(np.arange(1, 201.0), np.ones(40)))
    assert crossfit_plan.rank_of(task, same) == pytest.approx(1.0)
    apart = Claim(task_digest=task.digest, intercepts=np.zeros(200), scores=np.tile(np.eye(40), (5, 1)))
    assert crossfit_plan.rank_of(task, apart) == pytest.approx(40.0)
    nothing = Claim(task_digest=task.digest, intercepts=np.zeros(200), scores=np.zeros((200, 40)))
    assert crossfit_plan.rank_of(task, nothing) == 1.0
    assert crossfit_plan.rank_of(task, None) == 1.0


def test_what_is_promised_is_above_what_is_expected_and_falls_with_the_number_of_pairs() -> None:
    task = bounded(GAME, 4.0)
    outlook = Outlook(relative_gap=GAP, residual=GAP + GAME.w3, r2=GAME.w1)
    claim = claim_of(task, GAME, GAP)
    plans = [planned(task, claim, epsilon, outlook) for epsilon in (0.3, 0.1, 0.03)]
    assert sorted(plan.n_retrained[1] for plan in plans) == [plan.n_retrained[1] for plan in plans]
    for plan, epsilon in zip(plans, (0.3, 0.1, 0.03), strict=True):
        assert 0.75 * epsilon < plan.first.median_bound < epsilon
