"""The verifier's session: each numbered check alone violated, entropy asked for at its moment, looks, verdicts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from protocol.certificate.families import certify
from protocol.certificate.readings import joined, read
from protocol.certificate.terms import Across, Assurance
from protocol.claim import Claim
from protocol.commitments import MerkleTree
from protocol.encoding import Digest
from protocol.errors import ArgumentError, InternalError, MalformedMessage, Reason, TrainingError
from protocol.sampling import choose, pairs
from protocol.session.effects import DrawEntropy, Drawn, Finish, Lost, Received, Send, Train, Trained
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
    Sender,
    answer_leaves,
)
from protocol.session.verdict import Verdict
from protocol.session.verifier import VerifierSession
from tests.games import task_of
from tests.protocol.session.stage import (
    FIRST,
    FOURTH,
    GAME,
    HONEST,
    KEY,
    NONCE,
    OTHER_KEY,
    SECOND,
    TASK,
    THIRD,
    Stage,
    answered,
    challenged,
    claim_of,
    committed,
    opened,
    seed_of,
    signed,
    terms,
    truth,
)

PROVED = terms(Assurance.PROVED)
SHRUNK = claim_of(GAME.best / 5)  # a gap of 0.62, of Var f = 1


def assert_broken(stage: Stage, message: str, code: Reason) -> None:
    """The session ended in a REJECT of this reason, said so once, and asks for nothing more."""
    send, finish = stage.effects
    assert isinstance(send, Send)
    assert isinstance(finish, Finish)
    verdict = stage.verdict
    assert verdict.outcome is Outcome.REJECT
    assert re.match(f"the prover broke the protocol: {message}", verdict.reasons[0]), verdict.reasons[0]
    assert send.message == Aborted(reason=code, text=verdict.reasons[0])
    assert stage.session.transcript.entries[-1].message == send.message
    assert stage.session.is_over
    assert verdict.certificate is None


# V1 to V5: the claim.


def test_v1_a_second_claim_is_out_of_order() -> None:
    assert_broken(
        challenged().received(committed()), "session is challenged: expected .*, got claim-committed from prover",
        Reason.OUT_OF_ORDER,
    )  # fmt: skip


def test_v1_a_claim_before_the_opening_is_out_of_order() -> None:
    assert_broken(Stage.of(terms()).received(committed()), "session is start: expected", Reason.OUT_OF_ORDER)


@pytest.mark.parametrize(
    "message",
    [
        Opening(version=1, nonce=NONCE, task_digest=TASK.digest),
        Closing(outcome=Outcome.ACCEPT, reason="good"),
        Retrained(round=0, check_seed=None, evaluations=np.arange(1), outputs=np.zeros((1, 1))),
        challenged(PROVED).session.transcript.entries[-1].message,
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_only_a_verifier_says_is_out_of_order_from_a_prover(message: Message) -> None:
    for stage in (opened(), challenged(), challenged(PROVED), answered()):
        stage.received(message)
        assert_broken(stage, "session is .*, got .* from prover", Reason.OUT_OF_ORDER)


def test_v2_a_claim_of_another_prover_than_the_one_named_is_refused() -> None:
    stage = opened(prover_key=KEY.public).received(committed(key=OTHER_KEY))
    assert_broken(stage, "claim: expected the signature of the prover that was named", Reason.BAD_COMMITMENT)
    assert opened(prover_key=KEY.public).received(committed()).effects == [DrawEntropy(32)]
    assert opened().received(committed(key=OTHER_KEY)).effects == [DrawEntropy(32)]


@pytest.mark.parametrize("n_units", [11, 13])
def test_v3_a_claim_about_another_number_of_units_is_refused(n_units: int) -> None:
    stage = opened().received(committed(claim_of(np.zeros((1, n_units)))))
    assert_broken(stage, r"claim: expected scores of shape \(1, 12\)", Reason.MALFORMED)


def test_v3_a_claim_about_another_task_is_refused() -> None:
    other = task_of(12, bound=21.0, tolerance=1e-3)
    stage = opened().received(committed(claim_of(GAME.best, other)))
    assert_broken(stage, "claim: expected one for the task of this session", Reason.MALFORMED)


def test_v4_a_claim_that_is_not_signed_is_refused() -> None:
    for change in ({"signature": bytes(64)}, {"signature": b""}, {"public_key": OTHER_KEY.public}):
        stage = opened().received(ClaimCommitted(signed=replace(signed(HONEST), **change), claim=HONEST))
        assert_broken(stage, "claim: ", Reason.BAD_COMMITMENT)
        assert "signature" in stage.verdict.reasons[0]


def test_v5_scores_other_than_the_signed_ones_are_refused() -> None:
    stage = opened().received(ClaimCommitted(signed=signed(SHRUNK), claim=HONEST))
    assert_broken(stage, "claim: the scores that came are not those under the signed Merkle root", Reason.MALFORMED)


def test_v5_a_signature_about_another_task_does_not_cover_the_claim() -> None:
    stage = opened().received(ClaimCommitted(signed=signed(HONEST, task_digest=Digest(bytes(32))), claim=HONEST))
    assert_broken(stage, "claim: the scores that came are not those", Reason.MALFORMED)


# V6 to V10: the answers.


def test_v6_answers_before_a_challenge_or_twice_are_out_of_order() -> None:
    answers = challenged().answers()
    for stage in (opened(), opened().received(committed()), answered()):
        assert_broken(stage.received(answers), "session is .*, got answers from prover", Reason.OUT_OF_ORDER)


def test_v6_answers_to_a_challenge_that_was_never_sent_are_out_of_order() -> None:
    answers = challenged().answers()
    assert_broken(challenged(PROVED).received(answers), "session is self-challenged", Reason.OUT_OF_ORDER)


@pytest.mark.parametrize(
    ("outputs", "round_"),
    [
        (lambda true: true, 1),
        (lambda true: true[:-1], 0),
        (lambda true: np.vstack([true, true[:1]]), 0),
        (lambda true: true[:1], 0),
        (lambda true: np.hstack([true, true]), 0),
    ],
    ids=["another round", "too few", "too many", "one", "too many targets"],
)
def test_v7_answers_of_another_shape_or_round_are_refused(
    outputs: Callable[[np.ndarray], np.ndarray], round_: int
) -> None:
    stage = challenged()
    stage.received(stage.answers(outputs(truth(stage.draw)), round=round_))
    assert_broken(stage, r"answers: expected \(120, 1\) for round 0, got", Reason.MALFORMED)


@pytest.mark.parametrize("value", [-20.001, 20.001, 1e300])
def test_v8_answers_outside_their_range_are_refused(value: float) -> None:
    stage = challenged()
    outputs = truth(stage.draw)
    outputs[7] = value
    stage.received(stage.answers(outputs))
    assert_broken(stage, "answers: expected every output within its target's range", Reason.MALFORMED)


def test_v8_answers_at_the_ends_of_their_range_are_taken() -> None:
    stage = challenged()
    outputs = truth(stage.draw)
    outputs[7], outputs[8] = -20.0, 20.0
    assert stage.received(stage.answers(outputs)).effects == [DrawEntropy(32)]


def test_v9_answers_other_than_the_committed_ones_are_refused() -> None:
    stage = challenged()
    changed = truth(stage.draw)
    changed[7] += 1e-12
    root = MerkleTree(answer_leaves(TASK, stage.draw, truth(stage.draw))).root
    stage.received(stage.answers(changed, root=root))
    assert_broken(stage, "answers: the outputs that came are not those under the Merkle root", Reason.BAD_COMMITMENT)


def test_v9_answers_committed_for_another_challenge_are_refused() -> None:
    """The same numbers under the leaves of other subsets."""
    stage = challenged()
    elsewhere = replace(stage.draw, seed=seed_of(SECOND))
    root = MerkleTree(answer_leaves(TASK, elsewhere, truth(stage.draw))).root
    stage.received(stage.answers(root=root))
    assert_broken(stage, "answers: the outputs that came are not those under the Merkle root", Reason.BAD_COMMITMENT)


def wrongly_signed(stage: Stage) -> dict[str, bytes]:
    root = stage.answers().root
    spoken = stage.session.transcript.spoken
    return {
        "another's key": OTHER_KEY.sign(Answers.digest_of(spoken, 0, root)),
        "another head": KEY.sign(Answers.digest_of(Digest(bytes(32)), 0, root)),
        "another round": KEY.sign(Answers.digest_of(spoken, 1, root)),
        "another root": KEY.sign(Answers.digest_of(spoken, 0, Digest(bytes(32)))),
        "nothing": bytes(64),
    }


@pytest.mark.parametrize("lie", ["another's key", "another head", "another round", "another root", "nothing"])
def test_v10_answers_signed_otherwise_are_refused(lie: str) -> None:
    stage = challenged()
    stage.received(stage.answers(signature=wrongly_signed(stage)[lie]))
    assert_broken(stage, "answers: the signature does not fit", Reason.BAD_COMMITMENT)


def test_v10_answers_of_another_session_are_refused() -> None:
    """Same claim, same challenge, another nonce: a replay."""
    other = Stage.of(terms()).drawn(b"n" * 16).received(committed()).drawn(FIRST)
    assert_broken(challenged().received(other.answers()), "answers: the signature does not fit", Reason.BAD_COMMITMENT)


# V11 to V13: the decision.


def test_v11_a_false_answer_that_is_rechecked_is_a_rejection() -> None:
    stage = challenged()
    outputs = truth(stage.draw)
    checked = choose(seed_of(SECOND), 120, 10)
    outputs[checked[3]] += 1.001e-3
    stage.received(stage.answers(outputs)).drawn(SECOND).trained()
    verdict = stage.verdict
    assert verdict.outcome is Outcome.REJECT
    assert verdict.reasons[0].startswith(f"1 of 10 rechecked answers are false (evaluations {checked[3]};")
    assert verdict.spot_checks[0].mismatches == (int(checked[3]),)
    assert verdict.certificate is None
    assert isinstance(stage.effects[0], Send)
    assert stage.effects[0].message == Closing(outcome=Outcome.REJECT, reason=verdict.reasons[0])


def test_v11_an_answer_within_the_tolerance_is_not_false() -> None:
    stage = challenged()
    outputs = truth(stage.draw) + 0.999e-3
    stage.received(stage.answers(outputs)).drawn(SECOND).trained()
    assert stage.verdict.outcome is Outcome.ACCEPT


def test_v11_many_false_answers_are_counted_and_the_first_named() -> None:
    stage = challenged()
    stage.received(stage.answers(truth(stage.draw) + 1.0)).drawn(SECOND).trained()
    assert stage.verdict.reasons[0].startswith("10 of 10 rechecked answers are false (evaluations ")
    assert ", ...; largest difference 1)" in stage.verdict.reasons[0]


def test_a_false_answer_that_is_not_rechecked_stays_possible() -> None:
    """What audited means: the verdict carries how many false answers ten clean checks leave possible."""
    stage = challenged()
    outputs = truth(stage.draw)
    unchecked = np.setdiff1d(np.arange(120), choose(seed_of(SECOND), 120, 10))
    outputs[unchecked[0]] += 0.01
    stage.received(stage.answers(outputs)).drawn(SECOND).trained()
    (check,) = stage.verdict.spot_checks
    assert (check.n_answers, check.n_checked, check.mismatches) == (120, 10, ())
    assert check.most_false is not None
    assert check.most_false >= 1


@pytest.mark.parametrize("assurance", Assurance)
def test_v12_a_good_claim_is_accepted(assurance: Assurance) -> None:
    verdict = finished(assurance)
    assert verdict.outcome is Outcome.ACCEPT
    assert verdict.certificate is not None
    assert verdict.certificate.upper_bound <= 0.1
    assert verdict.reasons[0] == f"relative gap (mean) is at most {verdict.certificate.upper_bound:.4g} <= 0.1"
    assert verdict.claim_root == signed(HONEST).root
    assert verdict.task_digest == TASK.digest
    assert verdict.assurance == {"proved": "proved/asymptotic", "audited": "audited"}[assurance.value]


@pytest.mark.parametrize("assurance", Assurance)
def test_v13_a_bad_claim_is_rejected(assurance: Assurance) -> None:
    verdict = finished(assurance, SHRUNK)
    assert verdict.outcome is Outcome.REJECT
    assert verdict.certificate is not None
    assert verdict.certificate.lower_bound > 0.1
    assert verdict.reasons[0] == f"relative gap (mean) is at least {verdict.certificate.lower_bound:.4g} > 0.1"


@pytest.mark.parametrize("assurance", Assurance)
def test_a_claim_that_is_neither_leaves_the_verdict_open(assurance: Assurance) -> None:
    verdict = finished(assurance, claim_of(GAME.best * 0.6))  # a gap of 0.155
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.certificate is not None
    assert verdict.certificate.lower_bound <= 0.1 < verdict.certificate.upper_bound
    assert verdict.reasons[0].startswith("relative gap (mean) is between")
    assert verdict.reasons[0].endswith("with 0.1 between: allow more retrainings")


def test_a_target_that_does_not_vary_is_named() -> None:
    stage = challenged(PROVED)
    stage.trained(np.full((120, 1), 0.1))
    assert stage.verdict.outcome is Outcome.INCONCLUSIVE
    assert stage.verdict.reasons[0].startswith("target 0 does not vary, so its relative gap is undefined")


def finished(assurance: Assurance, claim: Claim = HONEST) -> Verdict:
    stage = challenged(PROVED, claim) if assurance is Assurance.PROVED else answered(None, claim)
    return stage.trained().verdict


def test_proved_trains_everything_and_audited_what_was_drawn() -> None:
    proved, audited = challenged(PROVED), answered()
    assert proved.train.evaluations.tolist() == list(range(120))
    assert audited.train.evaluations.tolist() == choose(seed_of(SECOND), 120, 10).tolist()
    assert proved.train.draw.seed == audited.train.draw.seed == FIRST
    assert (proved.trained().verdict.n_retrainings, audited.trained().verdict.n_retrainings) == (120, 10)


def test_the_tolerance_is_allowed_for_in_answers_and_not_in_ones_own_training() -> None:
    audited, proved = (finished(assurance).certificate for assurance in (Assurance.AUDITED, Assurance.PROVED))
    assert audited is not None
    assert proved is not None
    assert proved.allowance.tolist() == [0.0]
    assert audited.allowance[0] == pytest.approx(1e-3 / math.sqrt(audited.variance[0]), rel=1e-9)
    assert audited.upper_bound > proved.upper_bound


# Entropy: nothing random exists before what must not depend on it is in (THEORY 8).


def test_the_challenges_entropy_is_asked_for_when_a_checked_claim_is_in_and_not_before() -> None:
    stage = Stage.of(terms())
    assert stage.effects == [DrawEntropy(16)]
    stage.drawn(NONCE)
    opening = Opening(version=1, nonce=NONCE, task_digest=TASK.digest)
    assert stage.effects == [Send(opening)]
    with pytest.raises(InternalError, match="entropy was not asked for in state opened"):
        stage.session.handle(Drawn(FIRST))
    stage.received(committed())
    assert stage.effects == [DrawEntropy(32)]
    stage.drawn(FIRST)
    assert stage.effects == [Send(Challenge(round=0, draw=stage.draw))]
    assert (stage.draw.seed, stage.draw.design) == (FIRST, terms().looks[0])


def test_the_spot_checks_entropy_is_asked_for_when_checked_answers_are_in_and_not_before() -> None:
    stage = challenged()
    with pytest.raises(InternalError, match="entropy was not asked for in state challenged"):
        stage.session.handle(Drawn(SECOND))
    assert stage.received(stage.answers()).effects == [DrawEntropy(32)]


def test_proved_tells_the_prover_no_challenge() -> None:
    stage = challenged(PROVED)
    assert [type(effect) for effect in stage.effects] == [Train]
    entry = stage.session.transcript.entries[-1]
    assert isinstance(entry.message, Challenge)
    assert entry.private
    stage.trained()
    assert [type(effect) for effect in stage.effects] == [Send, Finish]
    public = [entry.message for entry in stage.session.transcript.entries if not entry.private]
    assert [type(message) for message in public] == [Opening, ClaimCommitted, Closing]


def test_what_was_rechecked_is_recorded_and_never_sent() -> None:
    stage = answered().trained()
    entries = stage.session.transcript.entries
    assert [type(entry.message) for entry in entries] == [
        Opening, ClaimCommitted, Challenge, Answers, Retrained, Closing,
    ]  # fmt: skip
    retrained = entries[4].message
    assert isinstance(retrained, Retrained)
    assert (retrained.check_seed, entries[4].private, entries[4].sender) == (SECOND, True, Sender.VERIFIER)


# Looks: delta is spent, families are pooled.


@pytest.mark.parametrize("assurance", Assurance)
def test_looks_spend_delta_and_pool_their_families(assurance: Assurance) -> None:
    audited = assurance is Assurance.AUDITED
    asked = terms(assurance, n_looks=3, epsilon=0.005)  # too fine for 20 families of 3, or for 60
    stage = opened(asked).received(committed())
    parts = []
    for look, (challenge, check) in enumerate([(b"a", b"b"), (b"c", b"d"), (b"e", b"f")]):
        assert stage.session.round == look
        stage.drawn(challenge * 32)
        draw = stage.draw if audited else stage.train.draw
        assert draw.seed == challenge * 32
        if audited:
            assert stage.effects == [Send(Challenge(round=look, draw=draw))]
            stage.received(stage.answers()).drawn(check * 32)
        parts.append(read(TASK, HONEST, draw, truth(draw)))
        stage.trained()
    verdict = stage.verdict
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.n_retrainings == (30 if audited else 360)
    assert [check.delta for check in verdict.spot_checks] == ([0.025, 0.0125, 0.0125] if audited else [])
    expected = certify(joined(parts), delta=0.0125, across=Across.MEAN, tolerance=1e-3 if audited else 0.0)
    assert verdict.certificate is not None
    assert (verdict.certificate.delta, verdict.certificate.n_families) == (0.0125, 60)
    if not audited:  # answers are judged by what was checked of them, too
        assert verdict.certificate.upper_bound == expected.upper_bound
        assert verdict.certificate.lower_bound == expected.lower_bound


def test_a_look_that_decides_is_the_last() -> None:
    stage = opened(terms(Assurance.PROVED, n_looks=3)).received(committed()).drawn(FIRST).trained()
    assert stage.verdict.outcome is Outcome.ACCEPT
    assert stage.verdict.certificate is not None
    assert (stage.verdict.certificate.delta, stage.verdict.n_retrainings) == (0.025, 120)


def test_a_later_look_may_decide() -> None:
    """The first look of 20 families leaves a claim of gap 0.0873 open at epsilon = 0.105; more families settle it."""
    asked = terms(Assurance.PROVED, n_looks=4, epsilon=0.105)
    stage = opened(asked).received(committed(claim_of(GAME.best * 0.7))).drawn(FIRST).trained()
    assert stage.effects == [DrawEntropy(32)]
    for entropy in (SECOND, THIRD, FOURTH):
        if stage.effects == [DrawEntropy(32)]:
            stage.drawn(entropy).trained()
    assert stage.verdict.outcome is Outcome.ACCEPT
    assert stage.verdict.certificate is not None
    assert stage.verdict.certificate.n_families > 20


def test_a_second_look_rechecks_the_second_answers_alone() -> None:
    asked = terms(n_looks=2, epsilon=0.005)
    stage = answered(asked).trained().drawn(THIRD)
    outputs = truth(stage.draw)
    checked = choose(seed_of(FOURTH), 120, 10)
    outputs[checked[0]] += 1.0
    stage.received(stage.answers(outputs)).drawn(FOURTH).trained()
    assert stage.verdict.outcome is Outcome.REJECT
    assert stage.verdict.spot_checks[0].mismatches == ()
    assert stage.verdict.spot_checks[1].mismatches == (int(checked[0]),)


def test_the_first_rounds_answers_do_not_answer_the_second() -> None:
    stage = challenged(terms(n_looks=2, epsilon=0.005))
    first = stage.answers()
    stage.received(first).drawn(SECOND).trained().drawn(THIRD)
    assert_broken_later = stage.received(first)
    assert assert_broken_later.verdict.reasons[0].startswith(
        "the prover broke the protocol: answers: expected (120, 1) for round 1, got (120, 1) for 0"
    )


# Leaving, and what comes after the end.


@pytest.mark.parametrize("make", [opened, challenged, answered], ids=["opened", "challenged", "answered"])
def test_a_prover_that_leaves_has_failed(make: Callable[[], Stage]) -> None:
    stage = make().received(Aborted(reason=Reason.BUSY, text="no time"))
    assert [type(effect) for effect in stage.effects] == [Finish]
    assert (stage.verdict.outcome, stage.verdict.reasons) == (Outcome.REJECT, ("the prover left: no time",))
    lost = make()
    lost.effects = lost.session.handle(Lost("no answer within 60 s"))
    assert (lost.verdict.outcome, lost.verdict.reasons) == (Outcome.REJECT, ("no answer within 60 s",))


def test_nothing_that_comes_after_the_end_changes_it() -> None:
    stage = challenged()
    answers = stage.answers()
    stage.received(answers).drawn(SECOND).trained()
    entries = list(stage.session.transcript.entries)
    for event in (
        Received(answers), Received(committed()), Received(Aborted(reason=Reason.FAILED, text="wait")), Lost("gone"),
    ):  # fmt: skip
        assert stage.session.handle(event) == []
    assert stage.session.transcript.entries == entries


def test_a_long_reason_is_cut_to_what_an_abort_holds() -> None:
    stage = opened()
    stage.effects = stage.session.handle(Lost("x" * 5000))
    send = stage.effects[0]
    assert isinstance(send, Send)
    assert isinstance(send.message, Aborted)
    assert len(send.message.text) == 1000
    assert stage.verdict.reasons == ("x" * 5000,)


# The shell's own faults are not the prover's.


@pytest.mark.parametrize("n_bytes", [0, 16, 31, 33])
def test_entropy_of_another_length_is_a_bug_and_not_a_rejection(n_bytes: int) -> None:
    at_nonce = Stage.of(terms()).session
    at_challenge = opened().received(committed()).session
    stage = challenged()
    at_check = stage.received(stage.answers()).session
    for session in (at_challenge, at_check):
        with pytest.raises(InternalError, match=f"expected 32 bytes of entropy, got {n_bytes}"):
            session.handle(Drawn(bytes(n_bytes)))
    with pytest.raises(InternalError, match="expected 16 bytes of entropy, got 32"):
        at_nonce.handle(Drawn(bytes(32)))


@pytest.mark.parametrize("make", [lambda: challenged(PROVED), answered], ids=["proved", "audited"])
def test_ones_own_training_that_fails_is_not_the_provers_fault(make: Callable[[], Stage]) -> None:
    for value in (math.nan, math.inf):
        stage = make()
        with pytest.raises(TrainingError, match="retraining: expected finite outputs"):
            stage.trained(np.full((len(stage.train.evaluations), 1), value))
        assert not stage.session.is_over
    stage = make()
    for shape in ((len(stage.train.evaluations) - 1, 1), (len(stage.train.evaluations), 2)):
        with pytest.raises(InternalError, match="expected retrained outputs of shape"):
            stage.trained(np.zeros(shape))
    assert stage.trained().verdict.outcome is Outcome.ACCEPT  # and nothing was lost


def test_training_that_was_not_asked_for_is_a_bug() -> None:
    stage = challenged()
    with pytest.raises(InternalError, match="the shell gave what was not asked for: session is challenged"):
        stage.session.handle(Trained(np.zeros((0, 1))))
    with pytest.raises(InternalError, match="no challenge is open in state opened"):
        opened().session.handle(Trained(np.zeros((1, 1))))
    assert not stage.session.is_over


def test_terms_that_do_not_fit_the_task_are_refused_before_anything_is_said() -> None:
    biased = task_of(12, p=0.25)
    with pytest.raises(MalformedMessage, match="expected no complements but at p = 1/2"):
        VerifierSession(task=biased, terms=terms())
    with pytest.raises(ArgumentError, match="at least 3 families of 2 siblings, got 30 of 1"):
        VerifierSession(task=TASK, terms=terms(design=pairs(30)))


def test_a_verdict_is_never_without_its_grounds() -> None:
    accepted = finished(Assurance.PROVED)
    with pytest.raises(InternalError, match="a verdict needs a reason"):
        replace(accepted, reasons=())
    for change in ({"certificate": None}, {"claim_root": None}):
        with pytest.raises(InternalError, match="an ACCEPT needs a claim and a certificate"):
            replace(accepted, **change)
    assert replace(accepted, outcome=Outcome.REJECT, certificate=None).certificate is None
