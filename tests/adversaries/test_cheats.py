"""Every cheat ends as it says, and the honest prover is accepted on the same terms."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest

from protocol.certificate import families
from protocol.certificate.readings import read
from protocol.certificate.terms import Across, Assurance
from protocol.claim import Claim
from protocol.commitments import SigningKey
from protocol.encoding import Seed
from protocol.sampling import Draw
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
from tests.adversaries.surrogate_answers import SurrogateAnswers
from tests.adversaries.terms import terms
from tests.games import Polynomial
from tests.journeys.in_memory import Journey, meet
from tests.journeys.worlds import World, of_game

SEED = 11


Met: TypeAlias = Callable[[Cheat, Assurance], Journey]


@pytest.fixture(scope="module")
def world() -> World:
    return of_game(n_targets=2)


@pytest.fixture(scope="module")
def met(world: World) -> Met:
    """Sessions, each run once for all that is asked of it."""
    return functools.cache(lambda cheat, assurance: meet(world, terms(assurance), cheat, seed=SEED))


@pytest.mark.parametrize("assurance", list(Assurance))
def test_the_honest_prover_is_accepted(met: Met, assurance: Assurance) -> None:
    verdict = met(HONEST, assurance).verdict
    assert verdict.outcome is Outcome.ACCEPT
    assert re.match(r"relative gap \(mean\) is at most", verdict.reasons[0])


@pytest.mark.parametrize("cheat", registry.ALL, ids=lambda cheat: cheat.name)
def test_a_cheat_is_rejected_for_its_lie(met: Met, cheat: Cheat) -> None:
    verdict = met(cheat, cheat.fate.assurance).verdict
    assert verdict.outcome is cheat.fate.outcome is Outcome.REJECT
    assert re.search(cheat.fate.reason, verdict.reasons[0]), verdict.reasons[0]


@pytest.mark.parametrize("cheat", registry.CLAIMS, ids=lambda cheat: cheat.name)
def test_a_false_claim_with_true_answers_is_no_better_off(met: Met, cheat: Cheat) -> None:
    verdict = met(cheat, Assurance.AUDITED).verdict
    assert verdict.outcome is Outcome.REJECT
    assert re.search(cheat.fate.reason, verdict.reasons[0]), verdict.reasons[0]


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("cheat", [HONEST, *registry.ALL], ids=lambda cheat: cheat.name)
def test_the_transcript_supports_the_verdict_without_the_other_party(world: World, met: Met, cheat: Cheat) -> None:
    journey = met(cheat, cheat.fate.assurance)
    filed = sign_transcript(world.task, terms(cheat.fate.assurance), journey.transcript, SigningKey(bytes(32)))
    assert recheck(filed).outcome is journey.verdict.outcome


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("p", [0.3, 0.7])
def test_cheats_are_not_accepted_where_there_are_no_complements(p: float) -> None:
    world = of_game(Polynomial(n_units=300, w1=0.98, w2=0.01, w3=0.01, p=p), n_targets=1)

    def outcome(cheat: Cheat) -> Outcome:
        asked = terms(cheat.fate.assurance, n_families=60, n_siblings=4, rho=0.2, complements=False)
        return meet(world, asked, cheat, seed=SEED).verdict.outcome

    assert outcome(HONEST) is Outcome.ACCEPT
    for name in ("scaled", "zero", "permuted", "stale", "fitted-to-challenge", "surrogate-answers", "greedy-answers"):
        assert outcome(registry.BY_NAME[name]) is not Outcome.ACCEPT, name


def test_claims_off_by_a_given_gap_are_off_by_just_that(world: World) -> None:
    scene = world.scene(terms(Assurance.PROVED), np.random.default_rng(0))
    for kind in (Favoured, HeavyTailed, OneUnit, RandomDirection):
        claim = kind(gap=0.123).claim(world.claim, scene)
        np.testing.assert_allclose(world.relative_gap(claim), 0.123, rtol=1e-9)


def test_false_answers_do_flatter_the_claim_that_they_are_made_for(world: World) -> None:
    """Otherwise their rejection would show nothing."""
    honest_answers = meet(world, terms(Assurance.AUDITED), registry.BY_NAME["random-direction"], seed=SEED).verdict
    assert honest_answers.certificate is not None
    for cheat in (GreedyAnswers(), CancelledOutliers(), PermutedAnswers(), SurrogateAnswers()):
        scene = world.scene(terms(Assurance.AUDITED), np.random.default_rng(SEED))
        claim = cheat.claim(world.claim, scene)
        flattered = _relative_gap_measured(world, cheat, claim)
        assert flattered < 0.6 * float(honest_answers.certificate.relative_gap[0]), cheat.name


def _relative_gap_measured(world: World, cheat: Cheat, claim: Claim) -> float:
    asked = terms(Assurance.AUDITED)
    scene = world.scene(asked, np.random.default_rng(SEED))
    draw = Draw(seed=Seed(bytes(32)), design=asked.looks[0])
    answers = cheat.answers(draw, scene.trained(draw, world.outputs), claim, scene)
    readings = read(world.task, claim, draw, answers)
    return float(families.certify(readings, delta=0.05, across=Across.MEAN).relative_gap[0])


def test_every_defence_stops_some_cheat() -> None:
    stopping = {defence for cheat in registry.ALL + registry.ACROSS for defence in cheat.stopped_by}
    assert stopping == set(Defence)


def test_names_are_distinct_and_every_cheat_says_what_it_does() -> None:
    assert len(registry.BY_NAME) == len(registry.ALL + registry.ACROSS)
    for cheat in registry.ALL + registry.ACROSS:
        assert (inspect.getdoc(type(cheat)) or "") != inspect.getdoc(Cheat)
        assert (inspect.getmodule(type(cheat)).__doc__ or "").strip()
