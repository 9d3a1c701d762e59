"""Whole sessions with the methods of several rounds: cross-fit, and the paper's Algorithm 1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import jaxtyping
import numpy as np
import pytest

from protocol.certificate import algorithm1
from protocol.certificate.algorithm1 import Algorithm1Certificate, Counts, counts
from protocol.certificate.crossfit import CrossfitCertificate
from protocol.certificate.spot_check import detection_probability, most_false
from protocol.certificate.terms import Across, Assurance, Method, Terms
from protocol.claim import Claim
from protocol.commitments import SigningKey
from protocol.errors import ArgumentError, MalformedMessage
from protocol.sampling import Draw, pairs
from protocol.session.effects import Train
from protocol.session.messages import Answers, Message, Outcome, Retrained
from protocol.session.recheck import recheck
from protocol.session.transcript import Transcript, sign_transcript
from protocol.session.verifier import VerifierSession
from tests.adversaries import registry
from tests.adversaries.cheat import HONEST, Cheat, Scene, answers_over
from tests.adversaries.fitted_to_challenge import FittedToChallenge
from tests.adversaries.margins import fewest_allowed, most_allowed
from tests.adversaries.second_thoughts import first_claim
from tests.games import Majority, Polynomial
from tests.journeys.in_memory import Journey, meet, trained
from tests.journeys.worlds import World, of_game

SEED = 1
HALVED = registry.BY_NAME["scaled"]
WORLD = of_game(Polynomial(n_units=16, w1=0.93, w2=0.055, w3=0.015), n_targets=1, noise=0.0, width=4.0)


@pytest.fixture(autouse=True)
def _unchecked_shapes() -> Iterator[None]:
    jaxtyping.config.update("jaxtyping_disable", value=True)
    yield
    jaxtyping.config.update("jaxtyping_disable", value=False)


def crossfit(n_pairs: int, *, n_checks: int = 0, epsilon: float = 0.3, complements: bool = True) -> Terms:
    """Proved where nothing is checked."""
    return Terms(
        epsilon=epsilon, delta=0.05, across=Across.MEAN, method=Method.CROSSFIT, n_checks=n_checks,
        assurance=Assurance.AUDITED if n_checks else Assurance.PROVED,
        looks=(pairs(n_pairs, complements=complements),) * 2,
    )  # fmt: skip


def names(journey: Journey) -> list[str]:
    return [type(entry.message).__name__ for entry in journey.transcript.entries]


def assert_rechecks(world: World, asked: Terms, journey: Journey) -> None:
    """A third party comes to the same verdict, believing the verifier's outputs or training again."""
    filed = sign_transcript(world.task, asked, journey.transcript, SigningKey(bytes(32)))

    def retrain(train: Train) -> np.ndarray:
        return trained(world.task, world.outputs, train.draw, train.evaluations)

    for verdict in (recheck(filed), recheck(filed, retrain)):
        assert (verdict.outcome, verdict.reasons) == (journey.verdict.outcome, journey.verdict.reasons)
    if "Retrained" in names(journey):
        with pytest.raises(MalformedMessage, match="is not what training gives"):
            recheck(filed, lambda train: retrain(train) + 0.01)


# Cross-fit.


@pytest.mark.parametrize("asked", [crossfit(400), crossfit(500, n_checks=300)], ids=["proved", "audited"])
def test_crossfit_accepts_the_honest_claim_and_never_a_halved_one(asked: Terms) -> None:
    journey = meet(WORLD, asked, seed=SEED)
    assert journey.verdict.outcome is Outcome.ACCEPT
    assert journey.verdict.assurance == "proved/finite-sample"
    assert isinstance(journey.verdict.certificate, CrossfitCertificate)
    assert_rechecks(WORLD, asked, journey)
    for seed in range(2):
        halved = meet(WORLD, asked, HALVED, seed=seed)
        assert halved.verdict.outcome is not Outcome.ACCEPT
        assert halved.verdict.certificate is not None
        assert halved.verdict.certificate.lower_bound <= 0.93 / 4 <= halved.verdict.certificate.upper_bound
    assert_rechecks(WORLD, asked, halved)


def test_crossfit_rejects_a_halved_claim_that_it_can_tell() -> None:
    asked = crossfit(800, epsilon=0.05)
    verdict = meet(WORLD, asked, HALVED, seed=SEED).verdict
    assert verdict.outcome is Outcome.REJECT
    assert verdict.reasons[0].startswith("relative gap (mean) is at least 0.1")


@pytest.mark.parametrize("p", [0.2, 0.8])
def test_crossfit_judges_where_families_refuse_to(p: float) -> None:
    world = of_game(Polynomial(n_units=16, w1=0.98, w2=0.01, w3=0.01, p=p), n_targets=1, noise=0.0, width=4.0)
    asked = crossfit(2000, epsilon=0.3, complements=False)
    assert meet(world, asked, seed=SEED).verdict.outcome is Outcome.ACCEPT
    assert meet(world, replace(asked, epsilon=0.2), HALVED, seed=SEED).verdict.outcome is not Outcome.ACCEPT


def test_crossfit_draws_round_a_after_round_b_is_answered_and_checked_and_tells_nobody() -> None:
    drawn_after: list[str | None] = []

    class Watched(VerifierSession):
        def _take_entropy(self, given: bytes):  # type: ignore[no-untyped-def]
            entries = self.transcript.entries
            drawn_after.append(type(entries[-1].message).__name__ if entries else None)
            return super()._take_entropy(given)

    journey = meet(WORLD, crossfit(30, n_checks=20), seed=SEED, verifier=Watched)
    b, a = ["Challenge", "Answers", "Retrained"], ["Challenge", "Retrained"]
    assert names(journey) == ["Opening", "ClaimCommitted", *b, *a, "Closing"]
    assert [entry.private for entry in journey.transcript.entries][-4:] == [True, True, True, False]
    assert drawn_after == [None, "ClaimCommitted", "Answers", "Retrained"]
    draws = [entry.message.draw.seed for entry in journey.transcript.entries if hasattr(entry.message, "draw")]
    assert len(set(draws)) == 2


def test_crossfit_rechecks_whole_pairs_of_b_and_trains_all_of_a() -> None:
    journey = meet(WORLD, crossfit(30, n_checks=20), seed=SEED)
    b, a = [entry.message for entry in journey.transcript.entries if isinstance(entry.message, Retrained)]
    both = b.evaluations.reshape(20, 2)
    np.testing.assert_array_equal(both[:, 1], both[:, 0] + 1)
    assert not (both[:, 0] % 2).any()
    np.testing.assert_array_equal(a.evaluations, np.arange(60))
    verdict = journey.verdict
    assert verdict.n_retrainings == 40 + 60
    assert [(check.n_answers, check.n_checked) for check in verdict.spot_checks] == [(30, 20)]
    assert [check.most_false for check in verdict.spot_checks] == [most_false(30, 20, 0.005)]
    assert isinstance(verdict.certificate, CrossfitCertificate)
    assert verdict.certificate.n_false == most_false(30, 20, 0.005)
    assert verdict.certificate.delta == pytest.approx(0.045)


@dataclass(frozen=True)
class FalsePairs(Cheat):
    """One false answer in each of ``n`` pairs."""

    n: int

    def said(self, message: Message, draw: Draw | None, heard: Transcript, scene: Scene) -> Message:
        if not isinstance(message, Answers) or draw is None:
            return message
        out = message.outputs.copy()
        chosen = 2 * scene.rng.permutation(draw.design.n_families)[: self.n] + scene.rng.integers(2, size=self.n)
        out[chosen] += 0.01
        return answers_over(
            task=scene.task, key=scene.key, draw=draw, round_=message.round, outputs=scene.clipped(out), heard=heard
        )


def test_crossfit_finds_false_pairs_as_often_as_the_hypergeometric_says() -> None:
    asked, n_runs = crossfit(20, n_checks=5), 60
    promised = detection_probability(20, 4, 5)
    verdicts = [meet(WORLD, asked, FalsePairs(4), seed=seed).verdict for seed in range(n_runs)]
    found = [verdict for verdict in verdicts if "rechecked answers are false" in verdict.reasons[0]]
    assert all(verdict.outcome is Outcome.REJECT for verdict in found)
    assert all(" of 10 rechecked answers are false" in verdict.reasons[0] for verdict in found)
    assert fewest_allowed(n_runs, promised) <= len(found) <= most_allowed(n_runs, promised)


def test_a_claim_fitted_to_round_b_wins_only_if_it_is_made_after_round_b_is_drawn() -> None:
    world = of_game(Polynomial(n_units=1800, w1=0.93, w2=0.055, w3=0.015), n_targets=1, noise=0.0, width=4.0)
    asked = crossfit(900, epsilon=0.35)
    broken = meet(world, asked, FittedToChallenge(), seed=SEED, leak=True)
    assert broken.verdict.outcome is Outcome.ACCEPT
    assert world.relative_gap(first_claim(broken.transcript).claim)[0] > asked.epsilon
    assert meet(world, asked, FittedToChallenge(), seed=SEED).verdict.outcome is not Outcome.ACCEPT


def test_no_second_claim_is_taken_when_a_round_is_drawn() -> None:
    class ClaimsAgain(Cheat):
        def said(self, message, draw, heard, scene):  # type: ignore[no-untyped-def]
            return first_claim(heard) if isinstance(message, Answers) else message

    verdict = meet(WORLD, crossfit(30, n_checks=5), ClaimsAgain(), seed=SEED).verdict
    assert verdict.outcome is Outcome.REJECT
    assert "session is challenged: expected" in verdict.reasons[0]
    assert "got claim-committed" in verdict.reasons[0]


def test_too_few_pairs_are_refused_before_anything_is_said() -> None:
    with pytest.raises(ArgumentError, match="at least 20 independent subsets"):
        VerifierSession(task=WORLD.task, terms=crossfit(19))


# Algorithm 1.

LEAST = counts(epsilon=0.9, delta=0.5, b=1.0, largest=1.5)
TINY = of_game(Majority(n_units=3), n_targets=1, noise=0.0, width=1.0)
"""f in [-1, 1], W_1 = 3/4; the honest claim predicts up to 3/2."""


def algorithm1_of(asked: Counts, epsilon: float, delta: float) -> Terms:
    return Terms(
        epsilon=epsilon, delta=delta, across=Across.MEAN, assurance=Assurance.AUDITED, looks=asked.designs(),
        n_checks=asked.n_checks, method=Method.ALGORITHM1,
    )  # fmt: skip


@dataclass(frozen=True)
class Opposite(Cheat):
    """Claims that every unit does the opposite: a gap of 4 W_1 = 3 b^2, and predictions no larger."""

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return replace(honest, scores=-honest.scores, intercepts=-honest.intercepts)


@dataclass(frozen=True)
class Inflated(Cheat):
    """Claims ten times every score."""

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return replace(honest, scores=10 * honest.scores, intercepts=10 * honest.intercepts)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Terms:
    """Rounds that prove nothing, and take a second; what the counts are for is shown in test_algorithm1."""
    monkeypatch.setattr(algorithm1, "check_enough", lambda *args, **kwargs: None)
    return algorithm1_of(replace(LEAST, pairs=(1500, 500, 1000), n_checks=200), 0.9, 0.5)


def test_algorithm1_accepts_the_exact_claim_and_rejects_the_opposite(few: Terms) -> None:
    more = algorithm1_of(replace(LEAST, pairs=(6000, 1500, 4000), n_checks=200), 0.9, 0.5)
    journey = meet(TINY, more, seed=SEED)
    assert journey.verdict.outcome is Outcome.ACCEPT
    assert journey.verdict.reasons[0].startswith("gap over the squared half range is at most ")
    assert isinstance(journey.verdict.certificate, Algorithm1Certificate)
    assert journey.verdict.n_retrainings == 3 * 200 + few.looks[3].n_evaluations
    round_ = ["Challenge", "Answers", "Retrained"]
    assert names(journey) == ["Opening", "ClaimCommitted", *3 * round_, "Challenge", "Retrained", "Closing"]
    assert [entry.private for entry in journey.transcript.entries[-3:]] == [True, True, False]
    opposite = meet(TINY, few, Opposite(), seed=SEED)
    assert opposite.verdict.outcome is Outcome.REJECT
    assert opposite.verdict.reasons[0].startswith("gap over the squared half range is at least ")
    assert_rechecks(TINY, few, opposite)


@pytest.mark.parametrize("name", ["false-fraction", "another-dataset", "surrogate-answers", "drift-by-tolerance"])
def test_algorithm1_accepts_no_cheat(few: Terms, name: str) -> None:
    assert meet(TINY, few, registry.BY_NAME[name], seed=SEED).verdict.outcome is not Outcome.ACCEPT


def test_algorithm1_rejects_a_claim_of_too_large_a_norm_before_any_challenge() -> None:
    asked = algorithm1_of(LEAST, 0.9, 0.5)
    small = algorithm1_of(counts(epsilon=0.9, delta=0.5, b=1.0, largest=1.4), 0.9, 0.5)
    for terms, cheat, why in (
        (asked, Inflated(), "gap over the squared half range is at least 58.68 > 0.9: the claim's coefficients have "),
        (small, HONEST, "the claim predicts up to 1.5 from the middle of the range, more than the 1.4 that "),
    ):
        journey = meet(TINY, terms, cheat, seed=SEED)
        assert journey.verdict.outcome is Outcome.REJECT
        assert journey.verdict.reasons[0].startswith(why)
        assert names(journey) == ["Opening", "ClaimCommitted", "Closing"]
        assert (journey.n_trained_by_prover, journey.verdict.n_retrainings) == (0, 0)
        assert_rechecks(TINY, terms, journey)


def test_algorithm1_takes_no_terms_that_prove_nothing() -> None:
    at_rho, at_twice, at_none = LEAST.pairs
    for fewer in (replace(LEAST, pairs=(at_rho - 1, at_twice, at_none)), replace(LEAST, n_checks=200)):
        with pytest.raises(ArgumentError, match="algorithm1: expected"):
            VerifierSession(task=TINY.task, terms=algorithm1_of(fewer, 0.9, 0.5))
    VerifierSession(task=TINY.task, terms=algorithm1_of(LEAST, 0.9, 0.5))


@pytest.mark.slow
@pytest.mark.parametrize(("cheat", "accepted"), [(HONEST, True), (Opposite(), False)], ids=["exact", "opposite"])
def test_algorithm1_at_the_smallest_counts_accepts_the_exact_claim_alone(cheat: Cheat, accepted: bool) -> None:
    asked = algorithm1_of(counts(epsilon=0.99, delta=0.9, b=1.0, largest=1.5), 0.99, 0.9)
    assert (meet(TINY, asked, cheat, seed=SEED).verdict.outcome is Outcome.ACCEPT) is accepted
