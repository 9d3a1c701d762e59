"""Claim files and transcript files, as bytes (proto/SPEC.md, section 11).

A file is one line that says what it is, then one protobuf message. Unlike on the wire, fields
that this version does not know are refused: a file outlives the program that wrote it, and
dropping a part of a record would change what it says. Reading and writing disks is the caller's.
"""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import EncodeError, Message

from protocol.claim import Claim
from protocol.errors import BudgetError, MalformedMessage
from protocol.session.messages import ClaimCommitted
from protocol.session.transcript import SignedTranscript
from protocol.task import Task
from protocol.wire.codec import signed_claim_from_proto, signed_claim_to_proto
from protocol.wire.fields import floats_from_bytes, floats_to_bytes, parse, refuse_unknown_fields, require_present
from protocol.wire.generated import attribution_pb2 as pb
from protocol.wire.limits import MAX_FILE_BYTES
from protocol.wire.record_codec import signed_transcript_from_proto, signed_transcript_to_proto
from protocol.wire.task_codec import task_from_proto, task_to_proto

M = TypeVar("M", bound=Message)

CLAIM_HEADER = b"attribution-proofs/1 claim\n"
TRANSCRIPT_HEADER = b"attribution-proofs/1 transcript\n"


def claim_file_to_bytes(task: Task, committed: ClaimCommitted) -> bytes:
    """Return a file that anyone can verify with no server; :class:`BudgetError` if it would be too large."""
    message = pb.ClaimFile(
        task=task_to_proto(task),
        signed_claim=signed_claim_to_proto(committed.signed),
        intercepts=floats_to_bytes(committed.claim.intercepts),
        scores=floats_to_bytes(committed.claim.scores),
    )
    return _to_bytes(CLAIM_HEADER, message, "claim file")


def claim_file_from_bytes(data: bytes) -> tuple[Task, ClaimCommitted]:
    """Return the task and the claim of a file, neither of them trusted yet.

    Raises
    ------
    MalformedMessage
        Not a claim file, a truncated or over-long one, or one whose parts are of different tasks.
    """
    message = _from_bytes(CLAIM_HEADER, pb.ClaimFile, data, "claim file")
    require_present(message, "task", "signed_claim", what="claim file")
    task = task_from_proto(message.task)
    signed = signed_claim_from_proto(message.signed_claim)
    if signed.task_digest != task.digest:
        raise MalformedMessage("claim file: expected a claim about the file's own task, got one about another")
    claim = Claim(
        task_digest=task.digest,
        intercepts=floats_from_bytes(message.intercepts, (task.n_targets,), "claim file's intercepts"),
        scores=floats_from_bytes(message.scores, (task.n_targets, task.n_units), "claim file's scores"),
    )
    return task, ClaimCommitted(signed=signed, claim=claim)


def transcript_to_bytes(signed: SignedTranscript) -> bytes:
    """Return a signed transcript as a file; :class:`BudgetError` if it would be too large."""
    return _to_bytes(TRANSCRIPT_HEADER, signed_transcript_to_proto(signed), "transcript file")


def transcript_from_bytes(data: bytes) -> SignedTranscript:
    """Return the transcript of a file, its signature not yet checked.

    Raises
    ------
    MalformedMessage
        Not a transcript file, or one that is truncated, over-long or says what cannot be said.
    """
    return signed_transcript_from_proto(_from_bytes(TRANSCRIPT_HEADER, pb.SignedTranscript, data, "transcript file"))


def _to_bytes(header: bytes, message: Message, what: str) -> bytes:
    try:
        body = message.SerializeToString()
    except EncodeError as error:
        raise BudgetError(f"{what}: expected at most {MAX_FILE_BYTES} bytes, got more") from error
    if len(header) + len(body) > MAX_FILE_BYTES:
        raise BudgetError(f"{what}: expected at most {MAX_FILE_BYTES} bytes, got {len(body)}")
    return header + body


def _from_bytes(header: bytes, kind: type[M], data: bytes, what: str) -> M:
    if len(data) > MAX_FILE_BYTES:
        raise MalformedMessage(f"{what}: expected at most {MAX_FILE_BYTES} bytes, got {len(data)}")
    if not data.startswith(header):
        raise MalformedMessage(f"{what}: expected a file that begins with {header.decode().strip()!r}, got another")
    message = parse(kind, data[len(header) :], what)
    refuse_unknown_fields(message, what)
    return message
