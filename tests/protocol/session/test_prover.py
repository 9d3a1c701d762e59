"""The prover's session: each numbered check alone violated changes nothing; answers are committed, signed and true."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from protocol.commitments import MerkleTree
from protocol.encoding import Digest
from protocol.errors import InternalError, MalformedMessage, OutOfOrder, PeerError, Reason, Refused, TrainingError
from protocol.game import Measure
from protocol.game.sampling import Bases, Design, Draw, pairs
from protocol.session.effects import Drawn, Event, Finish, Lost, Received, Train, Trained
from protocol.session.messages import (
    Aborted,
    Answers,
    Challenge,
    ClaimCommitted,
    Closing,
    Message,
    Opening,
    Outcome,
    Retrained,
    RoundsChosen,
    Sender,
    answer_leaves,
)
from protocol.session.prover import ProverSession
from protocol.session.transcript import Transcript
from tests.protocol.session.stage import (
    ANSWERED,
    DELEGATED,
    FIRST,
    HONEST,
    KEY,
    LOOK,
    N_ANSWERS,
    NONCE,
    OWN,
    OWN_ROUNDS,
    SECOND,
    TASK,
    N,
    Stage,
    answered,
    claimed,
    committed,
    play,
    prover,
    seed_of,
    sent,
    signed,
    truth,
)

OPENING = Opening(version=1, nonce=NONCE, task_digest=TASK.digest)
CHALLENGE = Challenge(round=0, draw=Draw(seed=seed_of(FIRST), design=ANSWERED))
CLOSING = Closing(outcome=Outcome.ACCEPT, reason="good")


def opened(**options: int) -> ProverSession:
    session = prover(**options)
    session.handle(Received(OPENING))
    return session


def challenged(**options: int) -> ProverSession:
    session = opened(**options)
    session.handle(Received(CHALLENGE))
    return session


def assert_refused(session: ProverSession, event: Event, message: str, kind: type[PeerError], code: Reason) -> None:
    """The event raises, and the session stands where it stood."""
    before = list(session.transcript.entries)
    with pytest.raises(kind, match=message) as caught:
        session.handle(event)
    assert caught.value.reason is code
    assert session.transcript.entries == before
    assert not session.is_over


def test_p1_an_opening_about_another_task_is_refused() -> None:
    opening = replace(OPENING, task_digest=Digest(b"o" * 32))
    expected = f"expected a session about task {TASK.digest.hex()[:16]}, which is served here, got 6f6f"
    assert_refused(prover(), Received(opening), expected, Refused, Reason.WRONG_TASK)


def test_p1_a_refused_opening_does_not_use_up_the_session() -> None:
    session = prover()
    with pytest.raises(Refused):
        session.handle(Received(replace(OPENING, task_digest=Digest(b"o" * 32))))
    assert isinstance(sent(session.handle(Received(OPENING))), ClaimCommitted)


def test_p2_the_claim_is_said_at_once_whole_and_signed() -> None:
    message = sent(prover().handle(Received(OPENING)))
    assert isinstance(message, ClaimCommitted)
    assert message.digest == committed().digest
    message.signed.check_signature()
    message.signed.check_covers(message.claim)


def test_p3_a_challenge_with_complements_is_refused_where_they_are_not_subsets_alike() -> None:
    task = replace(TASK, measure=Measure(p_16=1 << 14))
    claim = replace(HONEST, task_digest=task.digest)
    session = ProverSession(game=task, claim=claim, signed=signed(claim), key=KEY, max_evaluations=1000)
    session.handle(Received(replace(OPENING, task_digest=task.digest)))
    message = r"expected no complements but at p = 1/2, got some at p = 0\.25"
    assert_refused(session, Received(CHALLENGE), message, MalformedMessage, Reason.MALFORMED)


@pytest.mark.parametrize(
    "design",
    [
        LOOK,
        replace(LOOK, complements=False, bases=Bases.ALL, keep_16=0, n_families=1 << N),
    ],
    ids=["tilted", "all"],
)
def test_p3_bases_of_the_verifiers_own_rounds_are_refused(design: Design) -> None:
    """A tilted draw cannot be derived without the claim, which no challenge names; every subset is no challenge."""
    challenge = replace(CHALLENGE, draw=replace(CHALLENGE.draw, design=design))
    session = opened(max_evaluations=1 << 30)
    assert_refused(session, Received(challenge), "expected drawn bases", MalformedMessage, Reason.MALFORMED)


def test_p3_every_subset_of_another_number_of_units_is_refused() -> None:
    design = Design(n_families=8, n_siblings=1, keep_16=0, complements=False, bases=Bases.ALL)
    challenge = replace(CHALLENGE, draw=replace(CHALLENGE.draw, design=design))
    assert_refused(opened(), Received(challenge), "each of 2.24 subsets once", MalformedMessage, Reason.MALFORMED)


def test_p4_more_trainings_than_the_budget_are_refused_over_all_rounds() -> None:
    message = "expected at most 319 retrainings in a session, got 320"
    assert_refused(opened(max_evaluations=319), Received(CHALLENGE), message, Refused, Reason.TOO_LARGE)
    session = challenged(max_evaluations=639)
    session.handle(Trained(truth(CHALLENGE.draw)))
    message = "expected at most 639 retrainings in a session, got 640"
    assert_refused(session, Received(replace(CHALLENGE, round=1)), message, Refused, Reason.TOO_LARGE)


def test_p4_the_budget_can_be_spent_to_the_last() -> None:
    session = challenged(max_evaluations=2 * N_ANSWERS)
    session.handle(Trained(truth(CHALLENGE.draw)))
    assert isinstance(session.handle(Received(replace(CHALLENGE, round=1)))[0], Train)


def test_p4_an_enormous_design_is_refused_before_anything_is_done_about_it() -> None:
    design = Design(n_families=25_000_000, n_siblings=1, keep_16=1, complements=True)
    challenge = replace(CHALLENGE, draw=replace(CHALLENGE.draw, design=design))
    assert_refused(opened(), Received(challenge), "at most 1000 retrainings", Refused, Reason.TOO_LARGE)


@pytest.mark.parametrize("round_", [0, 1, 2, 63])
def test_p5_the_verifiers_own_rounds_may_come_before_the_first_that_is_answered(round_: int) -> None:
    (train,) = opened().handle(Received(replace(CHALLENGE, round=round_)))
    assert isinstance(train, Train)
    assert train.round == round_


@pytest.mark.parametrize("round_", [0, 1, 2])
def test_p5_no_round_is_answered_twice_or_after_a_later_one(round_: int) -> None:
    session = opened()
    session.handle(Received(replace(CHALLENGE, round=2)))
    session.handle(Trained(truth(CHALLENGE.draw)))
    message = f"expected round 3 or a later one, got round {round_}"
    again = replace(CHALLENGE, round=round_)
    assert_refused(session, Received(again), message, Refused, Reason.OUT_OF_ORDER)
    assert isinstance(session.handle(Received(replace(CHALLENGE, round=3)))[0], Train)


def test_p6_answers_are_committed_and_signed_over_all_that_was_said() -> None:
    session = challenged()
    spoken = session.transcript.spoken
    message = sent(session.handle(Trained(truth(CHALLENGE.draw))))
    assert isinstance(message, Answers)
    assert message.round == 0
    assert (message.outputs == truth(CHALLENGE.draw)).all()
    assert message.root == MerkleTree(answer_leaves(TASK, CHALLENGE.draw, message.outputs)).root
    KEY.public.verify(message.signature, Answers.digest_of(spoken, 0, message.root), "answers")


def test_a_challenge_is_trained_on_whole() -> None:
    (train,) = opened().handle(Received(CHALLENGE))
    assert isinstance(train, Train)
    assert (train.round, train.draw) == (0, CHALLENGE.draw)
    assert train.evaluations.tolist() == list(range(N_ANSWERS))


@pytest.mark.parametrize(
    ("make", "message", "expected"),
    [
        (prover, CHALLENGE, "session is start: expected .*opening from verifier.*, got challenge from verifier"),
        (prover, CLOSING, "session is start: .*, got closing from verifier"),
        (opened, OPENING, "session is committed: .*, got opening from verifier"),
        (challenged, replace(CHALLENGE, round=1), "session is challenged: .*answers from prover.*, got challenge"),
        (challenged, CLOSING, "session is challenged: .*, got closing from verifier"),
    ],
    ids=["challenge first", "closing first", "opening twice", "challenge before answers", "closing before answers"],
)  # fmt: skip
def test_a_message_out_of_order_is_refused(make: Callable[[], ProverSession], message: Message, expected: str) -> None:
    assert_refused(make(), Received(message), expected, OutOfOrder, Reason.OUT_OF_ORDER)


@pytest.mark.parametrize(
    "message",
    [
        committed(),
        Answers(round=0, outputs=np.zeros((1, 1)), root=Digest(bytes(32)), signature=b""),
        Retrained(round=0, check_seed=None, evaluations=np.arange(1), outputs=np.zeros((1, 1))),
        RoundsChosen(rounds=OWN_ROUNDS),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_no_verifier_sends_is_refused_in_every_state(message: Message) -> None:
    after_answers = challenged()
    after_answers.handle(Trained(truth(CHALLENGE.draw)))
    for session in (prover(), opened(), challenged(), after_answers):
        expected = (
            "session is .*, got .* from verifier|expected what a verifier sends, got .*, which it keeps to itself"
        )
        assert_refused(session, Received(message), expected, OutOfOrder, Reason.OUT_OF_ORDER)


@pytest.mark.parametrize("last", [CLOSING, Aborted(reason=Reason.FAILED, text="no")])
def test_the_verifiers_last_word_ends_the_session(last: Closing | Aborted) -> None:
    session = opened()
    assert session.handle(Received(last)) == [Finish(None)]
    assert session.is_over
    with pytest.raises(OutOfOrder, match="expected nothing more"):
        session.handle(Received(OPENING))


def test_a_prover_that_cannot_go_on_says_so_and_ends() -> None:
    session = challenged()
    send, finish = session.handle(Lost("x" * 2000))
    assert sent([send]) == Aborted(reason=Reason.FAILED, text="x" * 1000)
    assert finish == Finish(None)
    assert session.is_over


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_training_that_failed_is_never_an_answer(value: float) -> None:
    session = challenged()
    outputs = truth(CHALLENGE.draw)
    outputs[5] = value
    with pytest.raises(TrainingError, match="answers: expected finite outputs"):
        session.handle(Trained(outputs))
    assert isinstance(sent(session.handle(Trained(truth(CHALLENGE.draw)))), Answers)  # nothing was lost


def test_what_was_not_asked_for_is_a_bug() -> None:
    with pytest.raises(InternalError, match=r"expected outputs of shape \(320, 1\), got \(319, 1\)"):
        challenged().handle(Trained(truth(CHALLENGE.draw)[1:]))
    with pytest.raises(InternalError, match="no training was asked for in state committed"):
        opened().handle(Trained(truth(CHALLENGE.draw)))
    with pytest.raises(InternalError, match="a prover's session takes no Drawn"):
        opened().handle(Drawn(FIRST))


def test_both_sides_record_one_conversation() -> None:
    """What the prover heard and said is what the verifier recorded, but for what the verifier kept to itself."""
    stage = Stage.of(DELEGATED).drawn(NONCE)
    session = prover()
    stage.received(sent(session.handle(Received(sent(stage.effects))))).chosen().drawn(FIRST).trained().chosen()
    stage.drawn(SECOND)
    session.handle(Received(sent(stage.effects)))
    stage.received(sent(session.handle(Trained(truth(stage.draw))))).drawn(bytes(32)).trained()
    session.handle(Received(sent(stage.effects)))
    assert session.transcript.spoken == stage.session.transcript.spoken
    assert session.transcript.head != stage.session.transcript.head
    assert stage.verdict.outcome is Outcome.ACCEPT
    assert session.is_over


def test_a_prover_whose_verifier_trains_everything_hears_an_opening_and_a_closing() -> None:
    stage, session = play(OWN, [OWN_ROUNDS] * 2), prover()
    for entry in stage.session.transcript.entries:
        if not entry.private and entry.sender is Sender.VERIFIER:
            session.handle(Received(entry.message))
    assert session.is_over
    assert session.transcript.spoken == stage.session.transcript.spoken


def test_a_verifier_that_closes_before_any_challenge_is_heard() -> None:
    """As it does where the claim's norm rules it out."""
    session = prover()
    session.handle(Received(OPENING))
    assert session.handle(Received(CLOSING)) == [Finish(None)]
    assert claimed().session.transcript.spoken == opened().transcript.spoken


def test_two_sessions_of_one_claim_do_not_mix() -> None:
    one, other = challenged(), prover()
    other.handle(Received(replace(OPENING, nonce=bytes(16))))
    other.handle(Received(CHALLENGE))
    answers = [sent(session.handle(Trained(truth(CHALLENGE.draw)))) for session in (one, other)]
    assert isinstance(answers[0], Answers)
    assert isinstance(answers[1], Answers)
    assert answers[0].root == answers[1].root
    assert answers[0].signature != answers[1].signature
    assert signed(HONEST).public_key == KEY.public
    assert pairs(160) == ANSWERED


def test_what_the_verifier_keeps_to_itself_is_under_no_signature_of_the_prover() -> None:
    """The prover signs what was spoken: the pilot and the choices of rounds before it are not."""
    entries = answered().session.transcript.entries
    spoken = [entry for entry in entries if not entry.private]
    head = Transcript(TASK.digest, spoken[:-1]).spoken
    answers = spoken[-1].message
    assert isinstance(answers, Answers)
    KEY.public.verify(answers.signature, Answers.digest_of(head, 1, answers.root), "answers")
