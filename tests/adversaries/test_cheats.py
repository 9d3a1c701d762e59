"""Every cheat ends as it says, and the honest prover is accepted on the same terms."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest

from protocol.certificate.moments.certificate import MomentsCertificate
from protocol.certificate.terms import Answers, Rounds
from protocol.claim import Claim
from protocol.commitments import SigningKey
from protocol.encoding import Seed
from protocol.game.known import Polynomial
from protocol.game.sampling import Draw
from protocol.session.messages import Outcome
from protocol.session.recheck import recheck
from protocol.session.transcript import sign_transcript
from tests.adversaries import registry
from tests.adversaries.cancelled_outliers import CancelledOutliers
from tests.adversaries.cheat import HONEST, Cheat, Defence
from tests.adversaries.favoured import Favoured
from tests.adversaries.greedy_answers import GreedyAnswers
from tests.adversaries.heavy_tailed import HeavyTailed
from tests.adversaries.one_unit import OneUnit
from tests.adversaries.permuted_answers import PermutedAnswers
from tests.adversaries.random_direction import RandomDirection
from tests.adversaries.rehearsal import certificate
from tests.adversaries.surrogate_answers import SurrogateAnswers
from tests.adversaries.tangent import Tangent
from tests.adversaries.terms import delegated_rounds, quick, terms
from tests.journeys.in_memory import Journey, meet
from tests.journeys.worlds import World, of_game

SEED = 11

Met: TypeAlias = Callable[[Cheat, Answers], Journey]


@pytest.fixture(scope="module")
def world() -> World:
    """With seed noise, so that a wrong seed is a lie."""
    return of_game(Polynomial(n_units=48, w1=0.93, w2=0.065, w3=0.005), n_targets=2)


def rounds_of(world: World, answers: Answers) -> Rounds | None:
    """The planner's own where the verifier trains everything; else few enough answers for a quick test."""
    return None if answers is Answers.OWN else delegated_rounds(world.task, 400, 100)


@pytest.fixture(scope="module")
def met(world: World) -> Met:
    """Sessions, each run once for all that is asked of it."""
    return functools.cache(
        lambda cheat, answers: meet(world, quick(answers), cheat, seed=SEED, rounds=rounds_of(world, answers))
    )


@pytest.mark.parametrize("answers", list(Answers))
def test_the_honest_prover_is_accepted(met: Met, answers: Answers) -> None:
    verdict = met(HONEST, answers).verdict
    assert verdict.outcome is Outcome.ACCEPT
    assert re.match(r"pooled relative gap is at most", verdict.reasons[0])


@pytest.mark.parametrize("cheat", registry.ALL, ids=lambda cheat: cheat.name)
def test_a_cheat_ends_as_its_lie_does(met: Met, cheat: Cheat) -> None:
    verdict = met(cheat, cheat.fate.who).verdict
    assert verdict.outcome is cheat.fate.outcome
    assert cheat.fate.outcome is not Outcome.ACCEPT
    assert re.search(cheat.fate.reason, verdict.reasons[0]), verdict.reasons[0]


@pytest.mark.parametrize("cheat", registry.CLAIMS, ids=lambda cheat: cheat.name)
def test_a_false_claim_with_true_answers_is_no_better_off(met: Met, cheat: Cheat) -> None:
    verdict = met(cheat, Answers.DELEGATED).verdict
    assert verdict.outcome is cheat.fate.outcome
    assert re.search(cheat.fate.reason, verdict.reasons[0]), verdict.reasons[0]


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("cheat", [HONEST, *registry.ALL], ids=lambda cheat: cheat.name)
def test_the_transcript_supports_the_verdict_without_the_other_party(world: World, met: Met, cheat: Cheat) -> None:
    journey = met(cheat, cheat.fate.who)
    filed = sign_transcript(world.task, quick(cheat.fate.who), journey.transcript, SigningKey(bytes(32)))
    assert recheck(filed).outcome is journey.verdict.outcome


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("p", [0.3, 0.7])
def test_cheats_are_not_accepted_where_there_are_no_complements(p: float) -> None:
    world = of_game(Polynomial(n_units=60, w1=0.99, w2=0.005, w3=0.005, p=p), n_targets=1)

    def outcome(cheat: Cheat) -> Outcome:
        asked = terms(cheat.fate.who, measure=world.task.measure)
        return meet(world, asked, cheat, seed=SEED, rounds=rounds_of(world, cheat.fate.who)).verdict.outcome

    assert outcome(HONEST) is Outcome.ACCEPT
    for name in ("scaled", "zero", "permuted", "stale", "fitted-to-challenge", "surrogate-answers", "greedy-answers"):
        assert outcome(registry.BY_NAME[name]) is not Outcome.ACCEPT, name


def test_claims_off_by_a_given_gap_are_off_by_just_that(world: World) -> None:
    scene = world.scene(quick(Answers.OWN), np.random.default_rng(0))
    for kind in (Favoured, HeavyTailed, OneUnit, RandomDirection, Tangent):
        claim = kind(gap=0.123).claim(world.claim, scene)
        np.testing.assert_allclose(world.relative_gap(claim), 0.123, rtol=1e-9)


def test_false_answers_do_flatter_the_claim_that_they_are_made_for(world: World) -> None:
    """Otherwise their rejection would show nothing."""
    for cheat in (GreedyAnswers(), PermutedAnswers(), SurrogateAnswers()):
        true, lied = rehearsed(world, cheat)
        assert lied.mean_square[0] < 0.5 * true.mean_square[0], cheat.name
        assert lied.upper_bound < 0.5 * true.upper_bound, cheat.name


def test_outliers_that_cancel_leave_no_trace_but_in_what_a_rejection_rests_on(world: World) -> None:
    true, lied = rehearsed(world, CancelledOutliers())
    np.testing.assert_allclose(lied.mean_square, true.mean_square, rtol=1e-9)
    assert lied.lower_bound < 0.05 < true.lower_bound


def rehearsed(world: World, cheat: Cheat) -> tuple[MomentsCertificate, MomentsCertificate]:
    """The certificate of a cheat's claim with true answers, and with its own where nobody looks."""
    rounds = delegated_rounds(world.task, 400, 100)
    draw = Draw(seed=Seed(bytes(32)), design=rounds.looks[1])

    def found(*, lies: bool) -> MomentsCertificate:
        scene = world.scene(quick(Answers.DELEGATED), np.random.default_rng(SEED), rounds=rounds)
        claim = cheat.claim(world.claim, scene)
        honest = scene.trained(draw, world.outputs)
        outputs = cheat.answers(draw, honest, claim, scene) if lies else honest
        same_coins = world.scene(scene.terms, np.random.default_rng(SEED), rounds=rounds)
        judged = certificate(claim, rounds, draw, outputs, same_coins)
        assert isinstance(judged, MomentsCertificate)
        return judged

    return found(lies=False), found(lies=True)


def test_a_cheat_says_of_its_claim_what_an_honest_prover_would_unless_that_is_its_lie(world: World) -> None:
    lying = {cheat.name for cheat in registry.ALL if type(cheat).figures is not Cheat.figures}
    assert lying == {"flattering-figures", "steering-figures"}
    scene = world.scene(quick(Answers.OWN), np.random.default_rng(0))
    claim: Claim = registry.BY_NAME["scaled"].claim(world.claim, scene)
    assert registry.BY_NAME["scaled"].figures(world.figures, claim, scene) == world.figures


def test_every_defence_stops_some_cheat() -> None:
    stopping = {defence for cheat in registry.ALL + registry.ACROSS for defence in cheat.stopped_by}
    assert stopping == set(Defence)


def test_names_are_distinct_and_every_cheat_says_what_it_does() -> None:
    assert len(registry.BY_NAME) == len(registry.ALL + registry.ACROSS)
    for cheat in registry.ALL + registry.ACROSS:
        assert (inspect.getdoc(type(cheat)) or "") != inspect.getdoc(Cheat)
        assert (inspect.getmodule(type(cheat)).__doc__ or "").strip()
