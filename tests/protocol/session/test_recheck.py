"""A filed transcript supports the verdict that was reached, and no other: every entry follows from those before it.

The dishonest party here is the verifier: what it files is under its own signature, whatever it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.certificate.terms import Across, Rounds, Terms
from protocol.certificate.terms import Answers as Who
from protocol.commitments import MerkleTree
from protocol.encoding import Digest
from protocol.errors import CommitmentError, MalformedMessage, PeerError, Reason
from protocol.game.sampling import Bases
from protocol.session.effects import Lost, Train
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
from protocol.session.recheck import recheck
from protocol.session.transcript import Entry, SignedTranscript, Transcript, sign_transcript
from protocol.session.verdict import Verdict
from tests.protocol.session.stage import (
    BOUND,
    DELEGATED,
    DELEGATED_ROUNDS,
    HONEST,
    KEY,
    LOOK,
    N_PAIRS,
    OPPOSITE,
    OTHER_KEY,
    OWN,
    OWN_ROUNDS,
    PILOT,
    SECOND,
    TASK,
    THIRD,
    VERIFIER_KEY,
    WEAK,
    Stage,
    challenged,
    committed,
    few_rounds,
    opened,
    play,
    rounds_of,
    seed_of,
    self_challenged,
    truth,
)

BOTH = pytest.mark.parametrize("asked", [OWN, DELEGATED], ids=["own", "delegated"])
TWO_LOOKS = rounds_of(OWN, LOOK)


def entries_of(asked: Terms) -> list[Entry]:
    """Of an honest session that accepts.

    own        0 Opening  1 ClaimCommitted  2 RoundsChosen  3 Challenge  4 Retrained  5 RoundsChosen  6 Challenge
               7 Retrained  8 Closing
    delegated  the same up to 6, then 7 Answers  8 Retrained  9 Closing
    """
    return list(play(asked, [rounds_of(asked)] * 2).session.transcript.entries)


def filed(entries: list[Entry], asked: Terms) -> SignedTranscript:
    """What a verifier signs, true or not."""
    return sign_transcript(TASK, asked, Transcript(TASK.digest, entries), VERIFIER_KEY)


def assert_agrees(stage: Stage) -> None:
    """A third party comes to the same verdict, whether it believes the verifier's outputs or trains again."""
    found = recheck(stage.filed())
    again = recheck(stage.filed(), lambda train: retrained(stage, train))
    for verdict in (found, again):
        assert known(verdict) == known(stage.verdict)


def retrained(stage: Stage, train: Train) -> np.ndarray:
    return truth(train.draw, train.evaluations, game=stage.game, task=stage.task)


def trains(train: Train) -> np.ndarray:
    return truth(train.draw, train.evaluations)


def known(verdict: Verdict) -> tuple[Any, ...]:
    certificate = verdict.certificate
    bounds = None if certificate is None else (certificate.upper_bound, certificate.lower_bound)
    spent = verdict.n_retrainings, verdict.spot_checks
    return verdict.outcome, verdict.reasons, verdict.claim_root, verdict.rounds, verdict.terms, bounds, spent


# Honest sessions, however they end.


@BOTH
@pytest.mark.parametrize("claim", [HONEST, OPPOSITE, WEAK], ids=["accepted", "rejected", "left open"])
def test_every_verdict_is_reached_again(asked: Terms, claim: Any) -> None:
    stage = play(asked, [rounds_of(asked)] * 2, claim=claim)
    assert_agrees(stage)


@pytest.mark.parametrize("stop", [True, False])
def test_a_session_that_could_have_stopped_is_followed_where_it_went(stop: bool) -> None:
    stage = play(OWN, [TWO_LOOKS] * 2, stop=stop)
    assert stage.verdict.n_retrainings == (180 if stop else 340)
    assert stage.said.count("Challenge") == (2 if stop else 3)
    assert_agrees(stage)


def test_a_session_whose_rounds_were_chosen_anew_is_followed() -> None:
    larger = Rounds(looks=(PILOT, replace(LOOK, n_families=90)))
    stage = play(OWN, [OWN_ROUNDS, larger])
    assert stage.verdict.rounds == larger
    assert_agrees(stage)


def test_a_false_answer_that_was_found_is_found_again() -> None:
    stage = play(DELEGATED, [DELEGATED_ROUNDS] * 2, lie=lambda outputs, *_: -outputs)
    assert stage.verdict.outcome is Outcome.REJECT
    assert_agrees(stage)


def test_a_broken_protocol_is_filed_and_followed() -> None:
    stage = play(DELEGATED, [DELEGATED_ROUNDS] * 2, lie=lambda outputs, *_: outputs[:-1])
    assert stage.said[-1] == "Aborted"
    assert_agrees(stage)


@pytest.mark.parametrize("make", [opened, challenged], ids=lambda make: make.__name__)
def test_a_party_that_left_is_recorded_and_followed(make: Callable[[], Stage]) -> None:
    """Where something was due from the prover."""
    lost = make()
    lost.effects = lost.session.handle(Lost("no answer within 60 s"))
    assert_agrees(lost)
    assert_agrees(make().received(Aborted(reason=Reason.BUSY, text="no time")))


@pytest.mark.parametrize("n_entries", range(9))
def test_a_verifier_that_leaves_while_its_own_work_is_due_makes_no_verdict(n_entries: int) -> None:
    """An accepted session cut short: a verifier cannot sign a REJECT of it unless the claim was still due."""
    left = Entry(Sender.VERIFIER, Aborted(reason=Reason.FAILED, text="the prover broke the protocol: anything"))
    cut = filed([*entries_of(OWN)[:n_entries], left], OWN)
    if n_entries == 1:
        assert recheck(cut).outcome is Outcome.REJECT, "the verifier's word alone"
    else:
        with pytest.raises(MalformedMessage, match="transcript: expected"):
            recheck(cut)


@pytest.mark.parametrize("across", Across)
def test_every_statement_over_targets_is_followed(across: Across) -> None:
    assert_agrees(play(replace(OWN, across=across), [OWN_ROUNDS] * 2))


# Dishonest ones: each entry tampered with, under a signature that fits.


def opening(entry: Entry) -> dict[str, Message]:
    made = entry.message
    assert isinstance(made, Opening)
    return {"another task": replace(made, task_digest=Digest(bytes(32)))}


def claim(entry: Entry) -> dict[str, Message]:
    made = entry.message
    assert isinstance(made, ClaimCommitted)
    scores = made.claim.scores.copy()
    scores[0, 0] += 1e-9
    return {
        "another claim": committed(OPPOSITE),
        "scores that were not signed": replace(made, claim=replace(made.claim, scores=scores)),
        "a signature of nothing": replace(made, signed=replace(made.signed, signature=bytes(64))),
        "another prover's key": replace(made, signed=replace(made.signed, public_key=OTHER_KEY.public)),
    }


def rounds(entry: Entry) -> dict[str, Message]:
    made = entry.message
    assert isinstance(made, RoundsChosen)
    looks, n_checks = made.rounds.looks, made.rounds.n_checks
    faulty = {
        "one check more": Rounds(looks=looks, n_checks=n_checks + 1),
        "no look": Rounds(looks=looks[:1], n_checks=n_checks),
        "another pilot": Rounds(looks=(replace(PILOT, n_families=11), looks[1]), n_checks=n_checks),
        "the pilot twice": Rounds(looks=(PILOT, PILOT), n_checks=n_checks),
        "a look of one pair": Rounds(looks=(PILOT, replace(looks[1], n_families=1)), n_checks=n_checks),
        "no complements": Rounds(
            looks=(PILOT, replace(looks[1], complements=False, bases=Bases.DRAWN)), n_checks=n_checks
        ),
        "every subset": Rounds(
            looks=(PILOT, replace(looks[1], complements=False, bases=Bases.ALL, keep_16=0)), n_checks=n_checks
        ),
        "Algorithm 1's": few_rounds(),
    }
    return {name: RoundsChosen(rounds=faulty_rounds) for name, faulty_rounds in faulty.items()}


def challenge(entry: Entry) -> dict[str, Message]:
    made = entry.message
    assert isinstance(made, Challenge)
    return {
        "another seed": replace(made, draw=replace(made.draw, seed=seed_of(bytes(32)))),
        "another design": replace(made, draw=replace(made.draw, design=replace(made.draw.design, n_families=81))),
        "other bases": replace(
            made,
            draw=replace(
                made.draw,
                design=replace(
                    made.draw.design, bases=Bases.DRAWN if made.draw.design.bases is Bases.TILTED else Bases.TILTED
                ),
            ),
        ),
        "another round": replace(made, round=made.round + 1),
    }


def answers(entry: Entry) -> dict[str, Message]:
    made = entry.message
    assert isinstance(made, Answers)
    outputs = made.outputs.copy()
    outputs[0] += 1e-9
    return {
        "an output changed": replace(made, outputs=outputs),
        "an output left out": replace(made, outputs=made.outputs[:-1]),
        "another root": replace(made, root=Digest(bytes(32))),
        "a signature of nothing": replace(made, signature=bytes(64)),
        "another round": replace(made, round=0),
    }


def retraining(entry: Entry) -> dict[str, Message]:
    made = entry.message
    assert isinstance(made, Retrained)
    return {
        "an output outside its range": replace(
            made, outputs=np.where(made.outputs == made.outputs[3], BOUND + 1, made.outputs)
        ),
        "one output less": replace(made, outputs=made.outputs[:-1], evaluations=made.evaluations[:-1]),
        "other evaluations": replace(made, evaluations=made.evaluations + 1),
        "two targets": replace(made, outputs=np.hstack([made.outputs, made.outputs])),
        "another round": replace(made, round=made.round + 1),
        "another check seed": replace(made, check_seed=seed_of(SECOND)),
        "outputs of the mirror image": replace(made, outputs=-made.outputs),
    }


def closing(entry: Entry) -> dict[str, Message]:
    made = entry.message
    assert isinstance(made, Closing)
    return {
        "REJECT": replace(made, outcome=Outcome.REJECT),
        "another reason": replace(made, reason=made.reason.replace("most 0.0", "most 0.00")),
    }


TAMPER: dict[str, Callable[[Entry], dict[str, Message]]] = {
    "Opening": opening, "ClaimCommitted": claim, "RoundsChosen": rounds, "Challenge": challenge, "Answers": answers,
    "Retrained": retraining, "Closing": closing,
}  # fmt: skip
CASES = [
    pytest.param(asked, place, name, id=f"{asked.answers.value} {place} {type(entry.message).__name__}: {name}")
    for asked in (OWN, DELEGATED)
    for place, entry in enumerate(entries_of(asked))
    for name in TAMPER[type(entry.message).__name__](entry)
    if (asked.answers, place, name) != (Who.DELEGATED, 2, "one check more")  # allowed: all but the pilot is replaced
]


@pytest.mark.parametrize(("asked", "place", "name"), CASES)
def test_no_entry_can_be_another_than_follows_from_the_others(asked: Terms, place: int, name: str) -> None:
    """Where the session is delegated and of one target, the pilot cancels out of the verdict: retraining finds it."""
    entries = entries_of(asked)
    recheck(filed(entries, asked), trains)
    entry = entries[place]
    message = TAMPER[type(entry.message).__name__](entry)[name]
    assert message.digest != entry.message.digest or isinstance(message, ClaimCommitted | Answers)
    entries[place] = replace(entry, message=message)
    with pytest.raises(MalformedMessage, match="transcript: "):
        recheck(filed(entries, asked), trains)
    if place > 4:
        with pytest.raises(MalformedMessage, match="transcript: "):
            recheck(filed(entries, asked))


@BOTH
def test_no_entry_can_be_left_out_said_twice_moved_or_said_by_the_other(asked: Terms) -> None:
    whole = entries_of(asked)
    recheck(filed(whole, asked))
    for i, entry in enumerate(whole):
        other = Sender.PROVER if entry.sender is Sender.VERIFIER else Sender.VERIFIER
        for faulty in (
            whole[:i] + whole[i + 1 :],
            whole[: i + 1] + whole[i:],
            whole[:i],
            [*whole[:i], replace(entry, sender=other), *whole[i + 1 :]],
            [*whole[:i], replace(entry, private=not entry.private), *whole[i + 1 :]],
            [*whole[:i], *whole[i : i + 2][::-1], *whole[i + 2 :]] if i + 1 < len(whole) else [],
        ):
            with pytest.raises(MalformedMessage, match="transcript: "):
                recheck(filed(faulty, asked))


def test_nothing_comes_after_the_verdict() -> None:
    entries = [*entries_of(OWN), Entry(Sender.VERIFIER, Aborted(reason=Reason.FAILED, text="wait"))]
    with pytest.raises(MalformedMessage, match="expected nothing after the verdict"):
        recheck(filed(entries, OWN))


def test_a_false_answer_cannot_be_filed_as_found_right() -> None:
    """The verifier that lets a liar off: it records the answer in place of what training gave."""
    stage = challenged()
    outputs = truth(stage.draw)
    stage.received(stage.answers(outputs * 0.99)).drawn(THIRD)
    stage.trained(outputs[stage.train.evaluations] * 0.99)
    assert stage.verdict.outcome is Outcome.ACCEPT
    assert recheck(stage.filed()).outcome is Outcome.ACCEPT  # believed, it says so
    with pytest.raises(MalformedMessage, match=r"output of evaluation \d+ is not what training gives"):
        recheck(stage.filed(), lambda train: retrained(stage, train))


def test_own_outputs_that_were_made_up_are_found_by_training_again() -> None:
    stage = self_challenged()
    stage.trained(truth(stage.train.draw) * 0.98)
    with pytest.raises(MalformedMessage, match="is not what training gives"):
        recheck(stage.filed(), lambda train: retrained(stage, train))
    honest = self_challenged().trained()
    off = recheck(honest.filed(), lambda train: retrained(honest, train) + 0.9e-3)  # within the tolerance
    assert off.outcome is Outcome.ACCEPT
    with pytest.raises(MalformedMessage, match="output of evaluation 0 is not what training gives"):
        recheck(honest.filed(), lambda train: retrained(honest, train) + 1.1e-3)


def test_a_training_that_gives_no_number_here_is_no_agreement() -> None:
    honest = self_challenged().trained()
    with pytest.raises(MalformedMessage, match="is not what training gives"):
        recheck(honest.filed(), lambda train: retrained(honest, train) * np.nan)


def test_another_signature_than_the_verifiers_is_refused() -> None:
    signed = filed(entries_of(OWN), OWN)
    for change in ({"public_key": KEY.public}, {"signature": bytes(64)}, {"entries": signed.entries[:-1]}):
        with pytest.raises(CommitmentError, match="transcript: "):
            recheck(replace(signed, **change))


@pytest.mark.parametrize(
    "asked",
    [
        replace(OWN, epsilon=0.01),
        replace(OWN, delta=1e-4),
        replace(OWN, across=Across.EVERY),
        replace(OWN, answers=Who.DELEGATED),
        replace(OWN, kurtosis=7.0),
        replace(OWN, kurtosis=2.0),
        replace(OWN, kurtosis=None),
        replace(OWN, method="algorithm1"),
        replace(OWN, method="algorithm1", kurtosis=None, answers=Who.DELEGATED),
        replace(OWN, method="no such method"),
    ],
    ids=lambda asked: f"{asked.method} {asked.answers.value} {asked.across.value} {asked.epsilon} {asked.kurtosis}",
)
def test_a_session_cannot_be_filed_on_other_terms(asked: Terms) -> None:
    with pytest.raises(MalformedMessage, match="transcript: "):
        recheck(filed(entries_of(OWN), asked))


def test_other_rounds_chosen_at_first_than_drawn_are_refused() -> None:
    """The pilot is all of the first choice that is ever drawn; the rest may be replaced, and the pilot not."""
    entries = entries_of(OWN)
    larger = RoundsChosen(rounds=Rounds(looks=(PILOT, replace(LOOK, n_families=300))))
    entries[2] = replace(entries[2], message=larger)
    assert recheck(filed(entries, OWN)).outcome is Outcome.ACCEPT
    entries[5] = replace(entries[5], message=RoundsChosen(rounds=Rounds(looks=(LOOK, LOOK))))
    with pytest.raises(MalformedMessage, match="transcript: "):
        recheck(filed(entries, OWN))


def test_rounds_chosen_again_where_nobody_asked_are_refused() -> None:
    """After a look that decided nothing, a verifier would like to change its mind about the next."""
    stage = play(OWN, [TWO_LOOKS] * 2, stop=False)
    entries = list(stage.session.transcript.entries)
    again = Entry(Sender.VERIFIER, RoundsChosen(rounds=rounds_of(OWN, LOOK, LOOK)), private=True)
    assert type(entries[8].message) is Challenge
    with pytest.raises(MalformedMessage, match="transcript: "):
        recheck(filed([*entries[:8], again, *entries[8:]], OWN))


def test_an_abort_keeps_its_words_and_its_sender() -> None:
    stage = challenged()
    stage.effects = stage.session.handle(Lost("no answer within 60 s"))
    entries = list(stage.session.transcript.entries)
    last = entries[-1]
    assert recheck(filed(entries, DELEGATED)).reasons == ("no answer within 60 s",)
    said = replace(last, message=Aborted(reason=Reason.BUSY, text="no answer within 60 s"))
    assert recheck(filed([*entries[:-1], said], DELEGATED)).outcome is Outcome.REJECT  # the code is the shell's
    with pytest.raises(MalformedMessage, match="transcript: "):
        recheck(filed([*entries[:-1], replace(last, private=True)], DELEGATED))
    answered = challenged().answers(truth(challenged().draw)[:-1])  # which break the protocol
    broken = [*entries[:-1], Entry(Sender.PROVER, answered), replace(said, sender=Sender.PROVER)]
    with pytest.raises(MalformedMessage, match="transcript: "):
        recheck(filed(broken, DELEGATED))


POOL = [entry for asked in (OWN, DELEGATED) for entry in entries_of(asked)]


@settings(max_examples=50)
@given(
    asked=st.sampled_from([OWN, DELEGATED, replace(DELEGATED, method="algorithm1", kurtosis=None)]),
    changes=st.lists(
        st.tuples(
            st.sampled_from(["put", "drop", "insert"]), st.integers(0, 9), st.sampled_from(POOL), st.booleans(),
            st.booleans(),
        ),
        max_size=3,
    ),
)  # fmt: skip
def test_whatever_is_filed_gives_a_verdict_or_is_refused(
    asked: Terms, changes: list[tuple[str, int, Entry, bool, bool]]
) -> None:
    """Nothing else is raised, and an ACCEPT comes of the honest entries alone."""
    whole = entries_of(OWN if asked is OWN else DELEGATED)
    entries = list(whole)
    for how, place, other, swap_sender, swap_private in changes:
        sender = other.sender if not swap_sender else Sender.PROVER
        entry = replace(other, sender=sender, private=other.private != swap_private)
        if how == "insert":
            entries.insert(place, entry)
        elif place < len(entries):
            entries[place : place + 1] = [entry] if how == "put" else []
    try:
        verdict = recheck(filed(entries, asked))
    except PeerError:
        return
    same = Transcript(TASK.digest, entries).head == Transcript(TASK.digest, whole).head
    assert same or verdict.outcome is not Outcome.ACCEPT


def test_answers_recomputed_for_a_changed_challenge_need_the_provers_key() -> None:
    """What a third party learns of a delegated session is bound to the prover: its answers fit one challenge alone."""
    entries = entries_of(DELEGATED)
    made = entries[6].message
    assert isinstance(made, Challenge)
    elsewhere = replace(made, draw=replace(made.draw, seed=seed_of(bytes(32))))
    outputs = truth(elsewhere.draw)
    root = MerkleTree(answer_leaves(TASK, elsewhere.draw, outputs)).root
    spoken = Transcript(TASK.digest, [*entries[:6], replace(entries[6], message=elsewhere)]).spoken
    for key, fits in ((OTHER_KEY, False), (KEY, True)):
        signature = key.sign(Answers.digest_of(spoken, 1, root))
        forged = Answers(round=1, outputs=outputs, root=root, signature=signature)
        rest = [replace(entries[6], message=elsewhere), Entry(Sender.PROVER, forged)]
        left = Entry(Sender.VERIFIER, Aborted(reason=Reason.FAILED, text="enough"))
        # Answers that fit leave the verifier's checks due; others end the session before.
        message = "expected the verifier's own work" if fits else "expected entry 7 to be the Aborted that follows"
        with pytest.raises(MalformedMessage, match=message):
            recheck(filed([*entries[:6], *rest, left], DELEGATED))
    assert len(outputs) == 2 * N_PAIRS
