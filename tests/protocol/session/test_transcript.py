"""The transcript chains everything said: no entry can be changed, moved, dropped, added or relabelled unseen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocol.certificate.terms import Assurance
from protocol.encoding import digest
from protocol.errors import CommitmentError
from protocol.session.messages import Closing, Opening, Outcome, Sender
from protocol.session.transcript import Entry, SignedTranscript, Transcript, sign_transcript
from tests.protocol.session.stage import KEY, NONCE, OTHER_KEY, TASK, answered, terms

OPENING = Entry(Sender.VERIFIER, Opening(version=1, nonce=NONCE, task_digest=TASK.digest))
CLOSING = Entry(Sender.VERIFIER, Closing(outcome=Outcome.ACCEPT, reason="good"))


def whole() -> Transcript:
    """Of an audited session to its verdict."""
    transcript = answered().trained().session.transcript
    assert [entry.private for entry in transcript.entries] == [False, False, False, False, True, False]
    return transcript


def filed() -> SignedTranscript:
    return sign_transcript(TASK, terms(), whole(), KEY)


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
    retrained = entries[4]
    return {
        "an entry dropped": entries[:-1],
        "the first entry dropped": entries[1:],
        "an entry twice": [*entries, entries[-1]],
        "two entries exchanged": [*entries[:3], entries[4], entries[3], entries[5]],
        "another sender": [replace(entries[0], sender=Sender.PROVER), *entries[1:]],
        "a private entry made public": [*entries[:4], replace(retrained, private=False), entries[5]],
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
        {"terms": terms(epsilon=0.2)},
        {"terms": terms(Assurance.PROVED)},
        {"public_key": OTHER_KEY.public},
    ):
        with pytest.raises(CommitmentError, match="transcript: the signature does not fit"):
            replace(filed(), **change).check_signature()


def test_the_same_words_in_another_session_have_another_head() -> None:
    """The nonce is in every later head, so answers signed in one session fit no other."""
    other = Entry(Sender.VERIFIER, Opening(version=1, nonce=bytes(16), task_digest=TASK.digest))
    one, two = (Transcript(TASK.digest, [first, *whole().entries[1:3]]).spoken for first in (OPENING, other))
    assert one != two
