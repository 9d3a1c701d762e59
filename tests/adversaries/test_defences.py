"""Every defence, switched off, lets its attack through: that is what shows the defence to be the one that stops it.

Attacks that take a lie of their own making, or more than one session. ``test_attacks_win`` has the rest, in one table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from protocol.certificate import betting, spot_check
from protocol.certificate.moments import certificate, delegated, plan_delegated
from protocol.certificate.moments import method as moments
from protocol.certificate.terms import Answers, Rounds, Terms
from protocol.commitments import PublicKey
from protocol.encoding import SEED_BYTES, Seed
from protocol.errors import ArgumentError, InternalError
from protocol.game import sampling
from protocol.game.known import Bent, Linear, Polynomial
from protocol.game.sampling import Draw, choose
from protocol.session import machine, verifier
from protocol.session.messages import NONCE_BYTES, ClaimCommitted, Message, Outcome, Sender
from protocol.session.messages import Answers as AnswersSent
from protocol.session.verifier import VerifierSession
from tests.adversaries import registry
from tests.adversaries.cheat import Cheat, Scene
from tests.adversaries.drift_by_tolerance import DriftByTolerance
from tests.adversaries.few_scaled import FewScaled
from tests.adversaries.fitted_to_challenge import FittedToChallenge
from tests.adversaries.greedy_answers import GreedyAnswers
from tests.adversaries.inflated_noise import InflatedNoise
from tests.adversaries.margins import most_allowed
from tests.adversaries.random_direction import RandomDirection
from tests.adversaries.second_thoughts import first_claim
from tests.adversaries.surrogate_answers import SurrogateAnswers
from tests.adversaries.tangent import Tangent
from tests.adversaries.terms import delegated_rounds, own_rounds, quick, terms
from tests.adversaries.unlucky import LeavesWhenUnlucky, is_lucky
from tests.adversaries.weakened import (
    draws_nothing_along_the_claim,
    gives_drift_no_room,
    gives_lies_no_room,
    sees_nothing,
    weighs_by_the_answers,
    weighs_by_the_claim,
    without,
)
from tests.journeys.in_memory import Entropy, Journey, VerifierLike, meet
from tests.journeys.worlds import EvenSpike, World, of_game

pytestmark = pytest.mark.usefixtures("unchecked_shapes")

SEED = 5
DELTA = 0.05
GAUSSIAN_K = 3.0
"""The least kurtosis that may be stated at p = 1/2: bounds as narrow as they come."""

DELEGATED = quick(Answers.DELEGATED)
RANGE = "not bool(((answers.outputs >= game.lo) & (answers.outputs <= game.hi)).all())"


@pytest.fixture(scope="module")
def world() -> World:
    return of_game(Polynomial(n_units=64, w1=0.93, w2=0.065, w3=0.005), n_targets=1, noise=0.0)


def met(
    world: World, cheat: Cheat, weakened: Callable[..., VerifierLike] = VerifierSession, n_pairs: int = 200
) -> Journey:
    """A delegated session, a quarter of whose answers are rechecked; or one of the verifier's own."""
    who, task = cheat.fate.who, world.task
    rounds = own_rounds(task, 100) if who is Answers.OWN else delegated_rounds(task, n_pairs, n_pairs // 4)
    return meet(world, quick(who), cheat, seed=SEED, rounds=rounds, verifier=weakened)


def n_accepted(world: World, cheat: Cheat, asked: Terms, rounds: Rounds, n_runs: int) -> int:
    runs = (meet(world, asked, cheat, seed=seed, rounds=rounds) for seed in range(n_runs))
    return sum(run.verdict.outcome is Outcome.ACCEPT for run in runs)


# ----------------------------------------------------------------------------------------------- the order of messages


@pytest.fixture(scope="module")
def many_units() -> World:
    """More units than subsets, so that a claim can fit them all and be wrong."""
    return of_game(Polynomial(n_units=200, w1=0.93, w2=0.065, w3=0.005), n_targets=1, noise=0.0)


def test_a_claim_fitted_to_a_challenge_that_was_known_before_always_wins(many_units: World) -> None:
    world, cheat = many_units, FittedToChallenge()
    rounds = delegated_rounds(world.task, 90, 90)
    for seed in range(5):
        broken = meet(world, DELEGATED, cheat, seed=seed, rounds=rounds, leak=True)
        as_built = meet(world, DELEGATED, cheat, seed=seed, rounds=rounds, leak=False)
        assert broken.verdict.outcome is Outcome.ACCEPT
        assert as_built.verdict.outcome is not Outcome.ACCEPT
        claim = first_claim(broken.transcript).claim
        assert world.relative_gap(claim)[0] > 0.3, "or the claim that won would have been a good one"


def test_where_some_subsets_follow_the_claim_a_known_challenge_is_not_enough(
    many_units: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever moves the claim to fit them moves them. With every base uniform the fitted claim wins each time."""
    world, cheat, asked = many_units, FittedToChallenge(), terms(Answers.OWN)
    rounds = own_rounds(world.task, 80)

    def n_wins() -> int:
        runs = (meet(world, asked, cheat, seed=seed, rounds=rounds, leak=True).verdict for seed in range(5))
        return sum(run.outcome is Outcome.ACCEPT for run in runs)

    assert n_wins() < 5
    draws_nothing_along_the_claim(monkeypatch)
    assert n_wins() == 5


def checked(seed: int, draw: Draw, n_checks: int) -> np.ndarray:
    """The pairs that ``Entropy(seed)`` rechecks: its fourth draw, after the nonce, the pilot and the challenge."""
    entropy = Entropy(seed)
    entropy(NONCE_BYTES), entropy(SEED_BYTES), entropy(SEED_BYTES)
    return choose(Seed(entropy(SEED_BYTES)), draw.design.n_families, n_checks)


def test_spot_checks_that_were_known_before_find_nothing(world: World) -> None:
    """The prover answers truthfully just where it will be looked at, and makes the rest up to fit its claim."""

    class Foresighted(SurrogateAnswers):
        def answers(self, draw, honest, claim, scene):  # type: ignore[no-untyped-def]
            told = checked(SEED, draw, scene.n_checks)
            numbers = (2 * told[:, None] + np.arange(2)).ravel()
            out = super().answers(draw, honest, claim, scene)
            out[numbers] = honest[numbers]
            return out

    rounds = delegated_rounds(world.task, 1600, 80)
    broken = meet(world, DELEGATED, Foresighted(), seed=SEED, rounds=rounds)
    as_built = meet(world, DELEGATED, SurrogateAnswers(), seed=SEED, rounds=rounds)
    assert world.relative_gap(first_claim(broken.transcript).claim)[0] > 0.2
    assert (broken.verdict.outcome, as_built.verdict.outcome) == (Outcome.ACCEPT, Outcome.REJECT)


@pytest.fixture(scope="module")
def bent() -> World:
    """Where an over-scaled claim errs in the tails alone, and answered pairs are drawn along no claim."""
    return of_game(Bent(48, "clip 2", 48), n_targets=1, noise=0.0, width=8.0)


LENIENT = terms(Answers.DELEGATED, delta=0.3, kurtosis=GAUSSIAN_K)
"""A claim of gap above epsilon has a chance here that is worth coming back for: its kurtosis is 20, not 3."""

JUST_OFF = 0.0505
"""A relative gap above epsilon."""


def test_a_second_claim_would_buy_challenge_after_challenge(bent: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class ClaimsAgainWhenUnlucky(LeavesWhenUnlucky):
        def said(self, message, draw, heard, scene):  # type: ignore[no-untyped-def]
            if not isinstance(message, AnswersSent) or is_lucky(message, draw, heard, scene):
                return message
            return first_claim(heard)

    cheat, rounds = ClaimsAgainWhenUnlucky(gap=JUST_OFF), delegated_rounds(bent.task, 80, 80)
    as_built = [meet(bent, LENIENT, cheat, seed=seed, rounds=rounds).verdict for seed in range(6)]
    ends = {(run.outcome, "got claim-committed" in run.reasons[0]) for run in as_built}
    assert (Outcome.REJECT, True) in ends, "or each was lucky at once"
    assert ends <= {(Outcome.REJECT, True), (Outcome.ACCEPT, False)}
    back_to_the_start = (machine.State.CHALLENGED, Sender.PROVER, machine.Kind.CLAIM_COMMITTED)
    monkeypatch.setitem(machine.TABLE, back_to_the_start, machine.State.COMMITTED)
    assert n_accepted(bent, cheat, LENIENT, rounds, 10) > most_allowed(10, 0.3)


def test_runs_that_the_prover_left_would_make_an_acceptance_cheap_if_they_did_not_count(bent: World) -> None:
    cheat, rounds = LeavesWhenUnlucky(gap=JUST_OFF), delegated_rounds(bent.task, 80, 80)
    runs = [meet(bent, LENIENT, cheat, seed=seed, rounds=rounds).verdict for seed in range(60)]
    finished = [run for run in runs if "prover left" not in run.reasons[0]]
    accepted = [run for run in runs if run.outcome is Outcome.ACCEPT]
    assert len(accepted) <= most_allowed(len(runs), 0.3)
    assert 1 <= len(finished) == len(accepted), "of the runs that it finishes it wins all"


# ------------------------------------------------------------------------------------------------ who claims, and what


def test_without_the_key_that_was_named_anyone_is_heard(world: World) -> None:
    def anyone(**kwargs: object) -> VerifierSession:
        return VerifierSession(**{**kwargs, "prover_key": None})  # type: ignore[arg-type]

    names_its_prover = met(world, registry.BY_NAME["another-key"]).verdict
    takes_any = met(world, registry.BY_NAME["another-key"], anyone).verdict
    assert (names_its_prover.outcome, takes_any.outcome) == (Outcome.REJECT, Outcome.ACCEPT)


def test_weights_made_of_the_claim_would_hide_the_few_targets_that_it_has_tenfold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = of_game(Polynomial(n_units=40, w1=0.96, w2=0.038, w3=0.002), n_targets=100, noise=0.0)
    asked, rounds = terms(Answers.OWN), own_rounds(world.task, 280)
    as_built = meet(world, asked, FewScaled(), seed=SEED, rounds=rounds)
    assert as_built.verdict.outcome is Outcome.REJECT
    assert world.relative_gap(first_claim(as_built.transcript).claim).mean() > 2
    weighs_by_the_claim(monkeypatch)
    assert meet(world, asked, FewScaled(), seed=SEED, rounds=rounds).verdict.outcome is Outcome.ACCEPT


# --------------------------------------------------------------------------------------------------------- the answers


@pytest.mark.parametrize("name", ["too-few-answers", "too-many-answers"])
def test_without_their_count_answers_bring_the_verifier_down(world: World, name: str) -> None:
    """No acceptance to be had there, but a crash, which a prover may not cause."""
    careless = without("_take_answers", "answers.round != self.round or answers.outputs.shape != expected")
    with pytest.raises((InternalError, IndexError)):
        met(world, registry.BY_NAME[name], careless)


def test_without_the_range_an_impossible_answer_is_taken_when_nobody_looks(world: World) -> None:
    careless, cheat = without("_take_answers", RANGE), registry.BY_NAME["out-of-range-answers"]
    assert met(world, cheat, n_pairs=600).verdict.outcome is Outcome.REJECT
    assert met(world, cheat, careless, n_pairs=600).verdict.outcome is Outcome.ACCEPT


def test_a_nan_has_three_checks_to_pass_and_wins_past_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unvalidated it meets the range; past that, the spot check; unseen by that, a bound that takes no NaN."""
    nan = registry.BY_NAME["nan-answers"]

    def session(weakened: Callable[..., VerifierLike]) -> tuple[Outcome, str]:
        rounds = delegated_rounds(world.task, 100, 100)
        verdict = meet(
            world, DELEGATED, nan, seed=SEED, rounds=rounds, verifier=weakened, deliver=lambda message: message
        ).verdict
        return verdict.outcome, verdict.reasons[0]

    outcome, why = session(VerifierSession)
    assert outcome is Outcome.REJECT
    assert "within its target's range" in why
    anything_goes = without("_take_answers", RANGE)
    outcome, why = session(anything_goes)
    assert outcome is Outcome.REJECT
    assert why.startswith("1 of 200 rechecked answers are false (evaluations 0;")
    blind = sees_nothing(monkeypatch)
    both = type("Both", (blind,), {"_take_answers": anything_goes._take_answers})
    with pytest.raises(ArgumentError, match="finite"):
        session(both)


def test_without_the_answers_signature_they_bind_to_no_session(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    verify = PublicKey.verify

    def careless(self: PublicKey, signature: bytes, message: bytes, what: str) -> None:
        if what != "answers":
            verify(self, signature, message, what)  # type: ignore[arg-type]

    monkeypatch.setattr(PublicKey, "verify", careless)
    assert met(world, registry.BY_NAME["replayed"], n_pairs=600).verdict.outcome is Outcome.ACCEPT


def test_outliers_that_cancel_dodge_a_rejection_where_nobody_looks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They win no acceptance: both bounds are made of halves, and the upper one of half differences alone."""
    cheat = registry.BY_NAME["cancelled-outliers"]
    rounds, unseen = delegated_rounds(world.task, 600, 150), sees_nothing(monkeypatch)
    true_answers = meet(world, DELEGATED, registry.BY_NAME["scaled"], seed=SEED, rounds=rounds, verifier=unseen)
    outliers = meet(world, DELEGATED, cheat, seed=SEED, rounds=rounds, verifier=unseen)
    assert (true_answers.verdict.outcome, outliers.verdict.outcome) == (Outcome.REJECT, Outcome.INCONCLUSIVE)


def test_weights_made_of_the_answers_would_let_two_false_ones_hide_a_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """One target of 20 has every score the wrong way round; two pairs of 400 make it vary 30 times as much."""
    world = of_game(Polynomial(n_units=40, w1=0.96, w2=0.038, w3=0.002), n_targets=20, noise=0.0, width=80.0)
    rounds = delegated_rounds(world.task, 400, 100)
    assert n_accepted(world, InflatedNoise(), DELEGATED, rounds, 12) == 0
    weighs_by_the_answers(monkeypatch)
    assert n_accepted(world, InflatedNoise(), DELEGATED, rounds, 12) > most_allowed(12, DELTA)


# ----------------------------------------------------------------------------------------------------------- the bound


def test_the_point_estimate_in_place_of_the_bound_accepts_far_more_than_delta(monkeypatch: pytest.MonkeyPatch) -> None:
    world = of_game(Linear(64), n_targets=1, noise=0.0)
    cheat, asked, rounds = RandomDirection(gap=JUST_OFF), terms(Answers.OWN), own_rounds(world.task, 100)
    certify = moments.certificate.certify

    def overconfident(*args: object, **kwargs: object) -> certificate.MomentsCertificate:
        found = certify(*args, **kwargs)  # type: ignore[arg-type]
        return replace(found, upper=found.mean_square / (found.claim_variance - found.mean_square))

    assert n_accepted(world, cheat, asked, rounds, 40) <= most_allowed(40, DELTA)
    monkeypatch.setattr(certificate, "certify", overconfident)
    assert n_accepted(world, cheat, asked, rounds, 40) > most_allowed(40, DELTA)


def test_without_subsets_along_the_claim_a_tangent_is_accepted_too_often(
    bent: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a bound that is narrower than any that may be asked for, so that few sessions show it."""
    monkeypatch.setattr(moments, "least_kurtosis", lambda *_: GAUSSIAN_K)
    cheat, asked = Tangent(gap=JUST_OFF), terms(Answers.OWN, kurtosis=GAUSSIAN_K)
    rounds = own_rounds(bent.task, 80, 20, 40, 60)
    assert n_accepted(bent, cheat, asked, rounds, 60) <= most_allowed(60, DELTA)
    draws_nothing_along_the_claim(monkeypatch)
    assert n_accepted(bent, cheat, asked, rounds, 150) > most_allowed(150, DELTA)


def test_without_the_price_of_the_tolerance_drift_hides_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gap of 0.06 less a drift of 0.2 standard deviations looks like (0.245 - 0.2)^2 = 0.002 and some tails."""
    world = of_game(Linear(32), n_targets=1, noise=0.0, width=6.0, tolerance=0.2)
    asked, rounds = terms(Answers.DELEGATED, kurtosis=GAUSSIAN_K), delegated_rounds(world.task, 400, 200)
    assert n_accepted(world, DriftByTolerance(gap=0.06), asked, rounds, 12) <= most_allowed(12, DELTA)
    gives_drift_no_room(monkeypatch)
    assert n_accepted(world, DriftByTolerance(gap=0.06), asked, rounds, 12) > most_allowed(12, DELTA)


class Dodges(GreedyAnswers):
    """Knows which pairs will be rechecked, and silences the loudest of the others: as many as clean checks leave."""

    seed = 0

    def loudest(self, draw: Draw, honest: np.ndarray, claim: object, scene: Scene) -> np.ndarray:
        order = GreedyAnswers(share=1.0).loudest(draw, honest, claim, scene)  # type: ignore[arg-type]
        unseen = order[~np.isin(order, checked(self.seed, draw, scene.n_checks))]
        return unseen[: self.n_false(draw, scene)]


def test_as_many_lies_as_clean_checks_leave_possible_win_nothing_even_if_they_dodge_the_checks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without room for them in the bound they win far more often than delta."""
    world = of_game(Linear(32), n_targets=1, noise=0.0)
    asked, rounds = terms(Answers.DELEGATED, kurtosis=GAUSSIAN_K), delegated_rounds(world.task, 1000, 20)

    def outcomes(n_runs: int) -> list[Outcome]:
        cheats = (type("Seeded", (Dodges,), {"seed": seed})(gap=JUST_OFF, share=None) for seed in range(n_runs))
        return [
            meet(world, asked, cheat, seed=seed, rounds=rounds).verdict.outcome for seed, cheat in enumerate(cheats)
        ]

    assert outcomes(16).count(Outcome.ACCEPT) == 0
    gives_lies_no_room(monkeypatch)
    assert outcomes(16).count(Outcome.ACCEPT) > most_allowed(16, DELTA)


def test_the_outputs_at_hand_in_place_of_their_range_would_reject_good_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rare even spike is most of Var f and seldom seen: a gap of 0.04 of it looks like one of 0.2 without it."""
    world = of_game(EvenSpike(48, width=10, w1=0.2), n_targets=1, noise=0.0, width=30.0)
    asked, rounds = terms(Answers.OWN), own_rounds(world.task, 150)

    def n_rejected(n_runs: int) -> int:
        runs = (meet(world, asked, Tangent(gap=0.04), seed=seed, rounds=rounds).verdict for seed in range(n_runs))
        return sum(run.outcome is Outcome.REJECT for run in runs)

    assert n_rejected(40) <= most_allowed(40, DELTA)
    monkeypatch.setattr(betting, "betting_upper", lambda values, *_, **__: values.mean(axis=0))
    assert n_rejected(40) > most_allowed(40, DELTA)


def test_what_is_switched_off_here_is_there_as_built() -> None:
    """The replaced names are those that the verifier calls."""
    assert certificate.betting is betting
    assert moments.certificate is certificate
    assert plan_delegated.delegated is delegated
    assert verifier.spot_check is spot_check
    assert sampling.Tilts is not None
    assert Scene.__dataclass_fields__["leaked"].default == ()
    assert ClaimCommitted in Message.__args__  # type: ignore[attr-defined]
