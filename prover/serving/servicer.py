"""The service: decode, hand to the session, encode. No mathematics, no state of its own.

Requests come as bytes and are parsed here, so that whatever they are ends as a refusal of the catalogue. Every call
may be repeated (proto/SPEC.md, section 9): a caller whose connection broke asks again, a stream from where it was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from protocol.claim import Claim
from protocol.wire.chunks import (
    answers_chunks,
    answers_committed_to_proto,
    claim_chunks,
    claim_to_bytes,
    progress_to_proto,
)
from protocol.wire.codec import (
    aborted_from_proto,
    challenge_from_proto,
    closing_from_proto,
    open_response_to_proto,
    opening_from_proto,
)
from protocol.wire.fields import parse, require_present
from protocol.wire.generated import attribution_pb2 as pb
from protocol.wire.task_codec import task_to_proto
from prover.serving.limits import Limits
from prover.serving.live import Served
from prover.serving.refusals import Stopping, fail
from prover.serving.sessions import Sessions

M = TypeVar("M", bound=Message)

SERVICE = pb.DESCRIPTOR.services_by_name["Attribution"].full_name
"""The name that health and reflection know."""


class Servicer:
    """Answers the calls of ``Attribution``.

    Parameters
    ----------
    served : the task, and how sessions about it are made.
    sessions : those that there are.
    """

    def __init__(self, served: Served, sessions: Sessions, limits: Limits) -> None:
        self._task = pb.GetTaskResponse(
            task=task_to_proto(served.task), max_evaluations=limits.max_evaluations(served.task.n_targets)
        )
        self._sessions, self._limits = sessions, limits
        self._lock = threading.Lock()
        self._claim: tuple[Claim, bytes] | None = None

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what a gRPC server is given."""
        methods = {
            "GetTask": _unary(pb.GetTaskRequest, self._get_task),
            "Open": _unary(pb.OpenRequest, self._open),
            "GetClaim": _stream(pb.GetClaimRequest, self._get_claim),
            "Submit": _unary(pb.SubmitRequest, self._submit),
            "Watch": _stream(pb.WatchRequest, self._watch),
            "Close": _unary(pb.CloseRequest, self._close),
            "Abort": _unary(pb.AbortRequest, self._abort),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def _get_task(self, _: pb.GetTaskRequest) -> pb.GetTaskResponse:
        return self._task

    def _open(self, request: pb.OpenRequest) -> pb.OpenResponse:
        require_present(request, "opening", what="Open")
        opening = opening_from_proto(request.opening)
        return open_response_to_proto(opening, self._sessions.open(opening))

    def _get_claim(self, request: pb.GetClaimRequest, _: Callable[[], bool]) -> Iterator[pb.ClaimChunk]:
        with self._sessions.use(request.session_id) as session:
            yield from claim_chunks(self._bytes_of(session.committed().claim), request.offset)

    def _submit(self, request: pb.SubmitRequest) -> pb.SubmitResponse:
        require_present(request, "challenge", what="Submit")
        self._sessions.submit(request.session_id, challenge_from_proto(request.challenge))
        return pb.SubmitResponse()

    def _watch(self, request: pb.WatchRequest, is_heard: Callable[[], bool]) -> Iterator[pb.WatchResponse]:
        n_seen = -1
        with self._sessions.use(request.session_id) as session:
            while is_heard():
                round_ = session.wait(request.round, n_seen, self._limits.heartbeat_s)
                if round_.answers is not None:
                    yield from answers_chunks(round_.answers.outputs, request.first_answer)
                    yield answers_committed_to_proto(round_.answers)
                    return
                if self._sessions.is_stopping:
                    raise Stopping
                n_seen = round_.n_done
                yield progress_to_proto(n_seen, round_.total)

    def _close(self, request: pb.CloseRequest) -> pb.CloseResponse:
        require_present(request, "closing", what="Close")
        with self._sessions.use(request.session_id) as session:
            session.end(closing_from_proto(request.closing))
        return pb.CloseResponse()

    def _abort(self, request: pb.AbortRequest) -> pb.AbortResponse:
        require_present(request, "aborted", what="Abort")
        with self._sessions.use(request.session_id) as session:
            session.end(aborted_from_proto(request.aborted))
        return pb.AbortResponse()

    def _bytes_of(self, claim: Claim) -> bytes:
        """Return the claim's bytes, made once for all its readers: an honest server has one claim."""
        with self._lock:
            if self._claim is None or self._claim[0] is not claim:
                self._claim = (claim, claim_to_bytes(claim))
            return self._claim[1]


def _unary(kind: type[M], answer: Callable[[M], Message]) -> Any:
    def behave(request: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            return answer(parse(kind, request, kind.DESCRIPTOR.name)).SerializeToString()
        except Exception as error:  # noqa: BLE001 - the caller gets one line, the thread lives on
            fail(context, error)

    return grpc.unary_unary_rpc_method_handler(behave)


def _stream(kind: type[M], answer: Callable[[M, Callable[[], bool]], Iterator[Message]]) -> Any:
    def behave(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        try:
            for message in answer(parse(kind, request, kind.DESCRIPTOR.name), context.is_active):
                yield message.SerializeToString()
        except Exception as error:  # noqa: BLE001 - as above
            fail(context, error)

    return grpc.unary_stream_rpc_method_handler(behave)
