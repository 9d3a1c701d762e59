"""A prover at the other end of a network: channel, deadlines, tries again, resumption.

Owns the calls and their order for one message of the session. Refuses to know what the messages mean: nothing is
believed here, and commitments are the session's to check. Memory grows with what came and fits the verifier's own task,
never with what was announced.

A server that goes away may come back: every call is idempotent, streams resume at the byte or answer that is missing,
and a session that a restarted server forgot is opened again, on the same claim. Each wait has an end (``config``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

import grpc
from cryptography import x509
from google.protobuf.message import Message

from protocol.errors import (
    ArgumentError,
    AttributionProofsError,
    CommitmentError,
    DataError,
    InternalError,
    MalformedMessage,
    Reason,
    Refused,
    TransportError,
)
from protocol.session.messages import Aborted, Answers, Challenge, ClaimCommitted, Closing, Opening, SignedClaim
from protocol.task import Task
from protocol.wire.chunks import AnswersAssembler, ClaimAssembler, answers_committed_from_proto, progress_from_proto
from protocol.wire.codec import (
    aborted_to_proto,
    challenge_to_proto,
    closing_to_proto,
    open_response_from_proto,
    opening_to_proto,
    session_id_of,
)
from protocol.wire.errors import ERROR_KEY, error_from_status
from protocol.wire.fields import FLOAT_BYTES, parse, require_present
from protocol.wire.generated import attribution_pb2 as pb
from protocol.wire.limits import MAX_MESSAGE_BYTES
from protocol.wire.task_codec import task_from_proto
from verifier.config import Address, Patience

M = TypeVar("M", bound=Message)
R = TypeVar("R")

OnProgress: TypeAlias = Callable[[int, int], None]
"""Called with what is done and the total: bytes of a claim, trainings of a challenge. For display only."""

DEFAULT_PATIENCE = Patience()

_SERVICE = pb.DESCRIPTOR.services_by_name["Attribution"].full_name
_PASSING = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "UNKNOWN")
"""What a connection that broke, or a server that stops, ends a call with; anything else is meant."""


def unseen(_done: int, _total: int) -> None:
    """Show no progress."""


class ProverClient:
    """One prover's server, and one session with it. For one thread.

    Parameters
    ----------
    address : ``HOST:PORT``.
    tls_ca : PEM certificates to trust, in the place of the system's; asks for TLS on a loopback address, too.
    insecure : plaintext to another machine.

    Raises
    ------
    ArgumentError
        Not an address, or both ``tls_ca`` and ``insecure``.
    DataError
        ``tls_ca`` cannot be read.
    """

    def __init__(
        self,
        address: str,
        *,
        tls_ca: Path | None = None,
        insecure: bool = False,
        patience: Patience = DEFAULT_PATIENCE,
    ) -> None:
        if insecure and tls_ca is not None:
            raise ArgumentError("expected certificates to trust or plaintext, got both")
        self.address, self._patience = Address.parse(address), patience
        self._channel = _channel(self.address, tls_ca, insecure)
        self._was_heard = False
        self._task: Task | None = None
        self.max_evaluations: int | None = None
        self._opened: tuple[Opening, SignedClaim] | None = None

    def close(self) -> None:
        """Let go of the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get_task(self) -> Task:
        """Return the task that the prover has a claim for, not trusted yet.

        Sets ``max_evaluations``, the most trainings that it says a session may ask for; None where it does not say.

        Raises
        ------
        TransportError
            No prover answers at the address.
        PeerError
            What answers there sent no task.
        """
        response = self._call("GetTask", pb.GetTaskRequest(), pb.GetTaskResponse)
        require_present(response, "task", what="answer to GetTask")
        self._task, self.max_evaluations = task_from_proto(response.task), response.max_evaluations or None
        return self._task

    def exchange(
        self, message: Opening | Challenge | Closing | Aborted, *, on_progress: OnProgress = unseen
    ) -> ClaimCommitted | Answers | None:
        """Say ``message`` and return the answer: to an opening the whole claim, to a challenge all answers.

        Raises
        ------
        TransportError
            The server cannot be reached, or went away for longer than is waited.
        PeerError
            It sent what no honest party sends, or declined (``Refused``).
        BudgetError
            The answer would be larger than is taken; the message was not sent.
        """
        match message:
            case Opening():
                return self._open(message, on_progress)
            case Challenge():
                return self._challenge(message, on_progress)
            case Closing() | Aborted():
                self._say_last(message)
                return None

    # The opening: the claim's commitment, then its bytes

    def _open(self, opening: Opening, on_progress: OnProgress) -> ClaimCommitted:
        task = self._task or self.get_task()
        if task.digest != opening.task_digest:
            raise Refused(
                f"expected a claim about task {opening.task_digest.hex()[:16]}, got a prover of task "
                f"{task.digest.hex()[:16]}",
                Reason.WRONG_TASK,
            )
        claim = ClaimAssembler(task_digest=task.digest, n_targets=task.n_targets, n_units=task.n_units)
        signed = self._commitment(opening, task)
        self._opened = (opening, signed)
        n_bytes = FLOAT_BYTES * task.n_targets * (1 + task.n_units)

        def take(chunk: pb.ClaimChunk) -> bool:
            claim.add(chunk)
            on_progress(claim.offset, n_bytes)
            return claim.is_complete

        def ask() -> pb.GetClaimRequest:
            return pb.GetClaimRequest(session_id=session_id_of(opening.nonce), offset=claim.offset)

        self._remembered(lambda: self._read("GetClaim", ask, pb.ClaimChunk, take, self._patience.claim_s))
        return ClaimCommitted(signed=signed, claim=claim.finish())

    def _commitment(self, opening: Opening, task: Task) -> SignedClaim:
        response = self._call("Open", pb.OpenRequest(opening=opening_to_proto(opening)), pb.OpenResponse)
        return open_response_from_proto(response, opening=opening, n_targets=task.n_targets, n_units=task.n_units)

    def _remembered(self, ask: Callable[[], R]) -> R:
        """Ask; and if the server says that this is out of order, ask once more with the session opened again.

        A restarted server knows the sessions that it was challenged in, and no others. One that remembers ours takes
        the opening as the repetition that it is, and refuses what was out of order a second time.
        """
        try:
            return ask()
        except Refused as refused:
            if refused.reason is not Reason.OUT_OF_ORDER or self._opened is None or self._task is None:
                raise
            opening, signed = self._opened
            if self._commitment(opening, self._task) != signed:
                raise CommitmentError(
                    "claim: expected the claim that the prover committed to, got another"
                ) from refused
            return ask()

    # The challenge: handed over, watched, answered

    def _challenge(self, challenge: Challenge, on_progress: OnProgress) -> Answers:
        if self._task is None:
            raise InternalError("a challenge before the opening")
        n_answers = challenge.draw.n_evaluations
        answers = AnswersAssembler(n_answers=n_answers, n_targets=self._task.n_targets)
        session_id, committed = self._session_id(), pb.AnswersCommitted()

        def take(event: pb.WatchResponse) -> bool:
            match event.WhichOneof("event"):
                case "progress":
                    on_progress(progress_from_proto(event.progress, n_answers=n_answers), n_answers)
                case "answers":
                    answers.add(event.answers)
                case "committed":
                    committed.CopyFrom(event.committed)
                    return True
                case _:
                    raise MalformedMessage("answers: expected progress, answers or the commitment, got nothing")
            return False

        def ask() -> pb.WatchRequest:
            return pb.WatchRequest(session_id=session_id, round=challenge.round, first_answer=answers.next_answer)

        def submit_and_watch() -> None:
            request = pb.SubmitRequest(session_id=session_id, challenge=challenge_to_proto(challenge))
            self._call("Submit", request, pb.SubmitResponse)
            self._read("Watch", ask, pb.WatchResponse, take, self._patience.answers_s)

        self._remembered(submit_and_watch)
        return answers_committed_from_proto(committed, round_=challenge.round, outputs=answers.finish())

    def _say_last(self, message: Closing | Aborted) -> None:
        if self._opened is None:
            return  # there is nobody to tell
        wait_s = self._patience.last_word_s
        if isinstance(message, Closing):
            request = pb.CloseRequest(session_id=self._session_id(), closing=closing_to_proto(message))
            self._call("Close", request, pb.CloseResponse, within_s=wait_s)
        else:
            last = pb.AbortRequest(session_id=self._session_id(), aborted=aborted_to_proto(message))
            self._call("Abort", last, pb.AbortResponse, within_s=wait_s)

    def _session_id(self) -> str:
        return "" if self._opened is None else session_id_of(self._opened[0].nonce)

    # Calls

    def _call(self, method: str, request: Message, kind: type[M], *, within_s: float | None = None) -> M:
        """Return the answer to a short call, trying again while the server is away."""
        tries = self._tries(within_s)
        call = self._channel.unary_unary(f"/{_SERVICE}/{method}")
        timeout_s = min(self._patience.call_s, within_s or self._patience.call_s)
        while True:
            try:
                data = call(request.SerializeToString(), timeout=timeout_s)
            except grpc.RpcError as error:
                tries.wait(self._error(error), is_passing=_is_passing(error))
                continue
            self._was_heard = True
            return parse(kind, data, f"answer to {method}")

    def _read(
        self, method: str, ask: Callable[[], Message], kind: type[M], take: Callable[[M], bool], within_s: float
    ) -> None:
        """Read a stream until ``take`` has all, asking again from where it is while the server is away."""
        until = time.monotonic() + within_s
        tries = self._tries(None)
        call = self._channel.unary_stream(f"/{_SERVICE}/{method}")
        while (left_s := until - time.monotonic()) > 0:
            stream = call(ask().SerializeToString(), timeout=min(self._patience.stream_s, left_s))
            try:
                for data in stream:
                    tries.begin_again()
                    if take(parse(kind, data, f"answer to {method}")):
                        return
                # An intermediary can end a stream as if it were whole; what is missing is asked for again.
                tries.wait(
                    TransportError(f"prover at {self.address}: the answer to {method} ended early"), is_passing=True
                )
            except grpc.RpcError as error:
                tries.wait(self._error(error), is_passing=_is_passing(error))
            finally:
                stream.cancel()
        raise TransportError(f"prover at {self.address}: expected the whole answer to {method} within {within_s:g} s")

    def _tries(self, within_s: float | None) -> _Tries:
        if within_s is None:
            within_s = self._patience.reconnect_s if self._was_heard else self._patience.connect_s
        return _Tries(within_s, self._patience)

    def _error(self, error: grpc.RpcError) -> AttributionProofsError:
        detail = next((value for key, value in error.trailing_metadata() or () if key == ERROR_KEY), None)
        ours = error_from_status(error.code().name, error.details() or "no text", detail)
        return TransportError(f"prover at {self.address}: {ours}") if isinstance(ours, TransportError) else ours


class _Tries:
    """How often and how long to try again: until ``within_s`` have gone by since the server was last heard."""

    def __init__(self, within_s: float, patience: Patience) -> None:
        self._within_s, self._patience = within_s, patience
        self.begin_again()

    def begin_again(self) -> None:
        """Note that the server was heard."""
        self._until, self._pause_s = time.monotonic() + self._within_s, self._patience.pause_s

    def wait(self, error: AttributionProofsError, *, is_passing: bool) -> None:
        """Pause before the next try, or raise ``error`` when there is to be none."""
        is_busy = isinstance(error, Refused) and error.reason is Reason.BUSY
        if not (is_passing or is_busy) or time.monotonic() + self._pause_s > self._until:
            raise error
        time.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, self._patience.max_pause_s)


def _is_passing(error: grpc.RpcError) -> bool:
    return error.code().name in _PASSING


def _channel(address: Address, tls_ca: Path | None, insecure: bool) -> Any:
    options = (
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2000),
        ("grpc.enable_http_proxy", 0 if address.is_loopback else 1),
    )
    if insecure or (tls_ca is None and address.is_loopback):
        return grpc.insecure_channel(str(address), options)
    roots = None if tls_ca is None else _certificates(tls_ca)
    return grpc.secure_channel(str(address), grpc.ssl_channel_credentials(roots), options)


def _certificates(path: Path) -> bytes:
    try:
        roots = path.read_bytes()
        x509.load_pem_x509_certificates(roots)
    except (OSError, ValueError) as error:
        raise DataError(f"certificates {path}: expected a PEM file to read, got none; check the path") from error
    return roots
