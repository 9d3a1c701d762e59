"""False acceptances and detections, as often as promised: exact binomial margins, fixed seeds.

Each test fails with probability at most ``margins.FALSE_ALARM`` if its promise holds to the letter; the seeds are
fixed, so it either always fails or never does.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from protocol.certificate.spot_check import detection_probability
from protocol.certificate.terms import Assurance, Terms
from protocol.session.messages import Outcome
from tests.adversaries.cheat import HONEST, Cheat
from tests.adversaries.drift_by_tolerance import DriftByTolerance
from tests.adversaries.false_fraction import FalseFraction
from tests.adversaries.favoured import Favoured
from tests.adversaries.fitted_to_challenge import FittedToChallenge
from tests.adversaries.greedy_answers import GreedyAnswers
from tests.adversaries.inflated_noise import InflatedNoise
from tests.adversaries.margins import fewest_allowed, most_allowed
from tests.adversaries.one_unit import OneUnit
from tests.adversaries.random_direction import RandomDirection
from tests.adversaries.scaled import Scaled
from tests.adversaries.terms import terms
from tests.adversaries.unlucky import LeavesWhenUnlucky
from tests.games import Polynomial
from tests.journeys.in_memory import Journey, meet
from tests.journeys.worlds import World, of_game

pytestmark = pytest.mark.usefixtures("unchecked_shapes")

N_RUNS = 200
EPSILON = DELTA = 0.05
W1 = 0.93


@pytest.fixture(scope="module")
def world() -> World:
    """One target, no seed noise, few units: a session takes milliseconds."""
    return of_game(Polynomial(n_units=64, w1=W1, w2=0.055, w3=0.015), n_targets=1, noise=0.0)


def small(assurance: Assurance) -> Terms:
    return terms(assurance, n_families=15, n_siblings=2, rho=0.6, epsilon=EPSILON, delta=DELTA, n_checks=20)


def tiny(n_checks: int) -> Terms:
    return terms(Assurance.AUDITED, n_families=10, n_siblings=2, rho=0.6, n_checks=n_checks)


def rechecked() -> Terms:
    return terms(Assurance.AUDITED, n_families=20, n_siblings=4, rho=0.6, n_checks=20)


def audited(n_families: int, n_siblings: int, rho: float, n_checks: int) -> Terms:
    return terms(Assurance.AUDITED, n_families=n_families, n_siblings=n_siblings, rho=rho, n_checks=n_checks)


def journeys(world: World, asked: Terms, cheat: Cheat, n_runs: int = N_RUNS) -> list[Journey]:
    return [meet(world, asked, cheat, seed=seed) for seed in range(n_runs)]


def n_accepted(runs: list[Journey]) -> int:
    return sum(run.verdict.outcome is Outcome.ACCEPT for run in runs)


@pytest.mark.parametrize(
    "cheat",
    [Scaled(factor=1 - math.sqrt(EPSILON / W1)), Favoured(EPSILON), OneUnit(EPSILON), RandomDirection(EPSILON)],
    ids=lambda cheat: cheat.name,
)
def test_a_claim_of_gap_epsilon_is_accepted_at_most_at_rate_delta(world: World, cheat: Cheat) -> None:
    runs = journeys(world, small(Assurance.PROVED), cheat)
    assert n_accepted(runs) <= most_allowed(N_RUNS, DELTA)


def test_the_honest_claim_is_accepted_on_those_terms(world: World) -> None:
    runs = journeys(world, small(Assurance.PROVED), HONEST, 60)
    assert n_accepted(runs) >= fewest_allowed(60, 0.9)


def test_the_honest_claim_is_accepted_when_answered_and_rechecked(world: World) -> None:
    """Or nothing below that is not accepted would say much."""
    for asked in (small(Assurance.AUDITED), rechecked(), audited(50, 2, 0.5, 40)):
        assert n_accepted(journeys(world, asked, HONEST, 40)) >= fewest_allowed(40, 0.8)


def test_a_claim_fitted_to_a_guessed_challenge_is_never_accepted(world: World) -> None:
    assert n_accepted(journeys(world, small(Assurance.PROVED), FittedToChallenge(), 100)) == 0


@pytest.mark.parametrize("silently", [False, True])
def test_leaving_when_unlucky_is_accepted_at_most_at_rate_delta(world: World, *, silently: bool) -> None:
    runs = journeys(world, small(Assurance.AUDITED), LeavesWhenUnlucky(gap=EPSILON, silently=silently), 100)
    assert n_accepted(runs) <= most_allowed(100, DELTA)


def test_drift_by_the_tolerance_is_paid_for_in_the_bound() -> None:
    """A gap of 0.06 less a drift of 0.15 standard deviations reads (0.245 - 0.15)^2 = 0.009, far below epsilon."""
    world = of_game(Polynomial(n_units=64, w1=W1, w2=0.055, w3=0.015), n_targets=1, noise=0.0, tolerance=0.15)
    asked = terms(Assurance.AUDITED, n_families=25, n_siblings=6, rho=0.7, n_checks=40)
    assert n_accepted(journeys(world, asked, DriftByTolerance(gap=0.06), 40)) <= most_allowed(40, DELTA)


@pytest.mark.parametrize("share", [1 / 40, 0.1, 0.2])
def test_false_answers_are_found_as_often_as_the_hypergeometric_says(world: World, share: float) -> None:
    asked, cheat = tiny(n_checks=8), FalseFraction(share)
    m = asked.looks[0].n_evaluations
    promised = detection_probability(m, cheat.n_false(m), asked.n_checks)
    found = sum("answers are false" in run.verdict.reasons[0] for run in journeys(world, asked, cheat, 100))
    assert fewest_allowed(100, promised) <= found <= most_allowed(100, promised)


def test_greedy_answers_gain_no_more_than_the_spot_checks_leave(world: World) -> None:
    """Silencing the loudest families wins if it goes unseen: it is accepted no more often than all checks miss."""
    asked, cheat = rechecked(), GreedyAnswers(gap=0.08, share=0.4)
    m = asked.looks[0].n_evaluations
    missed = 1 - detection_probability(m, cheat.n_false(asked.looks[0]), asked.n_checks)
    accepted = n_accepted(journeys(world, asked, cheat, 100))
    assert fewest_allowed(100, missed / 3) <= accepted <= most_allowed(100, missed)


@pytest.mark.parametrize(
    ("design", "n_runs"),
    [((25, 2, 0.6, 40), 100), ((50, 2, 0.5, 40), 60), ((50, 4, 0.4, 50), 40), ((100, 4, 0.3, 60), 20)],
)
def test_two_false_answers_that_look_like_noise_gain_nothing(design: tuple[int, int, float, int], n_runs: int) -> None:
    """Two of 100, 200, 400 or 800. With MSW taken off they win nearly always: test_defences."""
    world = of_game(Polynomial(n_units=64, w1=W1, w2=0.055, w3=0.015), n_targets=1, noise=0.0, width=20.0)
    assert n_accepted(journeys(world, audited(*design), InflatedNoise(), n_runs)) <= most_allowed(n_runs, DELTA)


def test_margins_are_exact() -> None:
    """By summing binomial probabilities, not by quantiles."""
    pmf = [math.comb(20, k) * 0.3**k * 0.7 ** (20 - k) for k in range(21)]
    most, fewest = most_allowed(20, 0.3), fewest_allowed(20, 0.3)
    assert sum(pmf[most + 1 :]) <= 1e-4 < sum(pmf[most:])
    assert sum(pmf[:fewest]) <= 1e-4 < sum(pmf[: fewest + 1])
    assert np.isclose(sum(pmf), 1)
