"""Cheats against delegated answers under cross-fit: its bound holds whatever as many lies do as clean checks leave.

No ACCEPT of its is conditional on answers that nobody checked; so here a liar may even know which pairs are rechecked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from protocol.certificate.crossfit import method as crossfit
from protocol.certificate.crossfit.bound import CHECK_SHARE, CrossfitCertificate
from protocol.certificate.crossfit.rounds import Round
from protocol.certificate.spot_check import most_false
from protocol.certificate.terms import Across, Answers, Rounds, Terms
from protocol.claim import Claim
from protocol.encoding import Seed
from protocol.game.known import Polynomial
from protocol.game.sampling import Draw, choose, pairs
from protocol.session.messages import NONCE_BYTES, Outcome
from tests.adversaries import registry
from tests.adversaries.cheat import HONEST, Cheat, Defence, Scene
from tests.adversaries.drift_by_tolerance import DriftByTolerance
from tests.adversaries.greedy_pairs import GreedyPairs
from tests.adversaries.margins import most_allowed
from tests.adversaries.surrogate_answers import SurrogateAnswers
from tests.adversaries.weakened import sees_nothing
from tests.journeys.in_memory import Entropy, meet
from tests.journeys.worlds import World, of_game

pytestmark = pytest.mark.usefixtures("unchecked_shapes")

GAME = Polynomial(n_units=16, w1=0.97, w2=0.025, w3=0.005)
SEED, DELTA, EPSILON = 5, 0.05, 0.25
LIES = [cheat for cheat in registry.ANSWERS if cheat.stopped_by[0] in {Defence.V11, Defence.DERIVED}]
ASKED = Terms(epsilon=EPSILON, delta=DELTA, across=Across.POOLED, answers=Answers.DELEGATED, method="crossfit")


def rounds_of(n_b: int, n_a: int, n_checks: int) -> Rounds:
    """Round B of ``n_b`` pairs is answered, round A of ``n_a`` is the verifier's own."""
    return Rounds(looks=(pairs(n_b), pairs(n_a)), n_checks=n_checks)


STRICT = rounds_of(500, 500, 300)
FEW = rounds_of(400, 2000, 40)
WORST = most_false(400, 40, CHECK_SHARE * DELTA)


@pytest.fixture(scope="module")
def world() -> World:
    """With seed noise, so that a wrong seed is a lie."""
    return of_game(GAME, n_targets=1, noise=0.005, width=6.0)


def test_the_honest_prover_is_accepted(world: World) -> None:
    assert meet(world, ASKED, HONEST, seed=SEED, rounds=STRICT).verdict.outcome is Outcome.ACCEPT


@pytest.mark.parametrize("cheat", LIES, ids=lambda cheat: cheat.name)
def test_false_answers_are_found_pair_by_pair(world: World, cheat: Cheat) -> None:
    verdict = meet(world, ASKED, cheat, seed=SEED, rounds=STRICT).verdict
    assert verdict.outcome is Outcome.REJECT
    assert "rechecked answers are false" in verdict.reasons[0]


@pytest.mark.parametrize(
    "cheat", [cheat for cheat in registry.CLAIMS if cheat.name != "not-finite-scores"], ids=lambda cheat: cheat.name
)
def test_a_false_claim_with_true_answers_is_not_accepted(world: World, cheat: Cheat) -> None:
    verdict = meet(world, ASKED, cheat, seed=SEED, rounds=STRICT).verdict
    assert isinstance(verdict.certificate, CrossfitCertificate)
    assert verdict.certificate.upper_bound > EPSILON
    assert verdict.outcome is not Outcome.ACCEPT


@pytest.mark.parametrize(
    "cheat",
    [SurrogateAnswers(gap=0.26), GreedyPairs(gap=0.3)],
    ids=lambda cheat: cheat.name,
)
def test_made_up_answers_win_past_checks_and_room_for_lies_and_not_past_one(
    world: World, cheat: Cheat, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert meet(world, ASKED, cheat, seed=SEED, rounds=FEW).verdict.outcome is Outcome.REJECT
    blind = sees_nothing(monkeypatch)
    assert meet(world, ASKED, cheat, seed=SEED, rounds=FEW, verifier=blind).verdict.outcome is Outcome.INCONCLUSIVE
    monkeypatch.setattr(crossfit, "Round", lambda **given: Round(**{**given, "n_false": 0}))
    assert meet(world, ASKED, cheat, seed=SEED, rounds=FEW, verifier=blind).verdict.outcome is Outcome.ACCEPT


# ------------------------------------------------------------------------------------------- with the checks known


@dataclass(frozen=True)
class Foresighted(GreedyPairs):
    """Knows which pairs will be rechecked, and lies in ``n`` of the others: in those that help it most."""

    n: int = 0
    seed: int = 0

    def loudest(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        order = GreedyPairs(share=1.0).loudest(draw, honest, claim, scene)
        return order[~np.isin(order, checked(self.seed, draw, scene.n_checks))][: self.n]


def checked(seed: int, draw: Draw, n_checks: int) -> np.ndarray:
    """The spot check of ``Entropy(seed)``: its third draw, after the nonce and round B's challenge."""
    entropy = Entropy(seed)
    entropy(NONCE_BYTES), entropy(32)
    return choose(Seed(entropy(32)), draw.design.n_families, n_checks)


def accepted(world: World, n_runs: int, gap: float = 0.31, n_false: int = WORST) -> int:
    """How often a claim of ``gap`` is accepted, and whether each bound was above it."""
    runs = (
        meet(world, ASKED, Foresighted(gap=gap, n=n_false, seed=seed), seed=seed, rounds=FEW) for seed in range(n_runs)
    )
    return sum(run.verdict.outcome is Outcome.ACCEPT for run in runs)


def test_as_many_lies_as_clean_checks_leave_possible_win_nothing_even_if_they_dodge_the_checks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without room for them in the bound they win every time."""
    world = of_game(GAME, n_targets=1, noise=0.0, width=6.0)
    assert WORST > 40
    assert accepted(world, 40) <= most_allowed(40, DELTA)
    monkeypatch.setattr(crossfit, "Round", lambda **given: Round(**{**given, "n_false": 0}))
    assert accepted(world, 10) == 10


@pytest.mark.parametrize("n_false", [1, 5, 20])
def test_fewer_lies_do_not_win_either(n_false: int) -> None:
    world = of_game(GAME, n_targets=1, noise=0.0, width=6.0)
    assert accepted(world, 20, gap=0.26, n_false=n_false) <= most_allowed(20, DELTA)


def test_lies_swell_no_bound_from_below(world: World) -> None:
    """A liar cannot make the verifier reject for a gap that is not there, were it its own claim."""
    verdict = meet(world, ASKED, Foresighted(gap=1e-6, n=WORST, seed=SEED), seed=SEED, rounds=FEW).verdict
    assert verdict.certificate is not None
    assert verdict.certificate.lower_bound <= 1e-6


def test_drift_by_the_tolerance_flatters_and_is_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers drawn towards the claim by 0.8 sd lower the bound; priced, it is above the gap again."""
    world = of_game(GAME, n_targets=1, noise=0.0, width=6.0, tolerance=0.8)
    rounds = rounds_of(2000, 2000, 300)

    def bound(cheat: Cheat) -> float:
        verdict = meet(world, ASKED, cheat, seed=SEED, rounds=rounds).verdict
        assert verdict.certificate is not None
        return verdict.certificate.upper_bound

    assert bound(DriftByTolerance(gap=0.3)) > 0.3
    monkeypatch.setattr(crossfit, "Round", lambda **given: Round(**{**given, "tolerance": 0.0}))
    drifted, true = bound(DriftByTolerance(gap=0.3)), bound(registry.BY_NAME["random-direction"])
    assert drifted < 0.7 * true
