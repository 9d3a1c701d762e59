"""The verifier's session: each numbered check violated alone, entropy and rounds asked for in time, verdicts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from protocol.certificate.moments.plan_delegated import CHECK_SHARE
from protocol.certificate.spot_check import most_false
from protocol.certificate.terms import Across, Terms
from protocol.certificate.terms import Answers as Who
from protocol.claim import Claim
from protocol.commitments import MerkleTree
from protocol.encoding import Digest
from protocol.errors import ArgumentError, InternalError, Reason, TrainingError
from protocol.game import Measure
from protocol.game.known import statement_of
from protocol.game.sampling import choose, pairs
from protocol.session.effects import (
    Chosen,
    DrawEntropy,
    Drawn,
    Event,
    Finish,
    Lost,
    Received,
    Send,
    Settled,
    Train,
    Trained,
)
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
from protocol.session.verdict import Verdict
from protocol.session.verifier import VerifierSession
from tests.games import task_of
from tests.protocol.session.stage import (
    ALGORITHM1,
    ANSWERED,
    BOUND,
    DELEGATED,
    DELEGATED_ROUNDS,
    FIRST,
    GAME,
    HONEST,
    KEY,
    LOOK,
    N_ANSWERS,
    N_CHECKS,
    N_PAIRS,
    NONCE,
    OPPOSITE,
    OTHER_KEY,
    OWN,
    OWN_ROUNDS,
    PILOT,
    SECOND,
    TASK,
    THIRD,
    WEAK,
    N,
    Stage,
    answered,
    challenged,
    claim_of,
    claimed,
    committed,
    few_rounds,
    opened,
    piloted,
    play,
    rounds_of,
    seed_of,
    self_challenged,
    signed,
    terms,
    truth,
)

BOTH = pytest.mark.parametrize("asked", [OWN, DELEGATED], ids=["own", "delegated"])


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
    for stage in (claimed(), challenged(), self_challenged()):
        stage.received(committed())
        assert_broken(stage, "session is .*, got claim-committed from prover", Reason.OUT_OF_ORDER)


def test_v1_a_claim_before_the_opening_is_out_of_order() -> None:
    assert_broken(Stage.of(OWN).received(committed()), "session is start: expected", Reason.OUT_OF_ORDER)


@pytest.mark.parametrize(
    "message",
    [
        Opening(version=1, nonce=NONCE, task_digest=TASK.digest),
        Closing(outcome=Outcome.ACCEPT, reason="good"),
        Retrained(round=0, check_seed=None, evaluations=np.arange(1), outputs=np.zeros((1, 1))),
        RoundsChosen(rounds=OWN_ROUNDS),
        Challenge(round=1, draw=challenged().draw),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_only_a_verifier_says_is_out_of_order_from_a_prover(message: Message) -> None:
    for stage in (opened(), claimed(), piloted(), challenged(), self_challenged(), answered()):
        stage.received(message)
        assert_broken(stage, "session is .*, got .* from prover", Reason.OUT_OF_ORDER)


def test_v2_a_claim_of_another_prover_than_the_one_named_is_refused() -> None:
    stage = opened(prover_key=KEY.public).received(committed(key=OTHER_KEY))
    assert_broken(stage, "claim: expected the signature of the prover that was named", Reason.BAD_COMMITMENT)
    assert opened(prover_key=KEY.public).received(committed()).choice.claim is HONEST
    assert opened().received(committed(key=OTHER_KEY)).choice.claim is HONEST


@pytest.mark.parametrize("n_units", [N - 1, N + 1])
def test_v3_a_claim_about_another_number_of_units_is_refused(n_units: int) -> None:
    stage = opened().received(committed(claim_of(np.zeros((1, n_units)))))
    assert_broken(stage, rf"claim: expected scores of shape \(1, {N}\)", Reason.MALFORMED)


def test_v3_a_claim_about_another_task_is_refused() -> None:
    other = task_of(N, bound=21.0, tolerance=1e-3)
    stage = opened().received(committed(claim_of(GAME.best, other)))
    assert_broken(stage, "claim: expected one for the task of this session", Reason.MALFORMED)


def test_v4_a_claim_that_is_not_signed_is_refused() -> None:
    for change in ({"signature": bytes(64)}, {"signature": b""}, {"public_key": OTHER_KEY.public}):
        stage = opened().received(ClaimCommitted(signed=replace(signed(HONEST), **change), claim=HONEST))
        assert_broken(stage, "claim: ", Reason.BAD_COMMITMENT)
        assert "signature" in stage.verdict.reasons[0]


def test_v5_scores_other_than_the_signed_ones_are_refused() -> None:
    stage = opened().received(ClaimCommitted(signed=signed(WEAK), claim=HONEST))
    assert_broken(stage, "claim: the scores that came are not those under the signed Merkle root", Reason.MALFORMED)


def test_v5_a_signature_about_another_task_does_not_cover_the_claim() -> None:
    stage = opened().received(ClaimCommitted(signed=signed(HONEST, task_digest=Digest(bytes(32))), claim=HONEST))
    assert_broken(stage, "claim: the scores that came are not those", Reason.MALFORMED)


# V6 to V10: the answers.


def test_v6_answers_before_a_challenge_or_twice_are_out_of_order() -> None:
    answers = challenged().answers()
    for stage in (opened(DELEGATED), claimed(DELEGATED), piloted(DELEGATED), answered()):
        assert_broken(stage.received(answers), "session is .*, got answers from prover", Reason.OUT_OF_ORDER)


def test_v6_answers_to_a_challenge_that_was_never_sent_are_out_of_order() -> None:
    answers = challenged().answers()
    pilot = claimed(DELEGATED).chosen().drawn(FIRST)
    for stage in (pilot, self_challenged()):
        assert_broken(stage.received(answers), "session is self-challenged", Reason.OUT_OF_ORDER)


@pytest.mark.parametrize(
    ("outputs", "round_"),
    [
        (lambda true: true, 0),
        (lambda true: true, 2),
        (lambda true: true[:-1], 1),
        (lambda true: np.vstack([true, true[:1]]), 1),
        (lambda true: true[:1], 1),
        (lambda true: np.hstack([true, true]), 1),
    ],
    ids=["the round before", "the round after", "too few", "too many", "one", "too many targets"],
)
def test_v7_answers_of_another_shape_or_round_are_refused(
    outputs: Callable[[np.ndarray], np.ndarray], round_: int
) -> None:
    stage = challenged()
    stage.received(stage.answers(outputs(truth(stage.draw)), round=round_))
    assert_broken(stage, rf"answers: expected \({N_ANSWERS}, 1\) for round 1, got", Reason.MALFORMED)


@pytest.mark.parametrize("value", [-BOUND - 0.001, BOUND + 0.001, 1e300])
def test_v8_answers_outside_their_range_are_refused(value: float) -> None:
    stage = challenged()
    outputs = truth(stage.draw)
    outputs[7] = value
    stage.received(stage.answers(outputs))
    assert_broken(stage, "answers: expected every output within its target's range", Reason.MALFORMED)


def test_v8_answers_at_the_ends_of_their_range_are_taken() -> None:
    stage = challenged()
    outputs = truth(stage.draw)
    outputs[7], outputs[8] = -BOUND, BOUND
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
    elsewhere = replace(stage.draw, seed=seed_of(THIRD))
    root = MerkleTree(answer_leaves(TASK, elsewhere, truth(stage.draw))).root
    stage.received(stage.answers(root=root))
    assert_broken(stage, "answers: the outputs that came are not those under the Merkle root", Reason.BAD_COMMITMENT)


def wrongly_signed(stage: Stage) -> dict[str, bytes]:
    root = stage.answers().root
    spoken = stage.session.transcript.spoken
    return {
        "another's key": OTHER_KEY.sign(Answers.digest_of(spoken, 1, root)),
        "another head": KEY.sign(Answers.digest_of(Digest(bytes(32)), 1, root)),
        "the private head": KEY.sign(Answers.digest_of(stage.session.transcript.head, 1, root)),
        "another round": KEY.sign(Answers.digest_of(spoken, 0, root)),
        "another root": KEY.sign(Answers.digest_of(spoken, 1, Digest(bytes(32)))),
        "nothing": bytes(64),
    }


LIES = ["another's key", "another head", "the private head", "another round", "another root", "nothing"]


@pytest.mark.parametrize("lie", LIES)
def test_v10_answers_signed_otherwise_are_refused(lie: str) -> None:
    stage = challenged()
    made = wrongly_signed(stage)
    assert sorted(made) == sorted(LIES)
    stage.received(stage.answers(signature=made[lie]))
    assert_broken(stage, "answers: ", Reason.BAD_COMMITMENT)
    assert "signature" in stage.verdict.reasons[0]


# V11: the spot check, pair by pair.


def checked_pairs() -> np.ndarray:
    return choose(seed_of(THIRD), N_PAIRS, N_CHECKS)


@pytest.mark.parametrize("side", [0, 1])
def test_v11_one_false_answer_among_those_rechecked_is_a_rejection(side: int) -> None:
    stage = challenged()
    outputs = truth(stage.draw)
    false = 2 * int(checked_pairs()[3]) + side
    outputs[false] += 1.001e-3
    stage.received(stage.answers(outputs)).drawn(THIRD).trained()
    verdict = stage.verdict
    assert verdict.outcome is Outcome.REJECT
    assert verdict.reasons[0].startswith(f"1 of {2 * N_CHECKS} rechecked answers are false (evaluations {false};")
    assert verdict.spot_checks[0].mismatches == (false,)
    assert verdict.spot_checks[0].most_false is None
    assert verdict.certificate is None
    assert isinstance(stage.effects[0], Send)
    assert stage.effects[0].message == Closing(outcome=Outcome.REJECT, reason=verdict.reasons[0])


def test_v11_an_answer_within_the_tolerance_is_not_false() -> None:
    stage = challenged()
    outputs = truth(stage.draw) + 0.999e-3
    stage.received(stage.answers(outputs)).drawn(THIRD).trained()
    assert stage.verdict.outcome is Outcome.ACCEPT


def test_v11_many_false_answers_are_counted_and_the_first_named() -> None:
    stage = challenged()
    outputs = truth(stage.draw)
    outputs[outputs < 0] += 1.0
    n_false = int(
        (truth(stage.draw, np.sort(np.concatenate([2 * checked_pairs(), 2 * checked_pairs() + 1]))) < 0).sum()
    )
    stage.received(stage.answers(outputs)).drawn(THIRD).trained()
    expected = f"{n_false} of {2 * N_CHECKS} rechecked answers are false (evaluations "
    assert stage.verdict.reasons[0].startswith(expected)
    assert ", ...; largest difference 1)" in stage.verdict.reasons[0]


def test_a_false_answer_that_is_not_rechecked_stays_possible_and_is_priced() -> None:
    """What delegated means: as many false pairs as the clean checks leave possible are allowed for in the bound."""
    stage = challenged()
    outputs = truth(stage.draw)
    unchecked = np.setdiff1d(np.arange(N_PAIRS), checked_pairs())
    outputs[2 * unchecked[0]] += 0.01
    stage.received(stage.answers(outputs)).drawn(THIRD).trained()
    (check,) = stage.verdict.spot_checks
    assert (check.n_answers, check.n_checked, check.mismatches) == (N_PAIRS, N_CHECKS, ())
    assert check.delta == pytest.approx(CHECK_SHARE * 0.05)
    assert check.most_false == most_false(N_PAIRS, N_CHECKS, check.delta) >= 1
    assert stage.verdict.certificate.n_false == check.most_false


def test_what_is_rechecked_stands_in_for_what_was_answered() -> None:
    """An answer within the tolerance is replaced by the verifier's own output before anything is computed."""
    off, true = challenged(), challenged()
    outputs, pair = truth(off.draw), int(checked_pairs()[0])
    outputs[2 * pair : 2 * pair + 2] += [[0.9e-3], [-0.9e-3]]
    off.received(off.answers(outputs)).drawn(THIRD).trained()
    true.received(true.answers()).drawn(THIRD).trained()
    assert off.verdict.certificate.upper_bound == true.verdict.certificate.upper_bound


# V12 and V13: the bounds.


@BOTH
def test_v12_a_good_claim_is_accepted(asked: Terms) -> None:
    verdict = finished(asked)
    assert verdict.outcome is Outcome.ACCEPT
    assert verdict.certificate is not None
    assert verdict.certificate.upper_bound <= 0.1
    assert verdict.reasons[0] == f"pooled relative gap is at most {verdict.certificate.upper_bound:.4g} <= 0.1"
    assert verdict.claim_root == signed(HONEST).root
    assert verdict.task_digest == TASK.digest
    assert verdict.rounds == rounds_of(asked)
    kurtosis = {Who.OWN: 6, Who.DELEGATED: 9}[asked.answers]
    assert verdict.basis == f"moments (kurtosis at most {kurtosis}), {asked.answers.value}"


@BOTH
def test_v13_a_bad_claim_is_rejected(asked: Terms) -> None:
    verdict = finished(asked, OPPOSITE)
    assert verdict.outcome is Outcome.REJECT
    assert verdict.certificate is not None
    assert verdict.certificate.lower_bound > 0.1
    assert verdict.reasons[0] == f"pooled relative gap is at least {verdict.certificate.lower_bound:.4g} > 0.1"


@BOTH
def test_a_claim_that_is_neither_leaves_the_verdict_open(asked: Terms) -> None:
    verdict = finished(asked, WEAK)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.certificate is not None
    assert verdict.certificate.lower_bound <= 0.1 < verdict.certificate.upper_bound
    assert verdict.reasons[0].startswith("pooled relative gap is between")
    assert verdict.reasons[0].endswith("with 0.1 between: allow more retrainings")


def test_without_an_upper_bound_the_verdict_says_what_to_do() -> None:
    """Of a claim of nothing, one that is 0 everywhere, nothing is known; the certificate's own words are shown."""
    flat = replace(HONEST, scores=np.zeros_like(HONEST.scores))
    stage = claimed(OWN, flat).chosen().drawn(FIRST).trained(np.full((20, 1), 0.1)).chosen().drawn(SECOND)
    stage.trained(np.full((2 * LOOK.n_families, 1), 0.1))
    verdict = stage.verdict
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.certificate is not None
    assert verdict.reasons == (verdict.certificate.undecided,)


def test_bounds_that_contradict_each_other_decide_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = self_challenged()
    judge = stage.session._judge
    taken = judge.take
    monkeypatch.setattr(judge, "take", lambda a: replace(taken(a), upper=np.array([0.05]), lower=np.array([0.2])))
    verdict = stage.trained().verdict
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.reasons == ("the bounds on the pooled relative gap contradict each other",)


@pytest.mark.parametrize("across", Across)
def test_a_verdicts_reason_says_what_it_is_over(across: Across) -> None:
    stage = play(replace(OWN, across=across), [OWN_ROUNDS] * 2)
    assert stage.verdict.outcome is Outcome.ACCEPT
    assert stage.verdict.reasons[0].startswith(f"{across.value} relative gap is at most ")


def finished(asked: Terms, claim: Claim = HONEST) -> Verdict:
    stage = self_challenged(claim) if asked.answers is Who.OWN else answered(asked, claim)
    return stage.trained().verdict


def test_own_trains_everything_and_delegated_the_pilot_and_whole_pairs_that_were_drawn() -> None:
    own, delegated = self_challenged(), answered()
    assert own.train.evaluations.tolist() == list(range(2 * LOOK.n_families))
    both = delegated.train.evaluations.reshape(N_CHECKS, 2)
    assert both[:, 0].tolist() == (2 * checked_pairs()).tolist()
    assert both[:, 1].tolist() == (2 * checked_pairs() + 1).tolist()
    assert own.train.draw.seed == delegated.train.draw.seed == SECOND
    assert own.trained().verdict.n_retrainings == 20 + 2 * LOOK.n_families
    assert delegated.trained().verdict.n_retrainings == 20 + 2 * N_CHECKS
    for asked in (OWN, DELEGATED):
        pilot = claimed(asked).chosen().drawn(FIRST)
        assert pilot.train.evaluations.tolist() == list(range(20))


def test_own_looks_are_drawn_along_the_claim_and_answered_ones_are_not() -> None:
    own, delegated = self_challenged(), challenged()
    assert own.train.draw.along is not None
    assert delegated.draw.along is None
    everything = np.arange(LOOK.n_evaluations)
    other = self_challenged(OPPOSITE).train.draw
    assert own.train.draw.digest == other.digest
    assert (own.train.draw.subsets(TASK, everything) != other.subsets(TASK, everything)).any()


# Entropy and rounds: nothing random, and no plan, exists before what must not depend on it is in (THEORY 8).


def test_rounds_are_asked_for_when_a_checked_claim_is_in_and_not_before() -> None:
    stage = Stage.of(OWN)
    assert stage.effects == [DrawEntropy(16)]
    stage.drawn(NONCE)
    opening = Opening(version=1, nonce=NONCE, task_digest=TASK.digest)
    assert stage.effects == [Send(opening)]
    assert_not_asked(stage, Drawn(FIRST))
    stage.received(committed())
    choice = stage.choice
    assert (choice.claim, choice.figures, choice.seen, choice.n_drawn) == (HONEST, signed(HONEST).figures, None, 0)
    assert_not_asked(stage, Drawn(FIRST))
    stage.chosen()
    assert stage.effects == [DrawEntropy(32)]
    stage.drawn(FIRST)
    assert (stage.train.round, stage.train.draw.seed, stage.train.draw.design) == (0, FIRST, PILOT)


@BOTH
def test_after_the_pilot_rounds_are_asked_for_again_with_what_it_saw(asked: Terms) -> None:
    stage = claimed(asked).chosen().drawn(FIRST).trained()
    choice = stage.choice
    assert choice.n_drawn == stage.session.round == 1
    assert choice.seen is not None
    assert 0 < choice.seen.residual < 0.1  # the odd residual's share of Var f: 0.005 on average
    assert choice.seen.noise == 0.0
    assert_not_asked(stage, Drawn(SECOND))
    stage.chosen()
    assert stage.effects == [DrawEntropy(32)]


def assert_not_asked(stage: Stage, event: Event) -> None:
    """The shell's own fault, and the session stands where it stood."""
    before = list(stage.session.transcript.entries)
    with pytest.raises(InternalError, match="which was not asked for in state"):
        stage.session.handle(event)
    assert stage.session.transcript.entries == before
    assert not stage.session.is_over


def test_the_challenge_is_sent_as_it_was_drawn() -> None:
    stage = challenged()
    assert stage.effects == [Send(Challenge(round=1, draw=stage.draw))]
    assert (stage.draw.seed, stage.draw.design) == (SECOND, ANSWERED)


def test_the_spot_checks_entropy_is_asked_for_when_checked_answers_are_in_and_not_before() -> None:
    stage = challenged()
    assert_not_asked(stage, Drawn(THIRD))
    assert stage.received(stage.answers()).effects == [DrawEntropy(32)]


def test_own_rounds_are_never_told_to_the_prover() -> None:
    stage = self_challenged()
    assert [type(effect) for effect in stage.effects] == [Train]
    entry = stage.session.transcript.entries[-1]
    assert isinstance(entry.message, Challenge)
    assert entry.private
    stage.trained()
    assert [type(effect) for effect in stage.effects] == [Send, Finish]
    public = [entry.message for entry in stage.session.transcript.entries if not entry.private]
    assert [type(message) for message in public] == [Opening, ClaimCommitted, Closing]


def test_what_was_planned_piloted_and_rechecked_is_recorded_and_never_sent() -> None:
    stage = answered().trained()
    entries = stage.session.transcript.entries
    assert stage.said == [
        "Opening", "ClaimCommitted", "RoundsChosen", "Challenge", "Retrained",
        "RoundsChosen", "Challenge", "Answers", "Retrained", "Closing",
    ]  # fmt: skip
    assert [entry.private for entry in entries] == [False, False, True, True, True, True, False, False, True, False]
    pilot, retrained = entries[4].message, entries[8].message
    assert isinstance(pilot, Retrained)
    assert isinstance(retrained, Retrained)
    assert (pilot.check_seed, retrained.check_seed) == (None, THIRD)
    assert {entry.sender for entry in entries if entry.private} == {Sender.VERIFIER}


# The rounds chosen.

UNFIT: dict[str, tuple[Terms, object]] = {
    "no look after the pilot": (OWN, replace(OWN_ROUNDS, looks=(PILOT,))),
    "no pilot": (OWN, replace(OWN_ROUNDS, looks=(LOOK, LOOK))),
    "a larger pilot": (OWN, replace(OWN_ROUNDS, looks=(replace(PILOT, n_families=11), LOOK))),
    "fewer than the floor": (OWN, replace(OWN_ROUNDS, looks=(PILOT, replace(LOOK, n_families=79)))),
    "bases that are not tilted": (OWN, replace(OWN_ROUNDS, looks=(PILOT, replace(LOOK, bases=PILOT.bases)))),
    "too few pairs for products": (OWN, replace(OWN_ROUNDS, looks=(PILOT, pairs(80), pairs(79)))),
    "a group of one pair": (OWN, replace(OWN_ROUNDS, looks=(PILOT, pairs(170), pairs(1)))),
    "looks that differ": (OWN, replace(OWN_ROUNDS, looks=(PILOT, LOOK, replace(LOOK, n_siblings=2)))),
    "no complements": (OWN, replace(OWN_ROUNDS, looks=(PILOT, replace(PILOT, n_families=80, complements=False)))),
    "own, and checks": (OWN, replace(OWN_ROUNDS, n_checks=1)),
    "delegated, and no checks": (DELEGATED, replace(DELEGATED_ROUNDS, n_checks=0)),
    "more checks than pairs": (DELEGATED, replace(DELEGATED_ROUNDS, n_checks=N_PAIRS + 1)),
    "delegated, and tilted": (DELEGATED, replace(DELEGATED_ROUNDS, looks=(PILOT, LOOK))),
    "delegated, and two looks": (DELEGATED, replace(DELEGATED_ROUNDS, looks=(PILOT, ANSWERED, ANSWERED))),
}  # fmt: skip


@pytest.mark.parametrize("fault", UNFIT)
def test_rounds_that_the_method_cannot_judge_are_refused_and_may_be_chosen_again(fault: str) -> None:
    asked, rounds = UNFIT[fault]
    for stage in (claimed(asked), claimed(asked).chosen().drawn(FIRST).trained()):
        before = list(stage.session.transcript.entries)
        with pytest.raises(ArgumentError):
            stage.chosen(rounds)
        assert stage.session.transcript.entries == before
        assert stage.chosen().effects == [DrawEntropy(32)]


def test_a_later_choice_keeps_the_rounds_drawn_and_replaces_the_rest() -> None:
    stage = claimed().chosen().drawn(FIRST).trained()
    larger = replace(OWN_ROUNDS, looks=(PILOT, replace(LOOK, n_families=90)))
    stage.chosen(larger).drawn(SECOND).trained()
    chosen = [entry.message for entry in stage.session.transcript.entries if isinstance(entry.message, RoundsChosen)]
    assert [message.rounds for message in chosen] == [OWN_ROUNDS, larger]
    assert stage.verdict.rounds == larger
    assert stage.verdict.n_retrainings == 20 + 180


def test_a_round_that_was_drawn_cannot_be_chosen_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the method would put up with."""
    stage = claimed().chosen().drawn(FIRST).trained()
    monkeypatch.setattr(stage.session._method, "check_rounds", lambda *_: None)
    for looks in ((LOOK, LOOK), (replace(PILOT, n_families=11), LOOK)):
        with pytest.raises(ArgumentError, match="expected the first 1 rounds, already drawn, to stay as they are"):
            stage.chosen(replace(OWN_ROUNDS, looks=looks))
    assert stage.chosen().effects == [DrawEntropy(32)]


def test_what_the_prover_answers_has_drawn_bases_whatever_the_method_says(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = claimed(DELEGATED)
    monkeypatch.setattr(stage.session._method, "check_rounds", lambda *_: None)
    with pytest.raises(ArgumentError, match="expected drawn bases in round 1, which the prover answers"):
        stage.chosen(replace(DELEGATED_ROUNDS, looks=(PILOT, LOOK)))


def test_rounds_are_chosen_when_asked_for_and_at_no_other_time() -> None:
    for stage in (opened(), claimed().chosen(), piloted(), self_challenged(), challenged(), answered()):
        assert_not_asked(stage, Chosen(rounds_of(stage.asked)))


# Looks: each is decided on all pairs so far, and the verifier may go on.


def test_looks_pool_their_families_at_one_delta() -> None:
    fine = terms(epsilon=0.001)  # too fine for 80 pairs, or for 120
    rounds = rounds_of(fine, *[replace(LOOK, n_families=20)] * 2)
    stage = piloted(fine, HONEST, rounds)
    for look, entropy in ((1, b"a"), (2, b"b"), (3, b"c")):
        assert stage.session.round == look
        stage.drawn(entropy * 32)
        assert stage.train.draw.seed == entropy * 32
        stage.trained()
    verdict = stage.verdict
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.n_retrainings == 20 + 2 * 120
    assert verdict.spot_checks == ()
    assert verdict.certificate is not None
    assert (verdict.certificate.delta, verdict.certificate.n_families) == (0.05, 120)


def test_where_the_bounds_decide_and_rounds_are_left_the_verifier_may_stop() -> None:
    rounds = rounds_of(OWN, LOOK)
    stage = self_challenged(HONEST, rounds).trained()
    certificate = stage.offer.certificate
    assert certificate.upper_bound <= 0.1
    assert not stage.session.is_over
    for event in (Drawn(THIRD), Trained(np.zeros((1, 1)))):
        assert_not_asked(stage, event)
    stage.settled(stop=True)
    assert stage.verdict.outcome is Outcome.ACCEPT
    assert stage.verdict.certificate is certificate
    assert stage.verdict.n_retrainings == 180
    assert stage.verdict.rounds == rounds


def test_or_it_may_go_on_and_the_last_look_decides() -> None:
    stage = self_challenged(HONEST, rounds_of(OWN, LOOK, LOOK)).trained()
    assert stage.settled(stop=False).effects == [DrawEntropy(32)]
    assert_not_asked(stage, Settled(True))
    stage.drawn(THIRD).trained()
    assert stage.offer.certificate.n_families == 160
    stage.settled(stop=False).drawn(bytes(32)).trained()
    assert stage.verdict.outcome is Outcome.ACCEPT
    assert stage.verdict.certificate is not None
    assert stage.verdict.certificate.n_families == 240


def test_a_later_look_may_undo_what_an_earlier_one_would_have_decided() -> None:
    """Going on is at the verifier's own risk: the last bounds count, not the best."""
    stage = self_challenged(HONEST, rounds_of(OWN, LOOK)).trained().settled(stop=False).drawn(THIRD)
    stage.trained(-truth(stage.train.draw))
    assert stage.verdict.outcome is not Outcome.ACCEPT


def test_a_bad_claim_is_offered_to_stop_on_too() -> None:
    stage = self_challenged(OPPOSITE, rounds_of(OWN, LOOK)).trained()
    assert stage.offer.certificate.lower_bound > 0.1
    assert stage.settled(stop=True).verdict.outcome is Outcome.REJECT


def test_a_look_that_leaves_it_open_is_followed_by_the_next_without_a_question() -> None:
    """80 pairs leave a claim of gap 0.039 open at 0.1; more settle it."""
    claim = claim_of(0.8 * GAME.best)
    stage = self_challenged(claim, rounds_of(OWN, LOOK, LOOK)).trained()
    assert stage.effects == [DrawEntropy(32)]
    stage.drawn(THIRD).trained()
    if stage.effects == [DrawEntropy(32)]:
        stage.drawn(bytes(32)).trained()
    else:
        stage.settled(stop=True)
    assert stage.verdict.outcome is Outcome.ACCEPT


# Leaving, and what comes after the end.

MOMENTS: list[Callable[[], Stage]] = [opened, claimed, piloted, self_challenged, challenged, answered]


@pytest.mark.parametrize("make", MOMENTS, ids=lambda make: make.__name__)
def test_a_prover_that_leaves_has_failed(make: Callable[[], Stage]) -> None:
    stage = make().received(Aborted(reason=Reason.BUSY, text="no time"))
    assert [type(effect) for effect in stage.effects] == [Finish]
    assert (stage.verdict.outcome, stage.verdict.reasons) == (Outcome.REJECT, ("the prover left: no time",))
    lost = make()
    if make in (opened, challenged):  # something is due from the prover
        lost.effects = lost.session.handle(Lost("no answer within 60 s"))
        assert (lost.verdict.outcome, lost.verdict.reasons) == (Outcome.REJECT, ("no answer within 60 s",))
    else:
        with pytest.raises(InternalError, match="where nobody waits for it"):
            lost.session.handle(Lost("no answer within 60 s"))


def test_a_verdict_before_the_rounds_were_chosen_has_none() -> None:
    for make, rounds in ((opened, None), (claimed, None), (piloted, OWN_ROUNDS)):
        assert make().received(Aborted(reason=Reason.BUSY, text="no time")).verdict.rounds == rounds


def test_nothing_that_comes_after_the_end_changes_it() -> None:
    stage = challenged()
    answers = stage.answers()
    stage.received(answers).drawn(THIRD).trained()
    entries = list(stage.session.transcript.entries)
    for event in (
        Received(answers), Received(committed()), Received(Aborted(reason=Reason.FAILED, text="wait")), Lost("gone"),
    ):  # fmt: skip
        assert stage.session.handle(event) == []
    for ours in (Drawn(FIRST), Trained(np.zeros((1, 1))), Settled(True)):
        with pytest.raises(InternalError, match="not asked for in state closed"):
            stage.session.handle(ours)
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
    waiting = challenged()
    for stage in (claimed().chosen(), piloted(), waiting.received(waiting.answers())):
        with pytest.raises(InternalError, match=f"expected 32 bytes of entropy, got {n_bytes}"):
            stage.session.handle(Drawn(bytes(n_bytes)))
        stage.drawn(bytes(32))  # and nothing was lost
    with pytest.raises(InternalError, match="expected 16 bytes of entropy, got 32"):
        Stage.of(OWN).session.handle(Drawn(bytes(32)))


@pytest.mark.parametrize("make", [self_challenged, answered], ids=["own", "delegated"])
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


def test_what_was_not_asked_for_is_a_bug() -> None:
    for stage in (opened(), claimed(), piloted(), challenged()):
        assert_not_asked(stage, Trained(np.zeros((1, 1))))
        assert_not_asked(stage, Settled(True))


# Terms.


def test_terms_that_do_not_fit_the_game_are_refused_before_anything_is_said() -> None:
    biased = replace(TASK, measure=Measure(p_16=6554))  # at p = 0.1 a claim of one unit errs with a kurtosis above 8
    faults = [
        ("kurtosis", biased, OWN),
        ("kurtosis", TASK, replace(OWN, kurtosis=2.9)),
        ("kurtosis", TASK, replace(OWN, kurtosis=None)),
        ("kurtosis", TASK, replace(ALGORITHM1, kurtosis=4.0)),
        ("answers", TASK, replace(ALGORITHM1, answers=Who.OWN)),
        ("across", TASK, replace(ALGORITHM1, across=Across.MEAN)),
        ("algorithm1", task_of(N, n_targets=2), ALGORITHM1),
        ("certificate", TASK, replace(OWN, method="families")),
    ]
    for key, task, asked in faults:
        with pytest.raises(ArgumentError, match=f"^{key}: "):
            VerifierSession(game=task, terms=asked)


def test_a_session_needs_no_task_any_game_will_do() -> None:
    statement = statement_of(GAME, tolerance=1e-3)
    claim = Claim(task_digest=statement.digest, intercepts=-HONEST.scores.sum(axis=1) / 2, scores=HONEST.scores)
    stage = play(OWN, [OWN_ROUNDS] * 2, claim=claim, task=statement)
    assert stage.verdict.outcome is Outcome.ACCEPT
    assert stage.verdict.task_digest == statement.digest


def test_away_from_one_half_own_looks_are_drawn_without_complements() -> None:
    game = replace(GAME, p=0.25)
    task = replace(task_of(N, bound=game.largest), measure=Measure(p_16=1 << 14))
    asked = terms(kurtosis=9.0)
    pilot = replace(PILOT, complements=False)
    look = replace(pilot, n_families=200)
    claim = replace(claim_of(game.best, task), intercepts=-0.25 * game.best.sum(axis=1))
    stage = play(asked, [replace(OWN_ROUNDS, looks=(pilot, look))] * 2, claim=claim, game=game, task=task)
    assert stage.verdict.outcome is Outcome.ACCEPT
    assert stage.verdict.n_retrainings == 10 + 200
    tilted = replace(OWN_ROUNDS, looks=(pilot, LOOK))
    with pytest.raises(ArgumentError, match="complements"):
        play(asked, [tilted], claim=claim, game=game, task=task)


def test_algorithm1s_rounds_are_refused_where_they_prove_nothing() -> None:
    claim = claim_of(GAME.best)
    stage = claimed(ALGORITHM1, claim)
    with pytest.raises(ArgumentError, match="algorithm1: expected"):
        stage.chosen(few_rounds())


def test_a_verdict_is_never_without_its_grounds() -> None:
    accepted = finished(OWN)
    with pytest.raises(InternalError, match="a verdict needs a reason"):
        replace(accepted, reasons=())
    for change in ({"certificate": None}, {"claim_root": None}):
        with pytest.raises(InternalError, match="an ACCEPT needs a claim and a certificate"):
            replace(accepted, **change)
    assert replace(accepted, outcome=Outcome.REJECT, certificate=None).certificate is None
