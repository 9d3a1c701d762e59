"""Whole sessions of a method with several answered rounds: the paper's Algorithm 1.

Its counts take long, so most sessions here have rounds that prove nothing. What the counts are for is shown in
tests/protocol/certificate/algorithm1/test_bound.py, and one test here takes the smallest there are.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocol.certificate.algorithm1 import bound
from protocol.certificate.algorithm1.bound import Algorithm1Certificate, counts
from protocol.certificate.registry import METHODS
from protocol.certificate.spot_check import detection_probability
from protocol.certificate.terms import Rounds
from protocol.claim import Claim
from protocol.errors import ArgumentError, MalformedMessage
from protocol.game.sampling import Bases, Draw, choose
from protocol.session.effects import DrawEntropy, Send, Train
from protocol.session.messages import Challenge, Outcome, Retrained
from protocol.session.recheck import recheck
from tests.protocol.session.stage import (
    ALGORITHM1,
    FIRST,
    FOURTH,
    LEAST,
    NONCE,
    SECOND,
    THIRD,
    TINY,
    TINY_HONEST,
    TINY_TASK,
    Lie,
    Stage,
    claim_of,
    committed,
    few_rounds,
    honest,
    play,
    seed_of,
    truth,
)

OPPOSITE = claim_of(-TINY.best, TINY_TASK)
"""Every unit does the opposite: a gap of 4 W_1 = 3 b^2, and predictions no larger."""

LEAST_ROUNDS = Rounds(looks=LEAST.designs(), n_checks=LEAST.n_checks)
FEW = few_rounds()


@pytest.fixture
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rounds pass that prove nothing, and take a second."""
    monkeypatch.setattr(bound, "check_enough", lambda *_args, **_kwargs: None)


def played(rounds: Rounds = FEW, claim: Claim = TINY_HONEST, lie: Lie = honest) -> Stage:
    return play(ALGORITHM1, [rounds], claim=claim, game=TINY, task=TINY_TASK, lie=lie)


def assert_rechecks(stage: Stage) -> None:
    """A third party comes to the same verdict, believing the verifier's outputs or training again."""

    def retrain(train: Train) -> np.ndarray:
        return truth(train.draw, train.evaluations, game=TINY, task=TINY_TASK)

    for verdict in (recheck(stage.filed()), recheck(stage.filed(), retrain)):
        assert (verdict.outcome, verdict.reasons) == (stage.verdict.outcome, stage.verdict.reasons)
    if "Retrained" in stage.said:
        with pytest.raises(MalformedMessage, match="is not what training gives"):
            recheck(stage.filed(), lambda train: retrain(train) + 0.01)


@pytest.mark.usefixtures("_few")
def test_the_exact_claim_is_accepted_and_the_opposite_rejected() -> None:
    more = few_rounds((6000, 1500, 4000))
    stage = played(more)
    assert stage.verdict.outcome is Outcome.ACCEPT
    assert stage.verdict.reasons[0].startswith("gap over the squared half range is at most ")
    assert isinstance(stage.verdict.certificate, Algorithm1Certificate)
    assert stage.verdict.n_retrainings == 3 * 200 + LEAST.fresh
    assert stage.verdict.basis == "algorithm1 (tolerance far below epsilon), delegated"
    opposite = played(claim=OPPOSITE)
    assert opposite.verdict.outcome is Outcome.REJECT
    assert opposite.verdict.reasons[0].startswith("gap over the squared half range is at least ")
    assert_rechecks(opposite)


@pytest.mark.usefixtures("_few")
def test_three_rounds_are_answered_and_the_fourth_is_the_verifiers_own() -> None:
    stage = played()
    round_ = ["Challenge", "Answers", "Retrained"]
    opening = ["Opening", "ClaimCommitted", "RoundsChosen"]
    assert stage.said == [*opening, *3 * round_, "Challenge", "Retrained", "Closing"]
    entries = stage.session.transcript.entries
    assert [i for i, entry in enumerate(entries) if entry.private] == [2, 5, 8, 11, 12, 13]
    challenges = [entry.message for entry in entries if isinstance(entry.message, Challenge)]
    assert [challenge.round for challenge in challenges] == [0, 1, 2, 3]
    assert [challenge.draw.design for challenge in challenges] == list(FEW.looks)
    assert len({challenge.draw.seed for challenge in challenges}) == 4
    retrained = [entry.message for entry in entries if isinstance(entry.message, Retrained)]
    assert [len(message.evaluations) for message in retrained] == [200, 200, 200, LEAST.fresh]
    assert [message.check_seed is None for message in retrained] == [False, False, False, True]


def at_second_round(lie: Lie = honest) -> Stage:
    """A verifier that has sent its second challenge."""
    stage = Stage.of(ALGORITHM1, game=TINY, task=TINY_TASK).drawn(NONCE).received(committed(TINY_HONEST))
    stage.chosen(FEW).drawn(FIRST)
    stage.received(stage.answers(lie(truth(stage.draw, game=TINY, task=TINY_TASK), stage.draw, 0)))
    return stage.drawn(SECOND).trained().drawn(THIRD)


@pytest.mark.usefixtures("_few")
def test_no_round_is_challenged_before_the_one_before_is_checked() -> None:
    stage = Stage.of(ALGORITHM1, game=TINY, task=TINY_TASK).drawn(NONCE).received(committed(TINY_HONEST))
    stage.chosen(FEW).drawn(FIRST)
    assert [type(effect) for effect in stage.effects] == [Send]
    stage.received(stage.answers())
    assert stage.effects == [DrawEntropy(32)]  # the spot check's
    stage.drawn(SECOND)
    assert stage.train.evaluations.tolist() == choose(seed_of(SECOND), 3000, 200).tolist()
    assert stage.trained().effects == [DrawEntropy(32)]  # the next challenge's; rounds are chosen once
    assert stage.drawn(THIRD).draw.seed == THIRD


@pytest.mark.usefixtures("_few")
def test_a_later_round_rechecks_its_own_answers() -> None:
    stage = at_second_round()
    outputs = truth(stage.draw, game=TINY, task=TINY_TASK)
    checked = choose(seed_of(FOURTH), len(outputs), 200)
    outputs[checked[0]] *= -1
    stage.received(stage.answers(outputs)).drawn(FOURTH).trained()
    assert stage.verdict.outcome is Outcome.REJECT
    assert stage.verdict.spot_checks[0].mismatches == ()
    assert stage.verdict.spot_checks[1].mismatches == (int(checked[0]),)
    assert_rechecks(stage)


@pytest.mark.usefixtures("_few")
def test_the_first_rounds_answers_do_not_answer_the_second() -> None:
    stage = Stage.of(ALGORITHM1, game=TINY, task=TINY_TASK).drawn(NONCE).received(committed(TINY_HONEST))
    stage.chosen(FEW).drawn(FIRST)
    first = stage.answers()
    stage.received(first).drawn(SECOND).trained().drawn(THIRD).received(first)
    assert stage.verdict.outcome is Outcome.REJECT
    assert stage.verdict.reasons[0].startswith("the prover broke the protocol: answers: expected (1000, 1) for round 1")


@pytest.mark.usefixtures("_few")
def test_answers_to_the_verifiers_own_round_are_out_of_order() -> None:
    stage = at_second_round()
    for challenge, check in ((None, FOURTH), (b"g" * 32, b"h" * 32)):
        if challenge is not None:
            stage.drawn(challenge)
        last = stage.answers()
        stage.received(last).drawn(check).trained()
    stage.drawn(b"i" * 32)
    assert stage.train.evaluations.tolist() == list(range(LEAST.fresh))
    stage.received(last)
    assert stage.verdict.reasons[0].startswith("the prover broke the protocol: session is self-challenged")


def a_tenth_turned(outputs: np.ndarray, draw: Draw, round_: int) -> np.ndarray:
    out = outputs.copy()
    out[np.random.default_rng(round_).random(len(out)) < 0.1] *= -1
    return out


LIES: dict[str, Lie] = {
    "a tenth turned": a_tenth_turned,
    "a constant": lambda outputs, *_: np.full_like(outputs, 0.5),
    "beyond the tolerance": lambda outputs, *_: np.clip(outputs * (1 - 1.1e-3), -1, 1),
    "in the last answered round alone": lambda outputs, draw, round_: -outputs if round_ == 2 else outputs,
}


@pytest.mark.usefixtures("_few")
@pytest.mark.parametrize("name", LIES)
def test_false_answers_are_found(name: str) -> None:
    """200 checks of a round of 1,000 miss 100 false answers with probability below 1e-9."""
    assert detection_probability(1000, 100, 200) > 1 - 1e-9
    stage = played(lie=LIES[name])
    assert stage.verdict.outcome is Outcome.REJECT
    assert "rechecked answers are false" in stage.verdict.reasons[0]


def test_a_claim_of_too_large_a_norm_is_rejected_before_any_challenge() -> None:
    small = counts(epsilon=0.9, delta=0.5, b=1.0, largest=1.4)
    inflated = claim_of(10 * TINY.best, TINY_TASK)
    for rounds, claim, why in (
        (LEAST_ROUNDS, inflated, "gap over the squared half range is at least 58.68 > 0.9: the claim's coefficients "),
        (
            Rounds(looks=small.designs(), n_checks=small.n_checks), TINY_HONEST,
            "the claim predicts up to 1.5 from the middle of the range, more than the 1.4 that ",
        ),
    ):  # fmt: skip
        stage = played(rounds, claim)
        assert stage.verdict.outcome is Outcome.REJECT
        assert stage.verdict.reasons[0].startswith(why)
        assert stage.said == ["Opening", "ClaimCommitted", "RoundsChosen", "Closing"]
        assert stage.verdict.n_retrainings == 0
        assert_rechecks(stage)


def test_rounds_that_prove_nothing_are_refused() -> None:
    at_rho, at_twice, at_none, fresh = LEAST_ROUNDS.looks
    one_less = replace(at_rho, n_families=at_rho.n_families - 1)
    faulty = {
        "a pair less": replace(LEAST_ROUNDS, looks=(one_less, at_twice, at_none, fresh)),
        "few checks": replace(LEAST_ROUNDS, n_checks=200),
        "no checks": replace(LEAST_ROUNDS, n_checks=0),
        "three rounds": replace(LEAST_ROUNDS, looks=LEAST_ROUNDS.looks[:3]),
        "another order": replace(LEAST_ROUNDS, looks=(at_twice, at_rho, at_none, fresh)),
        "complements": replace(LEAST_ROUNDS, looks=(replace(at_rho, complements=True), at_twice, at_none, fresh)),
    }  # fmt: skip
    for rounds in faulty.values():
        stage = Stage.of(ALGORITHM1, game=TINY, task=TINY_TASK).drawn(NONCE).received(committed(TINY_HONEST))
        with pytest.raises(ArgumentError, match=r"algorithm1|n_checks"):
            stage.chosen(rounds)
        assert stage.chosen(LEAST_ROUNDS).effects == [DrawEntropy(32)]


@pytest.mark.usefixtures("_few")
def test_what_the_prover_answers_is_never_every_subset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs of one subset twice would be wholly correlated where the method takes them for independent.

    Every method that is there refuses such rounds itself; the session does so whatever a method admits.
    """
    monkeypatch.setattr(type(METHODS["algorithm1"]), "check_rounds", lambda *_: None)
    twice = replace(FEW.looks[2], n_families=8, bases=Bases.ALL)
    stage = Stage.of(ALGORITHM1, game=TINY, task=TINY_TASK).drawn(NONCE).received(committed(TINY_HONEST))
    with pytest.raises(ArgumentError, match="expected drawn bases in round 2, which the prover answers"):
        stage.chosen(replace(FEW, looks=(*FEW.looks[:2], twice, FEW.looks[3]), n_checks=10))


@pytest.mark.parametrize(("claim", "accepted"), [(TINY_HONEST, True), (OPPOSITE, False)], ids=["exact", "opposite"])
def test_at_the_smallest_counts_the_exact_claim_alone_is_accepted(claim: Claim, accepted: bool) -> None:
    least = counts(epsilon=0.99, delta=0.9, b=1.0, largest=1.5)
    asked = replace(ALGORITHM1, epsilon=0.99, delta=0.9)
    rounds = Rounds(looks=least.designs(), n_checks=least.n_checks)
    stage = play(asked, [rounds], claim=claim, game=TINY, task=TINY_TASK)
    assert (stage.verdict.outcome is Outcome.ACCEPT) is accepted
