"""Every defence, switched off, lets its attack through: that is what shows the defence to be the one that stops it.

Attacks that take a lie of their own making, or more than one session. ``test_attacks_win`` has the rest, in one table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from protocol.certificate import families, judging, spot_check
from protocol.certificate.terms import Assurance, Terms
from protocol.commitments import PublicKey
from protocol.errors import InternalError
from protocol.session import machine, messages, verifier
from protocol.session.messages import Answers, ClaimCommitted, Outcome, Sender
from protocol.session.verifier import VerifierSession
from tests.adversaries import registry
from tests.adversaries.cheat import Cheat, Scene
from tests.adversaries.drift_by_tolerance import DriftByTolerance
from tests.adversaries.fitted_to_challenge import FittedToChallenge
from tests.adversaries.inflated_noise import InflatedNoise
from tests.adversaries.margins import most_allowed
from tests.adversaries.random_direction import RandomDirection
from tests.adversaries.second_thoughts import first_claim
from tests.adversaries.surrogate_answers import SurrogateAnswers
from tests.adversaries.terms import terms
from tests.adversaries.unlucky import LeavesWhenUnlucky, is_lucky
from tests.adversaries.weakened import takes_noise_off, without
from tests.games import Polynomial
from tests.journeys.in_memory import Journey, VerifierLike, meet
from tests.journeys.worlds import World, of_game

pytestmark = pytest.mark.usefixtures("unchecked_shapes")

SEED = 5
DELTA = 0.05


@pytest.fixture(scope="module")
def world() -> World:
    return of_game(Polynomial(n_units=64, w1=0.93, w2=0.055, w3=0.015), n_targets=1, noise=0.0)


def small(
    assurance: Assurance, n_checks: int = 20, epsilon: float = 0.05, delta: float = DELTA, n_families: int = 15
) -> Terms:
    """Few subsets, and yet enough of them checked to know Var f."""
    return terms(
        assurance, n_families=n_families, n_siblings=2, rho=0.6, n_checks=n_checks, epsilon=epsilon, delta=delta
    )


LENIENT = terms(Assurance.AUDITED, n_families=10, n_siblings=4, rho=0.7, n_checks=20, delta=0.3)
"""A claim of gap epsilon has a chance here that is worth coming back for."""


def met(
    world: World, cheat: Cheat, asked: Terms | None = None, weakened: Callable[..., VerifierLike] = VerifierSession
) -> Journey:
    return meet(world, asked or small(cheat.fate.assurance), cheat, seed=SEED, verifier=weakened)


def n_accepted(world: World, cheat: Cheat, asked: Terms, n_runs: int) -> int:
    runs = (meet(world, asked, cheat, seed=seed) for seed in range(n_runs))
    return sum(run.verdict.outcome is Outcome.ACCEPT for run in runs)


# ----------------------------------------------------------------------------------------------- the order of messages


@pytest.mark.parametrize("assurance", list(Assurance))
def test_a_claim_fitted_to_a_challenge_that_was_known_before_always_wins(world: World, assurance: Assurance) -> None:
    cheat = FittedToChallenge()
    for seed in range(5):
        broken = meet(world, small(assurance), cheat, seed=seed, leak=True)
        as_built = meet(world, small(assurance), cheat, seed=seed, leak=False)
        assert broken.verdict.outcome is Outcome.ACCEPT
        assert as_built.verdict.outcome is not Outcome.ACCEPT
        claim = next(e.message for e in broken.transcript.entries if isinstance(e.message, ClaimCommitted)).claim
        assert world.relative_gap(claim)[0] > 0.3, "or the claim that won would have been a good one"


def test_spot_checks_that_were_known_before_find_nothing(world: World) -> None:
    """The prover answers truthfully just where it will be looked at, and makes the rest up to fit its claim."""

    class Foresighted(SurrogateAnswers):
        def answers(self, draw, honest, claim, scene):  # type: ignore[no-untyped-def]
            told = _checked(scene.terms, draw.n_evaluations)
            out = super().answers(draw, honest, claim, scene)
            out[told ^ 1] += honest[told] - out[told]  # of a subset and its complement, the half difference stays
            out[told] = honest[told]
            return out

    asked = small(Assurance.AUDITED, n_families=60)
    broken = meet(world, asked, Foresighted(), seed=SEED).verdict
    as_built = meet(world, asked, SurrogateAnswers(), seed=SEED).verdict
    assert world.relative_gap(first_claim(meet(world, asked, Foresighted(), seed=SEED).transcript).claim)[0] > 0.2
    assert (broken.outcome, as_built.outcome) == (Outcome.ACCEPT, Outcome.REJECT)


def _checked(asked: Terms, n_answers: int) -> np.ndarray:
    """The spot check of ``Entropy(SEED)``: its third draw, after the nonce and the challenge."""
    from protocol.encoding import Seed
    from protocol.sampling import choose
    from tests.journeys.in_memory import Entropy

    entropy = Entropy(SEED)
    _, _, seed = entropy(16), entropy(32), entropy(32)
    return choose(Seed(seed), n_answers, asked.n_checks)


def test_a_second_claim_would_buy_challenge_after_challenge(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class ClaimsAgainWhenUnlucky(RandomDirection):
        def said(self, message, draw, heard, scene):  # type: ignore[no-untyped-def]
            if not isinstance(message, Answers) or is_lucky(message, draw, heard, scene):
                return message
            return first_claim(heard)

    cheat, asked = ClaimsAgainWhenUnlucky(gap=0.05), LENIENT
    as_built = [meet(world, asked, cheat, seed=seed).verdict for seed in range(3)]
    assert all(run.outcome is Outcome.REJECT and "got claim-committed" in run.reasons[0] for run in as_built)
    back_to_the_start = (machine.State.CHALLENGED, Sender.PROVER, machine.Kind.CLAIM_COMMITTED)
    monkeypatch.setitem(machine.TABLE, back_to_the_start, machine.State.COMMITTED)
    assert n_accepted(world, cheat, asked, 12) > most_allowed(12, 0.3)


def test_runs_that_the_prover_left_would_make_an_acceptance_cheap_if_they_did_not_count(world: World) -> None:
    cheat, asked = LeavesWhenUnlucky(gap=0.05), LENIENT
    runs = [meet(world, asked, cheat, seed=seed).verdict for seed in range(40)]
    finished = [run for run in runs if "prover left" not in run.reasons[0]]
    accepted = [run for run in runs if run.outcome is Outcome.ACCEPT]
    assert len(accepted) <= most_allowed(len(runs), 0.3)
    assert 1 <= len(finished) == len(accepted), "of the runs that it finishes it wins all"


# ------------------------------------------------------------------------------------------------ who claims, and what


def test_without_the_key_that_was_named_anyone_is_heard(world: World) -> None:
    def anyone(**kwargs: object) -> VerifierSession:
        return VerifierSession(**{**kwargs, "prover_key": None})  # type: ignore[arg-type]

    assert met(world, registry.BY_NAME["another-key"]).verdict.outcome is Outcome.REJECT
    assert met(world, registry.BY_NAME["another-key"], weakened=anyone).verdict.outcome is Outcome.ACCEPT


# --------------------------------------------------------------------------------------------------------- the answers


@pytest.mark.parametrize("name", ["too-few-answers", "too-many-answers"])
def test_without_their_count_answers_bring_the_verifier_down(world: World, name: str) -> None:
    """No acceptance to be had there, but a crash, which a prover may not cause."""
    careless = without("_take_answers", "answers.round != self.round or answers.outputs.shape != expected")
    with pytest.raises((InternalError, IndexError)):
        met(world, registry.BY_NAME[name], small(Assurance.AUDITED), careless)


def test_without_the_range_an_impossible_answer_is_taken_when_nobody_looks(world: World) -> None:
    careless = without(
        "_take_answers", "not bool(((answers.outputs >= targets.lo) & (answers.outputs <= targets.hi)).all())"
    )
    asked = small(Assurance.AUDITED, epsilon=0.3)
    assert met(world, registry.BY_NAME["out-of-range-answers"], asked).verdict.outcome is Outcome.REJECT
    assert met(world, registry.BY_NAME["out-of-range-answers"], asked, careless).verdict.outcome is Outcome.ACCEPT


def test_a_nan_has_three_checks_to_pass_and_wins_past_none() -> None:
    """Unvalidated it meets the range; past that, the spot check; unseen by that, a bound that no NaN is within."""
    world = of_game(Polynomial(n_units=64, w1=0.93, w2=0.055, w3=0.015), n_targets=1, noise=0.0)
    nan = registry.BY_NAME["nan-answers"]

    def reason(weakened: Callable[..., VerifierLike], n_checks: int) -> tuple[Outcome, str]:
        asked = small(Assurance.AUDITED, n_checks=n_checks)
        verdict = meet(world, asked, nan, seed=SEED, verifier=weakened, deliver=lambda message: message).verdict
        return verdict.outcome, verdict.reasons[0]

    outcome, why = reason(VerifierSession, 1)
    assert outcome is Outcome.REJECT
    assert "within its target's range" in why
    blind = without(
        "_take_answers", "not bool(((answers.outputs >= targets.lo) & (answers.outputs <= targets.hi)).all())"
    )
    outcome, why = reason(blind, 60)
    assert outcome is Outcome.REJECT
    assert why.startswith("1 of 60 rechecked answers are false (evaluations 0;")
    outcome, _ = reason(blind, 1)
    assert outcome is Outcome.INCONCLUSIVE


def test_without_the_answers_signature_they_bind_to_no_session(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    verify = PublicKey.verify

    def careless(self: PublicKey, signature: bytes, message: bytes, what: str) -> None:
        if what != "answers":
            verify(self, signature, message, what)  # type: ignore[arg-type]

    monkeypatch.setattr(PublicKey, "verify", careless)
    assert met(world, registry.BY_NAME["replayed"]).verdict.outcome is Outcome.ACCEPT


# ----------------------------------------------------------------------------------------------------------- the bound


def test_the_point_estimate_in_place_of_the_bound_accepts_far_more_than_delta(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    certify = families.certify

    def overconfident(*args: object, **kwargs: object) -> families.FamiliesCertificate:
        certificate = certify(*args, **kwargs)  # type: ignore[arg-type]
        return replace(certificate, upper=certificate.relative_gap)

    cheat, asked = RandomDirection(gap=0.05), small(Assurance.PROVED)
    assert n_accepted(world, cheat, asked, 40) <= most_allowed(40, DELTA)
    monkeypatch.setattr(families, "certify", overconfident)
    assert n_accepted(world, cheat, asked, 40) > most_allowed(40, DELTA)


def test_without_the_price_of_the_tolerance_drift_hides_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    world = of_game(Polynomial(n_units=64, w1=0.93, w2=0.055, w3=0.015), n_targets=1, noise=0.0, tolerance=0.15)
    cheat = DriftByTolerance(gap=0.06)
    asked = terms(Assurance.AUDITED, n_families=25, n_siblings=6, rho=0.7, n_checks=40)
    certify = families.certify
    assert n_accepted(world, cheat, asked, 20) <= most_allowed(20, DELTA)
    monkeypatch.setattr(families, "certify", lambda *args, **kwargs: certify(*args, **{**kwargs, "tolerance": 0.0}))
    assert n_accepted(world, cheat, asked, 20) > most_allowed(20, DELTA)


def test_taking_the_noise_off_an_audited_bound_would_let_two_false_answers_hide_half_a_claim(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = of_game(Polynomial(n_units=64, w1=0.93, w2=0.055, w3=0.015), n_targets=1, noise=0.0, width=20.0)
    asked = terms(Assurance.AUDITED, n_families=50, n_siblings=2, rho=0.5, n_checks=40)
    assert n_accepted(world, InflatedNoise(), asked, 30) == 0
    takes_noise_off(monkeypatch)
    assert n_accepted(world, InflatedNoise(), asked, 30) > most_allowed(30, DELTA)


def test_what_is_switched_off_here_is_there_as_built() -> None:
    """The replaced names are those that the verifier calls."""
    assert judging.families is families
    assert verifier.spot_check is spot_check
    assert verifier.ClaimCommitted is messages.ClaimCommitted
    assert Scene.__dataclass_fields__["leaked"].default is None
