"""Whole sessions by every certificate there is: the honest claim and its opposite, and what is said on the way."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from protocol.certificate.crossfit.bound import CHECK_SHARE
from protocol.certificate.moments.plan import pilot_design
from protocol.certificate.registry import METHODS
from protocol.certificate.spot_check import most_false
from protocol.certificate.terms import Across, Rounds, Terms
from protocol.certificate.terms import Answers as Who
from protocol.claim import Claim
from protocol.errors import ArgumentError, MalformedMessage
from protocol.game import SeedPolicy
from protocol.game.known import Known, Polynomial
from protocol.game.sampling import Bases, Design, choose, families, pairs
from protocol.session.effects import DrawEntropy, Train
from protocol.session.messages import Challenge, Outcome, Retrained, RoundsChosen
from protocol.session.recheck import recheck
from protocol.session.transcript import Transcript, sign_transcript
from protocol.task import Task
from tests.games import task_of
from tests.protocol.session.stage import (
    ALGORITHM1,
    DELEGATED,
    DELEGATED_ROUNDS,
    GAME,
    OWN,
    OWN_ROUNDS,
    PILOT,
    TASK,
    VERIFIER_KEY,
    Stage,
    claim_of,
    committed,
    few_rounds,
    play,
    truth,
)

OPENING, CLOSING = ["Opening", "ClaimCommitted", "RoundsChosen"], ["Closing"]
OWN_ROUND, ASKED_ROUND = ["Challenge", "Retrained"], ["Challenge", "Answers", "Retrained"]
NOISY = replace(TASK, seed_policy=SeedPolicy.PER_SUBSET)
SMALL = Polynomial(n_units=8, w1=0.97, w2=0.02, w3=0.01)
SMALL_TASK = task_of(8, bound=SMALL.largest)
SMALL_NOISY = replace(SMALL_TASK, seed_policy=SeedPolicy.PER_SUBSET)
EVERY = Design(n_families=256, n_siblings=1, keep_16=0, complements=False, bases=Bases.ALL)
FAMILY = families(n_families=25, n_siblings=2, rho=0.7, complements=True)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A session that accepts the honest claim, and how it goes where nothing is decided before the last round.

    said : the kinds of messages between the first choice of rounds and the closing.
    """

    asked: Terms
    rounds: Rounds
    said: list[str]
    game: Known = GAME
    task: Task = TASK

    def play(self, claim: Claim | None = None, *, stop: bool = True, seed: int = 0) -> Stage:
        honest = claim_of(self.game.best, self.task)
        return play(
            self.asked, [self.rounds] * 2, claim=claim or honest, game=self.game, task=self.task, stop=stop, seed=seed
        )

    @property
    def opposite(self) -> Claim:
        return claim_of(-self.game.best, self.task)


def asked(method: str, answers: Who = Who.OWN, *, epsilon: float = 0.3) -> Terms:
    return Terms(epsilon=epsilon, delta=0.05, across=Across.POOLED, answers=answers, method=method)


CASES: dict[str, Case] = {
    "moments, own": Case(asked=OWN, rounds=OWN_ROUNDS, said=[*OWN_ROUND, "RoundsChosen", *OWN_ROUND]),
    "moments, own, a seed for every subset": Case(
        asked=OWN, rounds=replace(OWN_ROUNDS, looks=(pilot_design(NOISY), OWN_ROUNDS.looks[1])), task=NOISY,
        said=[*OWN_ROUND, "RoundsChosen", *OWN_ROUND],
    ),
    "moments, own, products": Case(
        asked=OWN, rounds=Rounds(looks=(PILOT, *(pairs(10) for _ in range(16)))),
        said=[*OWN_ROUND, "RoundsChosen", *(16 * OWN_ROUND)],
    ),
    "moments, delegated": Case(
        asked=DELEGATED, rounds=DELEGATED_ROUNDS, said=[*OWN_ROUND, "RoundsChosen", *ASKED_ROUND]
    ),
    "crossfit, own": Case(
        asked=asked("crossfit"), rounds=Rounds(looks=(pairs(300), pairs(300))), said=[*OWN_ROUND, *OWN_ROUND]
    ),
    "crossfit, delegated": Case(
        asked=asked("crossfit", Who.DELEGATED), rounds=Rounds(looks=(pairs(400), pairs(300)), n_checks=200),
        said=[*ASKED_ROUND, *OWN_ROUND],
    ),
    "exhaustive": Case(
        asked=asked("exhaustive", epsilon=0.05), rounds=Rounds(looks=(EVERY,)), game=SMALL, task=SMALL_TASK,
        said=OWN_ROUND,
    ),
    "exhaustive, a seed for every subset": Case(
        asked=asked("exhaustive"), rounds=Rounds(looks=(replace(EVERY, n_siblings=4),)), game=SMALL, task=SMALL_NOISY,
        said=OWN_ROUND,
    ),
    "gaussian, families": Case(
        asked=asked("gaussian", epsilon=0.1), rounds=Rounds(looks=(FAMILY, replace(FAMILY, n_families=15))),
        said=[*OWN_ROUND, *OWN_ROUND],
    ),
    "gaussian, a seed for every subset": Case(
        asked=asked("gaussian", epsilon=0.1), rounds=Rounds(looks=(pilot_design(NOISY), FAMILY)), task=NOISY,
        said=[*OWN_ROUND, "RoundsChosen", *OWN_ROUND],
    ),
    "gaussian, products": Case(
        asked=asked("gaussian", epsilon=0.1), rounds=Rounds(looks=(pairs(60),)), said=OWN_ROUND
    ),
}  # fmt: skip
EVERY_CASE = pytest.mark.parametrize("name", CASES)


def test_every_certificate_is_played() -> None:
    """Algorithm 1 in tests/protocol/session/test_methods.py, with its rounds made few."""
    assert {case.asked.method for case in CASES.values()} | {"algorithm1"} == set(METHODS)
    both = {(case.asked.method, case.asked.answers) for case in CASES.values()}
    assert both >= {(name, who) for name, method in METHODS.items() for who in method.answers if name != "algorithm1"}


@EVERY_CASE
def test_the_honest_claim_is_accepted_and_the_opposite_rejected(name: str) -> None:
    case = CASES[name]
    accepted = case.play().verdict
    assert accepted.outcome is Outcome.ACCEPT
    assert accepted.certificate is not None
    assert accepted.certificate.undecided is None
    assert accepted.rounds == case.rounds
    rejected = case.play(case.opposite).verdict
    assert rejected.outcome is Outcome.REJECT
    assert rejected.reasons[0].startswith("pooled relative gap is at least ")


@EVERY_CASE
def test_what_is_said_is_what_the_methods_rounds_are(name: str) -> None:
    case = CASES[name]
    stage = case.play(stop=False)
    assert stage.said == [*OPENING, *case.said, *CLOSING]
    entries = stage.session.transcript.entries
    told = [entry for entry in entries if not entry.private]
    asks = "Answers" in case.said
    assert [type(entry.message).__name__ for entry in told] == [
        "Opening", "ClaimCommitted", *(["Challenge", "Answers"] if asks else []), "Closing",
    ]  # fmt: skip
    challenges = [entry.message for entry in entries if isinstance(entry.message, Challenge)]
    assert [challenge.draw.design for challenge in challenges] == list(case.rounds.looks)
    assert [challenge.round for challenge in challenges] == list(range(len(challenges)))
    chosen = [entry.message.rounds for entry in entries if isinstance(entry.message, RoundsChosen)]
    assert set(chosen) == {case.rounds}


@EVERY_CASE
@pytest.mark.parametrize("stop", [True, False])
def test_a_third_party_comes_to_the_same_verdict(name: str, stop: bool) -> None:
    case = CASES[name]
    stage = case.play(stop=stop)

    def retrain(train: Train) -> np.ndarray:
        return truth(train.draw, train.evaluations, game=case.game, task=case.task)

    for verdict in (recheck(stage.filed()), recheck(stage.filed(), retrain)):
        assert (verdict.outcome, verdict.reasons) == (stage.verdict.outcome, stage.verdict.reasons)
        assert verdict.n_retrainings == stage.verdict.n_retrainings
    with pytest.raises(MalformedMessage, match="is not what training gives"):
        recheck(stage.filed(), lambda train: retrain(train) + 0.01)


@EVERY_CASE
def test_no_method_takes_the_rounds_of_another_or_no_rounds_at_all(name: str) -> None:
    case = CASES[name]
    first = case.rounds.looks[0]
    faulty = [
        *(other.rounds for other in CASES.values() if not alike(case, other)),
        few_rounds(),
        replace(case.rounds, n_checks=case.rounds.n_checks + 1000),
        replace(case.rounds, looks=(replace(first, n_families=2), *case.rounds.looks[1:])),
    ]
    for rounds in faulty:
        stage = waiting(case)
        with pytest.raises(ArgumentError):
            stage.chosen(rounds)
        assert stage.chosen(case.rounds).effects == [DrawEntropy(32)]


def alike(case: Case, other: Case) -> bool:
    """Whether one's rounds may be the other's."""
    return case.asked.method == other.asked.method and case.asked.answers == other.asked.answers


def waiting(case: Case) -> Stage:
    """A verifier that waits for its rounds."""
    stage = Stage.of(case.asked, game=case.game, task=case.task).drawn(bytes(16))
    return stage.received(committed(claim_of(case.game.best, case.task)))


@pytest.mark.parametrize("n_families", [255, 512, 1])
def test_other_subsets_than_every_one_are_refused_and_refused_in_a_file(n_families: int) -> None:
    case, faulty = CASES["exhaustive"], Rounds(looks=(replace(EVERY, n_families=n_families),))
    stage = waiting(case)
    with pytest.raises(ArgumentError, match=r"expected each of 2\^8 subsets once"):
        stage.chosen(faulty)
    entries = list(case.play().session.transcript.entries)
    entries[2] = replace(entries[2], message=RoundsChosen(rounds=faulty))
    filed = sign_transcript(case.task, case.asked, Transcript(case.task.digest, entries), VERIFIER_KEY)
    with pytest.raises(MalformedMessage, match=r"expected each of 2\^8 subsets once"):
        recheck(filed)


def test_crossfit_rechecks_whole_pairs_of_round_b_and_trains_all_of_round_a() -> None:
    stage = CASES["crossfit, delegated"].play()
    b, a = [entry.message for entry in stage.session.transcript.entries if isinstance(entry.message, Retrained)]
    assert b.check_seed is not None
    both = b.evaluations.reshape(200, 2)
    np.testing.assert_array_equal(both[:, 0], 2 * choose(b.check_seed, 400, 200))
    np.testing.assert_array_equal(both[:, 1], both[:, 0] + 1)
    np.testing.assert_array_equal(a.evaluations, np.arange(600))
    verdict = stage.verdict
    assert verdict.n_retrainings == 400 + 600
    assert [(check.n_answers, check.n_checked) for check in verdict.spot_checks] == [(400, 200)]
    assert [check.most_false for check in verdict.spot_checks] == [most_false(400, 200, 0.05 * CHECK_SHARE)]


def test_exhaustive_says_what_the_gap_is_and_not_a_bound_on_it() -> None:
    case = CASES["exhaustive"]
    verdict = case.play(claim_of(SMALL.best / 2, SMALL_TASK)).verdict
    assert verdict.certificate is not None
    assert verdict.certificate.upper_bound == pytest.approx(0.97 / 4, rel=1e-9)
    assert verdict.certificate.lower_bound == pytest.approx(0.97 / 4, rel=1e-9)
    assert verdict.n_retrainings == 256
    assert PILOT not in case.rounds.looks


def test_a_quick_look_may_stop_at_the_first_of_its_looks() -> None:
    case = CASES["gaussian, families"]
    early, late = case.play(stop=True), case.play(stop=False)
    assert early.verdict.n_retrainings == FAMILY.n_evaluations
    assert late.verdict.n_retrainings == FAMILY.n_evaluations + 60
    assert early.verdict.outcome is late.verdict.outcome is Outcome.ACCEPT


def test_what_a_verdict_rests_on_names_certificate_assumption_and_who_answered() -> None:
    said = {name: case.play().verdict.basis for name, case in CASES.items()}
    assert said["moments, own"] == "moments (kurtosis at most 6), own"
    assert said["moments, delegated"] == "moments (kurtosis at most 9), delegated"
    assert said["crossfit, delegated"] == "crossfit, delegated"
    assert said["exhaustive"] == "exhaustive (every subset), own"
    assert said["gaussian, products"] == "gaussian (Gaussian residuals), own"
    assert METHODS["algorithm1"].describe(ALGORITHM1) == "algorithm1 (tolerance far below epsilon), delegated"
