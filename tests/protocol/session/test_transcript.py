"""The transcript chains everything said: no entry can be changed, moved, dropped, added or relabelled unseen."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from protocol.certificate.terms import Across, Rounds, Terms
from protocol.certificate.terms import Answers as Who
from protocol.encoding import digest
from protocol.errors import CommitmentError
from protocol.game.sampling import Bases
from protocol.session.messages import Closing, Opening, Outcome, RoundsChosen, Sender
from protocol.session.transcript import Entry, SignedTranscript, Transcript, sign_transcript
from tests.protocol.session.stage import (
    ANSWERED,
    DELEGATED,
    DELEGATED_ROUNDS,
    KEY,
    NONCE,
    OTHER_KEY,
    PILOT,
    TASK,
    answered,
)

OPENING = Entry(Sender.VERIFIER, Opening(version=1, nonce=NONCE, task_digest=TASK.digest))
CLOSING = Entry(Sender.VERIFIER, Closing(outcome=Outcome.ACCEPT, reason="good"))


def whole() -> Transcript:
    """Of a delegated session to its verdict: two choices of rounds, a pilot, answers and what was rechecked."""
    transcript = answered().trained().session.transcript
    assert [i for i, entry in enumerate(transcript.entries) if entry.private] == [2, 3, 4, 5, 8]
    return transcript


def filed() -> SignedTranscript:
    return sign_transcript(TASK, DELEGATED, whole(), KEY)


def test_heads_are_chained_by_hand() -> None:
    start = digest("transcript", TASK.digest)
    said = ("verifier", "Opening", OPENING.message.digest)
    transcript = Transcript(TASK.digest)
    assert transcript.spoken == transcript.head == start
    transcript.append(OPENING)
    assert transcript.spoken == digest("spoken", start, *said)
    assert transcript.head == digest("entry", start, False, *said)


def test_a_private_entry_moves_the_head_and_not_what_was_spoken() -> None:
    transcript = Transcript(TASK.digest, [OPENING])
    spoken, head = transcript.spoken, transcript.head
    transcript.append(replace(CLOSING, private=True))
    assert transcript.spoken == spoken
    assert transcript.head != head


def test_a_transcript_made_of_entries_is_the_one_that_grew() -> None:
    grown = whole()
    made = Transcript(TASK.digest, list(grown.entries))
    assert (made.head, made.spoken, made.entries) == (grown.head, grown.spoken, grown.entries)


def tampered() -> dict[str, list[Entry]]:
    entries = whole().entries
    retrained, later = entries[8], replace(DELEGATED_ROUNDS, n_checks=1)
    return {
        "an entry dropped": entries[:-1],
        "the first entry dropped": entries[1:],
        "a choice of rounds dropped": [*entries[:5], *entries[6:]],
        "an entry twice": [*entries, entries[-1]],
        "two entries exchanged": [*entries[:7], entries[8], entries[7], entries[9]],
        "another sender": [replace(entries[0], sender=Sender.PROVER), *entries[1:]],
        "a private entry made public": [*entries[:8], replace(retrained, private=False), entries[9]],
        "other rounds": [*entries[:5], Entry(Sender.VERIFIER, RoundsChosen(rounds=later), True), *entries[6:]],
        "another outcome": [*entries[:-1], Entry(Sender.VERIFIER, Closing(outcome=Outcome.REJECT, reason="good"))],
        "another nonce": [
            Entry(Sender.VERIFIER, Opening(version=1, nonce=bytes(16), task_digest=TASK.digest)), *entries[1:],
        ],
    }  # fmt: skip


@pytest.mark.parametrize("lie", tampered())
def test_a_tampered_transcript_does_not_fit_its_signature(lie: str) -> None:
    filed().check_signature()
    with pytest.raises(CommitmentError, match="transcript: the signature does not fit"):
        replace(filed(), entries=tuple(tampered()[lie])).check_signature()


def test_another_task_other_terms_or_another_key_do_not_fit_either() -> None:
    for change in (
        {"task": replace(TASK, seed=1)},
        {"terms": replace(DELEGATED, epsilon=0.2)},
        {"terms": replace(DELEGATED, answers=Who.OWN)},
        {"public_key": OTHER_KEY.public},
    ):
        with pytest.raises(CommitmentError, match="transcript: the signature does not fit"):
            replace(filed(), **change).check_signature()


def test_the_same_words_in_another_session_have_another_head() -> None:
    """The nonce is in every later head, so answers signed in one session fit no other."""
    other = Entry(Sender.VERIFIER, Opening(version=1, nonce=bytes(16), task_digest=TASK.digest))
    one, two = (Transcript(TASK.digest, [first, *whole().entries[1:7]]).spoken for first in (OPENING, other))
    assert one != two


TERMS = Terms(epsilon=0.1, delta=0.05, across=Across.POOLED, answers=Who.DELEGATED, method="moments", kurtosis=9.0)
OTHER_TERMS: dict[str, list[Any]] = {
    "epsilon": [0.2, 0.1000000000000001],
    "delta": [0.01],
    "across": [Across.MEAN, Across.EVERY],
    "answers": [Who.OWN],
    "method": ["algorithm1", ""],
    "kurtosis": [None, 8.0, 1.0],
}


def test_every_field_of_the_terms_is_under_the_verifiers_signature() -> None:
    assert sorted(OTHER_TERMS) == sorted(field.name for field in fields(Terms))
    others = [replace(TERMS, **{name: value}) for name, values in OTHER_TERMS.items() for value in values]
    head = whole().head
    assert len({SignedTranscript.digest_of(asked, head) for asked in (TERMS, *others)}) == len(others) + 1
    assert TERMS.digest == digest("terms", 0.1, 0.05, "pooled", "delegated", "moments", 9.0)
    assert replace(TERMS, kurtosis=None).digest == digest("terms", 0.1, 0.05, "pooled", "delegated", "moments", None)


def test_a_whole_number_in_terms_has_the_digest_of_its_float() -> None:
    assert replace(TERMS, kurtosis=9).digest == TERMS.digest


def test_every_field_of_the_rounds_is_in_their_digest() -> None:
    others = [
        replace(DELEGATED_ROUNDS, n_checks=DELEGATED_ROUNDS.n_checks + 1),
        replace(DELEGATED_ROUNDS, looks=(PILOT,)),
        replace(DELEGATED_ROUNDS, looks=(ANSWERED, PILOT)),
        *(replace(DELEGATED_ROUNDS, looks=(PILOT, replace(ANSWERED, **{name: value}))) for name, value in (
            ("n_families", 161), ("n_siblings", 2), ("keep_16", 1), ("complements", False), ("bases", Bases.TILTED),
        )),
    ]  # fmt: skip
    assert len({rounds.digest for rounds in (DELEGATED_ROUNDS, *others)}) == len(others) + 1
    assert Rounds(looks=(ANSWERED,), n_checks=3).digest == digest("rounds", [[160, 1, 0, True, "drawn"]], 3)
