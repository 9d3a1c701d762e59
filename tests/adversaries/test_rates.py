"""False acceptances and detections, as often as promised: exact binomial margins, fixed seeds.

Whole sessions, through the real planner and both parties' session objects, unless a test says that it fixes the rounds.
Each test fails with probability at most ``margins.FALSE_ALARM`` if its promise holds to the letter; the seeds are
fixed, so it either always fails or never does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.optimize import brentq

from protocol.certificate.moments.plan_delegated import CHECK_SHARE
from protocol.certificate.planning import Budget
from protocol.certificate.spot_check import detection_probability
from protocol.certificate.terms import Answers, Rounds, Terms
from protocol.claim import Claim, Figures
from protocol.game import harmonic
from protocol.game.known import Bent, Linear, Polynomial, Spikes
from protocol.session.messages import Outcome
from tests.adversaries.cheat import GAP_FOUND, HONEST, Cheat, Scene
from tests.adversaries.drift_by_tolerance import DriftByTolerance
from tests.adversaries.false_fraction import FalseFraction
from tests.adversaries.favoured import Favoured
from tests.adversaries.few_scaled import FewScaled
from tests.adversaries.fitted_to_challenge import FittedToChallenge
from tests.adversaries.greedy_answers import GreedyAnswers
from tests.adversaries.inflated_noise import InflatedNoise
from tests.adversaries.margins import fewest_allowed, most_allowed
from tests.adversaries.one_unit import OneUnit
from tests.adversaries.random_direction import RandomDirection
from tests.adversaries.scaled import Scaled
from tests.adversaries.steering_figures import SteeringFigures, extremes
from tests.adversaries.tangent import Tangent
from tests.adversaries.terms import delegated_rounds, own_rounds, product_rounds, terms
from tests.adversaries.tiny import Tiny
from tests.adversaries.unlucky import LeavesWhenUnlucky
from tests.adversaries.zero import Zero
from tests.journeys.in_memory import Journey, meet
from tests.journeys.worlds import EvenSpike, World, of_game

pytestmark = pytest.mark.usefixtures("unchecked_shapes")

N_RUNS = 50
EPSILON = DELTA = 0.05
JUST_OFF = 0.0505
"""A relative gap above epsilon."""
W1 = 0.93

OWN, DELEGATED = terms(Answers.OWN), terms(Answers.DELEGATED)
SMALL = Budget(max_retrainings=320, max_answers=1000)
"""Enough for the honest claims here; what is never accepted costs a verifier all that it has, and a test its time."""

FLATTERING = Figures(relative_gap=0.0, odd_residual=0.0, r2=1.0, n_retrainings=0)


@pytest.fixture(scope="module")
def world() -> World:
    """One target, no seed noise, few units: a session takes milliseconds."""
    return of_game(Polynomial(n_units=48, w1=W1, w2=0.065, w3=0.005), n_targets=1, noise=0.0)


@pytest.fixture(scope="module")
def linear() -> World:
    """Nothing but a claim's own error in its residual: bounds have nothing to spare."""
    return of_game(Linear(32), n_targets=1, noise=0.0)


def journeys(
    world: World,
    asked: Terms,
    cheat: Cheat,
    n_runs: int = N_RUNS,
    *,
    rounds: Rounds | None = None,
    budget: Budget = SMALL,
) -> list[Journey]:
    return [meet(world, asked, cheat, seed=seed, rounds=rounds, budget=budget) for seed in range(n_runs)]


def n_accepted(runs: list[Journey]) -> int:
    return sum(run.verdict.outcome is Outcome.ACCEPT for run in runs)


@dataclass(frozen=True, eq=False)
class Claims(Cheat):
    """Claims these very scores, and says that they are perfect."""

    scores: np.ndarray
    name = "claims"
    stopped_by = ()
    fate = GAP_FOUND

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return replace(honest, scores=self.scores.copy())

    def figures(self, honest: Figures, claim: Claim, scene: Scene) -> Figures:
        return FLATTERING


@dataclass(frozen=True)
class Says(RandomDirection):
    """Says these very figures of a false claim."""

    told: Figures = FLATTERING

    def figures(self, honest: Figures, claim: Claim, scene: Scene) -> Figures:
        return self.told


# ------------------------------------------------------------------------------------------- the verifier trains it all


@pytest.mark.parametrize(
    "cheat",
    [
        Scaled(factor=1 - math.sqrt(JUST_OFF)), Tangent(JUST_OFF), Favoured(JUST_OFF), OneUnit(JUST_OFF),
        RandomDirection(JUST_OFF),
    ],
    ids=lambda cheat: cheat.name,
)  # fmt: skip
def test_a_claim_of_gap_epsilon_is_accepted_at_most_at_rate_delta(linear: World, cheat: Cheat) -> None:
    assert n_accepted(journeys(linear, OWN, cheat)) <= most_allowed(N_RUNS, DELTA)


def test_the_honest_claim_is_accepted_on_those_terms(world: World, linear: World) -> None:
    for place in (world, linear):
        assert n_accepted(journeys(place, OWN, HONEST, 40)) >= fewest_allowed(40, 0.9)


@pytest.mark.parametrize("cheat", [Zero(), Tiny(1e-3), Tiny(0.2)], ids=["zero", "tiny", "a fifth"])
def test_a_claim_of_next_to_nothing_is_never_accepted(world: World, cheat: Cheat) -> None:
    assert n_accepted(journeys(world, OWN, cheat, 25)) == 0


@pytest.mark.parametrize("shape", ["clip 1.5", "clip 2", "tanh", "bent", "sinh"])
def test_a_claim_that_is_tangent_to_f_is_accepted_at_most_at_rate_delta(shape: str) -> None:
    """Its residual has a kurtosis of 16 to 135, and the certificate assumes 6."""
    world = of_game(Bent(48, shape, 48), n_targets=1, noise=0.0, width=8.0)
    assert n_accepted(journeys(world, OWN, Tangent(JUST_OFF), 40)) <= most_allowed(40, DELTA)


@pytest.mark.parametrize("shape", ["clip 1.5", "clip 2"])
def test_a_tangent_claim_gains_nothing_where_few_units_have_pairs_drawn_along_no_claim(shape: str) -> None:
    """Products across pairs, in the fewest pairs that are taken: fixed rounds."""
    world = of_game(Bent(24, shape, 24), n_targets=1, noise=0.0, width=8.0)
    for rounds in (product_rounds(world.task, 2, 80), product_rounds(world.task, 8, 20)):
        assert n_accepted(journeys(world, OWN, Tangent(JUST_OFF), 40, rounds=rounds)) <= most_allowed(40, DELTA)


@pytest.mark.parametrize("width", [4, 5])
def test_a_claim_that_leaves_a_rare_spike_out_is_accepted_at_most_at_rate_delta(width: int) -> None:
    """A residual of 0 for all but one pair in 8 or 16: whoever sees few pairs and none of these thinks it perfect."""
    world, claimed = spiked(width)
    assert world.relative_gap(replace(world.claim, scores=claimed))[0] == pytest.approx(JUST_OFF)
    assert n_accepted(journeys(world, OWN, Claims(claimed))) <= most_allowed(N_RUNS, DELTA)


def spiked(width: int, n_units: int = 48) -> tuple[World, np.ndarray]:
    """A linear game with a spike on its first units, and scores without the spike's share, JUST_OFF short of it."""

    def beyond(height: float) -> float:
        game = Spikes(n_units, width, height)
        return float(harmonic.gap(linear_only, game.best, 0.5)[0]) / game.variance - JUST_OFF

    linear_only = Spikes(n_units, width, 0.0).best
    world = of_game(Spikes(n_units, width, brentq(beyond, 0.1, 5.0)), n_targets=1, noise=0.0, width=10.0)
    return world, linear_only


def test_a_claim_fitted_to_a_guessed_challenge_is_never_accepted(world: World) -> None:
    assert n_accepted(journeys(world, OWN, FittedToChallenge(), 40)) == 0


def test_a_claim_that_has_three_targets_of_a_hundred_tenfold_is_never_accepted() -> None:
    world = of_game(Polynomial(n_units=30, w1=0.96, w2=0.038, w3=0.002), n_targets=100, noise=0.0)
    assert n_accepted(journeys(world, OWN, FewScaled(), 20)) == 0
    assert n_accepted(journeys(world, OWN, HONEST, 10)) == 10


def test_a_rare_even_spike_has_no_good_claim_rejected_more_often_than_delta() -> None:
    """Four fifths of Var f are in one pair of 512. A gap of 0.04 of it is one of 0.2 of what most sessions see."""
    world = of_game(EvenSpike(48, width=10, w1=0.2), n_targets=1, noise=0.0, width=30.0)
    runs = journeys(world, OWN, Tangent(0.04), 40)
    assert sum(run.verdict.outcome is Outcome.REJECT for run in runs) <= most_allowed(40, DELTA)


# -------------------------------------------------------------------------------------------- figures plan, and no more


def test_figures_change_no_bound(world: World) -> None:
    """On the same rounds and coins the certificate is the same to the last bit, whatever is said of the claim."""
    rounds = own_rounds(world.task, 90, 20)

    def values(figures: Figures) -> object:
        verdict = meet(world, OWN, Says(gap=0.1, told=figures), seed=1, rounds=rounds).verdict
        assert verdict.certificate is not None
        bounds = verdict.certificate.upper_bound, verdict.certificate.lower_bound
        return bounds, verdict.certificate.values(), verdict.outcome, verdict.reasons

    expected = values(world.figures)
    assert all(values(figures) == expected for figures in extremes())


def test_no_figures_make_the_verifier_give_up_or_overspend(world: World) -> None:
    for asked in (OWN, DELEGATED):
        for figures in extremes():
            verdict = meet(world, asked, Says(gap=1.0, told=figures), seed=2, budget=SMALL).verdict
            assert verdict.outcome is not Outcome.ACCEPT
            assert verdict.certificate is not None, verdict.reasons
            assert verdict.n_retrainings <= SMALL.max_retrainings


@pytest.mark.parametrize("figures", [FLATTERING, replace(FLATTERING, relative_gap=1e308)], ids=["no gap", "all gap"])
def test_figures_that_steer_the_plan_win_no_more_than_delta(figures: Figures) -> None:
    """Where the residual is large, figures decide between single pairs and large families, of which there are few."""
    world = of_game(Polynomial(n_units=24, w1=0.92, w2=0.03, w3=0.05), n_targets=3, noise=0.0)
    budget = Budget(max_retrainings=3000)
    runs = journeys(world, OWN, Says(gap=JUST_OFF, told=figures), 16, budget=budget)
    assert n_accepted(runs) <= most_allowed(16, DELTA)


def test_the_figures_that_its_own_planner_likes_least_win_no_more_than_delta(world: World) -> None:
    assert n_accepted(journeys(world, OWN, SteeringFigures(gap=JUST_OFF), 12)) <= most_allowed(12, DELTA)


# ------------------------------------------------------------------------------------------------- a prover answers


def test_the_honest_claim_is_accepted_when_answered_and_rechecked(world: World) -> None:
    """Or nothing below that is not accepted would say much."""
    rounds = delegated_rounds(world.task, 800, 200)
    assert n_accepted(journeys(world, DELEGATED, HONEST, 40, rounds=rounds)) >= fewest_allowed(40, 0.9)


@pytest.mark.parametrize(
    "cheat", [Tangent(JUST_OFF), RandomDirection(JUST_OFF), OneUnit(JUST_OFF)], ids=lambda cheat: cheat.name
)
def test_a_claim_of_gap_epsilon_with_true_answers_is_accepted_at_most_at_rate_delta(
    linear: World, cheat: Cheat
) -> None:
    assert n_accepted(journeys(linear, DELEGATED, cheat, 40)) <= most_allowed(40, DELTA)


def test_greedy_answers_gain_no_more_than_delta(linear: World) -> None:
    """As many as clean checks leave possible, where they lower the bound most."""
    cheat, budget = GreedyAnswers(gap=JUST_OFF, share=None), replace(SMALL, n_checks=100)
    runs = journeys(linear, DELEGATED, cheat, 60, budget=budget)
    assert n_accepted(runs) <= most_allowed(60, DELTA)
    found = sum("answers are false" in run.verdict.reasons[0] for run in runs)
    assert found >= fewest_allowed(60, 1 - CHECK_SHARE * DELTA)


@pytest.mark.parametrize("silently", [False, True])
def test_leaving_when_unlucky_is_accepted_at_most_at_rate_delta(*, silently: bool) -> None:
    world = of_game(Bent(48, "clip 2", 48), n_targets=1, noise=0.0, width=8.0)
    asked, rounds = terms(Answers.DELEGATED, kurtosis=9.0), delegated_rounds(world.task, 120, 120)
    runs = journeys(world, asked, LeavesWhenUnlucky(gap=JUST_OFF, silently=silently), 80, rounds=rounds)
    assert n_accepted(runs) <= most_allowed(80, DELTA)
    assert all(run.verdict.outcome is not Outcome.INCONCLUSIVE for run in runs), "it left whenever it would not win"


def test_drift_by_the_tolerance_is_paid_for_in_the_bound() -> None:
    """A gap of 0.06 less a drift of 0.2 standard deviations looks like (0.245 - 0.2)^2 = 0.002 and some tails."""
    world = of_game(Linear(32), n_targets=1, noise=0.0, width=6.0, tolerance=0.2)
    assert n_accepted(journeys(world, DELEGATED, DriftByTolerance(gap=0.06), 40)) <= most_allowed(40, DELTA)


@pytest.mark.parametrize("share", [1 / 100, 0.1, 0.2])
def test_false_pairs_are_found_as_often_as_the_hypergeometric_says(world: World, share: float) -> None:
    """Of 100 pairs 8 are rechecked whole."""
    cheat, rounds = FalseFraction(share), delegated_rounds(world.task, 100, 8)
    promised = detection_probability(100, cheat.n_false(100), 8)
    runs = journeys(world, DELEGATED, cheat, rounds=rounds)
    found = sum("answers are false" in run.verdict.reasons[0] for run in runs)
    assert fewest_allowed(N_RUNS, promised) <= found <= most_allowed(N_RUNS, promised)


@pytest.mark.parametrize(("n_pairs", "n_checks", "n_runs"), [(200, 50, 40), (400, 100, 20)])
def test_two_false_answers_that_make_a_target_look_like_noise_gain_nothing(
    n_pairs: int, n_checks: int, n_runs: int
) -> None:
    """Two of 400 or 800. Were targets weighted by answers they would win: test_defences."""
    world = of_game(Polynomial(n_units=30, w1=0.96, w2=0.038, w3=0.002), n_targets=20, noise=0.0, width=80.0)
    rounds = delegated_rounds(world.task, n_pairs, n_checks)
    assert n_accepted(journeys(world, DELEGATED, InflatedNoise(), n_runs, rounds=rounds)) == 0


def test_margins_are_exact() -> None:
    """By summing binomial probabilities, not by quantiles."""
    pmf = [math.comb(20, k) * 0.3**k * 0.7 ** (20 - k) for k in range(21)]
    most, fewest = most_allowed(20, 0.3), fewest_allowed(20, 0.3)
    assert sum(pmf[most + 1 :]) <= 1e-4 < sum(pmf[most:])
    assert sum(pmf[:fewest]) <= 1e-4 < sum(pmf[: fewest + 1])
    assert np.isclose(sum(pmf), 1)
