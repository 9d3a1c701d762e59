"""The verifier's record, to protobuf and back: terms, transcript entries, the signed transcript.

The same promises as ``protocol.wire.codec``. What is here is filed, never sent.
"""

# ruff: noqa: D103 - a pair to and from a message promises what the head says, and needs no sentence of its own

from __future__ import annotations

from collections.abc import Callable

from protocol.certificate.registry import METHODS
from protocol.certificate.terms import Across, Rounds, Terms
from protocol.certificate.terms import Answers as WhoAnswers
from protocol.commitments import PublicKey
from protocol.commitments.signature import SIGNATURE_BYTES
from protocol.errors import MalformedMessage
from protocol.session.messages import (
    Aborted,
    Answers,
    Challenge,
    ClaimCommitted,
    Closing,
    Message,
    Opening,
    Retrained,
    RoundsChosen,
    Sender,
)
from protocol.session.transcript import Entry, SignedTranscript
from protocol.wire import codec
from protocol.wire.fields import enum_from_proto, exactly, refusing, require_present
from protocol.wire.generated import attribution_pb2 as pb
from protocol.wire.limits import MAX_ENTRIES, MAX_LOOKS
from protocol.wire.task_codec import task_from_proto, task_to_proto

_ACROSS = {
    Across.POOLED: pb.ACROSS_POOLED,
    Across.MEAN: pb.ACROSS_MEAN,
    Across.EVERY: pb.ACROSS_EVERY,
}
_ANSWERS = {WhoAnswers.OWN: pb.WHO_ANSWERS_OWN, WhoAnswers.DELEGATED: pb.WHO_ANSWERS_DELEGATED}
_SENDER = {Sender.PROVER: pb.SENDER_PROVER, Sender.VERIFIER: pb.SENDER_VERIFIER}
_MESSAGE_FROM: dict[str | None, Callable[[pb.Entry], Message]] = {
    "opening": lambda entry: codec.opening_from_proto(entry.opening),
    "claim_committed": lambda entry: codec.claim_committed_from_proto(entry.claim_committed),
    "rounds_chosen": lambda entry: RoundsChosen(rounds=rounds_from_proto(entry.rounds_chosen)),
    "challenge": lambda entry: codec.challenge_from_proto(entry.challenge),
    "answers": lambda entry: codec.answers_from_proto(entry.answers),
    "retrained": lambda entry: codec.retrained_from_proto(entry.retrained),
    "closing": lambda entry: codec.closing_from_proto(entry.closing),
    "aborted": lambda entry: codec.aborted_from_proto(entry.aborted),
}


def terms_to_proto(terms: Terms) -> pb.Terms:
    return pb.Terms(
        epsilon=terms.epsilon,
        delta=terms.delta,
        across=_ACROSS[terms.across],
        answers=_ANSWERS[terms.answers],
        method=terms.method,
        kurtosis=terms.kurtosis,
    )


def terms_from_proto(message: pb.Terms) -> Terms:
    if message.method not in METHODS:
        raise MalformedMessage(f"terms: expected a certificate of {', '.join(METHODS)}, got another")
    with refusing("terms"):
        return Terms(
            epsilon=message.epsilon,
            delta=message.delta,
            across=enum_from_proto(_ACROSS, message.across, "terms' across"),
            answers=enum_from_proto(_ANSWERS, message.answers, "terms' answers"),
            method=message.method,
            kurtosis=message.kurtosis if message.HasField("kurtosis") else None,
        )


def rounds_to_proto(rounds: Rounds) -> pb.Rounds:
    return pb.Rounds(looks=[codec.design_to_proto(look) for look in rounds.looks], n_checks=rounds.n_checks)


def rounds_from_proto(message: pb.Rounds) -> Rounds:
    if len(message.looks) > MAX_LOOKS:
        raise MalformedMessage(f"rounds: expected at most {MAX_LOOKS} looks, got {len(message.looks)}")
    with refusing("rounds"):
        looks = tuple(codec.design_from_proto(look) for look in message.looks)
        return Rounds(looks=looks, n_checks=message.n_checks)


def entry_to_proto(entry: Entry) -> pb.Entry:
    message = pb.Entry(sender=_SENDER[entry.sender], private=entry.private)
    match entry.message:
        case Opening() as opening:
            message.opening.CopyFrom(codec.opening_to_proto(opening))
        case ClaimCommitted() as committed:
            message.claim_committed.CopyFrom(codec.claim_committed_to_proto(committed))
        case RoundsChosen(rounds=rounds):
            message.rounds_chosen.CopyFrom(rounds_to_proto(rounds))
        case Challenge() as challenge:
            message.challenge.CopyFrom(codec.challenge_to_proto(challenge))
        case Answers() as answers:
            message.answers.CopyFrom(codec.answers_to_proto(answers))
        case Retrained() as retrained:
            message.retrained.CopyFrom(codec.retrained_to_proto(retrained))
        case Closing() as closing:
            message.closing.CopyFrom(codec.closing_to_proto(closing))
        case Aborted() as aborted:
            message.aborted.CopyFrom(codec.aborted_to_proto(aborted))
    return message


def entry_from_proto(message: pb.Entry) -> Entry:
    sender = enum_from_proto(_SENDER, message.sender, "entry's sender")
    from_proto = _MESSAGE_FROM.get(message.WhichOneof("message"))
    if from_proto is None:
        raise MalformedMessage("transcript entry: expected a message, got none")
    return Entry(sender, from_proto(message), message.private)


def signed_transcript_to_proto(signed: SignedTranscript) -> pb.SignedTranscript:
    return pb.SignedTranscript(
        task=task_to_proto(signed.task),
        terms=terms_to_proto(signed.terms),
        entries=[entry_to_proto(entry) for entry in signed.entries],
        public_key=signed.public_key.raw,
        signature=signed.signature,
    )


def signed_transcript_from_proto(message: pb.SignedTranscript) -> SignedTranscript:
    require_present(message, "task", "terms", what="transcript")
    if len(message.entries) > MAX_ENTRIES:
        raise MalformedMessage(f"transcript: expected at most {MAX_ENTRIES} entries, got {len(message.entries)}")
    with refusing("transcript"):
        return SignedTranscript(
            task=task_from_proto(message.task),
            terms=terms_from_proto(message.terms),
            entries=tuple(entry_from_proto(entry) for entry in message.entries),
            public_key=PublicKey(message.public_key),
            signature=exactly(message.signature, SIGNATURE_BYTES, "transcript's signature"),
        )
