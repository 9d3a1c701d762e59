"""The catalogue: from an error to a gRPC status and back (proto/SPEC.md, section 9).

Imports no gRPC: a status is its name, so that both shells and the tests can use the one table.
The status is what any gRPC client understands; the ``Reason`` beside it, in trailing metadata
under ``ERROR_KEY``, is what ours acts on. What a peer wrote is shown only as one short line
without control characters; what went wrong inside us is not told to the peer.
"""

from __future__ import annotations

from protocol.errors import (
    AttributionProofsError,
    BudgetError,
    MalformedMessage,
    PeerError,
    Reason,
    Refused,
    TransportError,
)
from protocol.wire.codec import REASON
from protocol.wire.fields import enum_from_proto, one_line, parse
from protocol.wire.generated import attribution_pb2 as pb
from protocol.wire.limits import MAX_MESSAGE_BYTES

ERROR_KEY = "attribution-error-bin"

STATUS_OF = {
    Reason.MALFORMED: "INVALID_ARGUMENT",
    Reason.OUT_OF_ORDER: "FAILED_PRECONDITION",
    Reason.BAD_COMMITMENT: "DATA_LOSS",
    Reason.WRONG_TASK: "NOT_FOUND",
    Reason.TOO_LARGE: "OUT_OF_RANGE",
    Reason.BUSY: "RESOURCE_EXHAUSTED",
    Reason.FAILED: "ABORTED",
}
"""One status a reason. UNAVAILABLE and DEADLINE_EXCEEDED are left to gRPC: only they mean "try again"."""

_ADVICE = {
    "UNAVAILABLE": "check the address and that the server is running",
    "DEADLINE_EXCEEDED": "raise the time-out or try again",
    "UNIMPLEMENTED": "check that the address is a prover's",
    "CANCELLED": "try again",
    "RESOURCE_EXHAUSTED": f"a message was larger than {MAX_MESSAGE_BYTES} bytes; check that the address is a prover's",
}

_MAX_DETAIL_BYTES = 8 << 10  # gRPC's own soft limit on metadata


def reason_of(error: AttributionProofsError) -> Reason:
    """Return the reason that a peer is given for ``error``."""
    if isinstance(error, PeerError):
        return error.reason
    return Reason.TOO_LARGE if isinstance(error, BudgetError) else Reason.FAILED


def status_of(error: AttributionProofsError) -> str:
    """Return the name of the gRPC status for ``error``."""
    return STATUS_OF[reason_of(error)]


def message_of(error: AttributionProofsError) -> str:
    """Return the line that a peer is shown: ours, when the peer or a budget is the cause, else a general one."""
    if isinstance(error, PeerError | BudgetError):
        return one_line(str(error))
    return "the other party failed; its own log says why"


def detail_of(error: AttributionProofsError) -> bytes:
    """Return the trailing metadata's value, under :data:`ERROR_KEY`."""
    return pb.ErrorDetail(reason=REASON[reason_of(error)], message=message_of(error)).SerializeToString()


def error_from_status(status: str, message: str, detail: bytes | None) -> AttributionProofsError:
    """Return the error to raise for a call that failed.

    Parameters
    ----------
    status : name of the gRPC status.
    message : gRPC's text; shown when there is no detail.
    detail : the trailing metadata's value, or None.

    Returns
    -------
    Refused
        With the peer's reason, when it sent a valid detail: the peer's own word.
    TransportError
        Otherwise: the network's, or a server that does not speak this protocol.
    """
    refused = _refused_from_bytes(detail) if detail is not None else None
    if refused is not None:
        return refused
    advice = _ADVICE.get(status, "check the address and the server's log")
    return TransportError(f"expected an answer, got {one_line(status)} ({one_line(message)}); {advice}")


def _refused_from_bytes(detail: bytes) -> Refused | None:
    if len(detail) > _MAX_DETAIL_BYTES:
        return None
    try:
        message = parse(pb.ErrorDetail, detail, "error detail")
        reason = enum_from_proto(REASON, message.reason, "error's reason")
    except MalformedMessage:
        return None
    return Refused(f"the other party refused ({reason.value}): {one_line(message.message)}", reason)
