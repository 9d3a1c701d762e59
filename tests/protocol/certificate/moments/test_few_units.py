"""Products across pairs as the moment certificate takes them: when they are planned, and what they conclude."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocol.certificate.moments import few_units
from protocol.certificate.planning import Budget, Outlook, Plan
from protocol.certificate.registry import METHODS
from protocol.certificate.terms import Across, Terms
from protocol.claim import Claim
from protocol.game.known import Polynomial
from protocol.game.sampling import Bases
from tests.protocol.certificate.judging import GOOD, Played, answered, judged, last, played

MOMENTS = METHODS["moments"]
GAME = played(Polynomial(n_units=40, w1=0.98, w2=0.0, w3=0.02))
TERMS = Terms(
    epsilon=0.01, delta=0.05, across=Across.POOLED, answers=MOMENTS.answers[0], method="moments", kurtosis=6.0
)
BUDGET = Budget(max_retrainings=100_000)


def plan_after_pilot(game: Played, claim: Claim, terms: Terms, budget: Budget, run: int) -> Plan:
    """What a session's planner sees: the claim's figures, then the verifier's own pilot."""
    before = MOMENTS.plan(game.statement, claim, GOOD, terms, budget, None)
    judge = MOMENTS.judge(game.statement, claim, terms, before.rounds)
    judge.take(answered(MOMENTS, game, claim, terms, before.rounds, 0, run, None))
    return MOMENTS.plan(game.statement, claim, GOOD, terms, budget, judge.seen())


def is_products(plan: Plan) -> bool:
    return plan.rounds.looks[1].bases is Bases.DRAWN


def test_honest_claims_are_accepted_as_often_as_planned_and_mostly_by_products() -> None:
    accepted, by_products = 0, 0
    for run in range(40):
        plan = plan_after_pilot(GAME, GAME.claim(), TERMS, BUDGET, run)
        by_products += is_products(plan)
        found = [each for each in judged(MOMENTS, GAME, TERMS, plan.rounds, run=run) if each is not None]
        accepted += any(each.upper_bound <= TERMS.epsilon for each in found)
    assert by_products >= 20
    assert accepted >= 31  # of 40 at .9: fewer with probability .005


def test_a_claim_at_the_limit_is_accepted_at_most_at_rate_delta() -> None:
    """The relative gap is epsilon: scores are scaled so that (1 - factor)^2 W_1 = epsilon Var f."""
    claim = GAME.claim(1 - float(np.sqrt(TERMS.epsilon / 0.98)) * 1.000001)
    assert GAME.gap(claim)[0] >= TERMS.epsilon
    wrong = 0
    for run in range(60):
        plan = few_units.plan_products(GAME.statement, TERMS, BUDGET, seen_by(claim, run))
        if plan is None:
            continue
        found = last(judged(MOMENTS, GAME, TERMS, plan.rounds, claim=claim, run=run))
        wrong += found.upper_bound <= TERMS.epsilon
    assert wrong <= 9  # at delta = .05 more have probability .002


def seen_by(claim: Claim, run: int) -> Outlook:
    before = MOMENTS.plan(GAME.statement, claim, GOOD, TERMS, BUDGET, None)
    judge = MOMENTS.judge(GAME.statement, claim, TERMS, before.rounds)
    judge.take(answered(MOMENTS, GAME, claim, TERMS, before.rounds, 0, run, None))
    return replace(Outlook.of(GOOD, judge.seen()), relative_gap=0.0)


def test_a_session_that_goes_on_for_payouts_looks_at_families() -> None:
    plans = [
        plan_after_pilot(GAME, GAME.claim(), TERMS, replace(BUDGET, goes_on=goes_on), 1) for goes_on in (False, True)
    ]
    assert [is_products(plan) for plan in plans] == [True, False]


@pytest.mark.parametrize("what", ["p", "units", "every"])
def test_products_are_for_pairs_of_few_units_and_one_row(what: str) -> None:
    known = {
        "p": Polynomial(n_units=40, w1=0.98, w2=0.0, w3=0.02, p=0.4),
        "units": Polynomial(n_units=few_units.MAX_UNITS + 1, w1=0.98, w2=0.0, w3=0.02),
        "every": GAME.known,
    }[what]
    game = played(known, n_targets=2 if what == "every" else 1)
    terms = replace(TERMS, across=Across.EVERY) if what == "every" else TERMS
    assert not few_units.applies(game.statement, terms)
    assert few_units.applies(GAME.statement, TERMS)


def test_the_pilot_is_not_taken_at_its_word() -> None:
    """Ten pairs of one target tell the residual to about .45 of itself."""
    assert few_units.doubt(float(np.sqrt(2)), 10) == pytest.approx(1.447, abs=1e-3)
