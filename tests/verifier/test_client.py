"""A client before peers that send junk, too much, too little, nothing or something else: one line, and never a hang."""

from __future__ import annotations

import hashlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from protocol.certificate import terms as wishes
from protocol.encoding import Seed
from protocol.errors import (
    ArgumentError,
    BudgetError,
    CommitmentError,
    DataError,
    MalformedMessage,
    Reason,
    Refused,
    TransportError,
)
from protocol.game.sampling import Draw, families
from protocol.session.messages import (
    PROTOCOL_VERSION,
    Aborted,
    Answers,
    Challenge,
    ClaimCommitted,
    Closing,
    Opening,
    Outcome,
)
from protocol.wire import chunks
from protocol.wire.chunks import claim_chunks, claim_to_bytes
from protocol.wire.codec import open_response_to_proto
from protocol.wire.errors import ERROR_KEY
from protocol.wire.generated import attribution_pb2 as pb
from protocol.wire.limits import MAX_MESSAGE_BYTES
from protocol.wire.task_codec import task_to_proto
from prover.claiming import commit
from tests.adversaries.terms import terms
from tests.games import task_of
from tests.journeys.loopback import QUICK, WORLD, played, verify
from tests.journeys.worlds import KEY
from verifier.client import ProverClient
from verifier.config import Address, Patience

Behaviour = Callable[[bytes, grpc.ServicerContext], Any]

IMPATIENT = Patience(
    connect_s=0.3, reconnect_s=0.5, call_s=1.0, stream_s=0.5, claim_s=1.5, answers_s=1.5, last_word_s=0.3, pause_s=0.02,
    max_pause_s=0.1,
)  # fmt: skip
SERVICE = "attribution_proofs.v1.Attribution"
STREAMS = ("GetClaim", "Watch")
COMMITTED = commit(WORLD.claim, WORLD.figures, KEY)
OPENING = Opening(version=PROTOCOL_VERSION, nonce=bytes(16), task_digest=WORLD.task.digest)
DRAW = Draw(seed=Seed(bytes(32)), design=families(n_families=5, n_siblings=2, rho=0.5, complements=True))
JUNK = b"".join(hashlib.sha256(bytes([i])).digest() for i in range(64))
CHALLENGE = Challenge(round=0, draw=DRAW)
TASK = pb.GetTaskResponse(task=task_to_proto(WORLD.task))
OPENED = open_response_to_proto(OPENING, COMMITTED)
CLAIM = claim_to_bytes(WORLD.claim)
OUTPUTS = played(WORLD.task, DRAW, np.arange(20)).tobytes()
DONE = pb.WatchResponse(committed=pb.AnswersCommitted(root=bytes(32), signature=bytes(64)))


@contextmanager
def peer(**methods: Behaviour | bytes | list[bytes]) -> Iterator[str]:
    """Serve whatever a test says, beside an honest GetTask, Open, GetClaim and Submit; give the address."""
    honest: dict[str, Behaviour | bytes | list[bytes]] = {
        "GetTask": TASK.SerializeToString(),
        "Open": OPENED.SerializeToString(),
        "GetClaim": lambda data, _: (chunk.SerializeToString() for chunk in claim_chunks(CLAIM, claim_offset(data))),
        "Submit": b"",
        "Close": b"",
        "Abort": b"",
    }
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool, options=(("grpc.max_send_message_length", -1),))
        handlers = {name: _handler(name, said) for name, said in (honest | methods).items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield address
        finally:
            server.stop(0).wait()


def _handler(name: str, said: Behaviour | bytes | list[bytes]) -> Any:
    make = grpc.unary_stream_rpc_method_handler if name in STREAMS else grpc.unary_unary_rpc_method_handler
    if callable(said):
        return make(said)
    if isinstance(said, list):
        return make(lambda _data, _context: iter(said))
    return make(lambda _data, _context: said)


def claim_offset(data: bytes) -> int:
    return pb.GetClaimRequest.FromString(data).offset


def chunk(offset: int, data: bytes) -> bytes:
    return pb.ClaimChunk(offset=offset, data=data).SerializeToString()


def answers(first: int, outputs: bytes) -> bytes:
    return pb.WatchResponse(answers=pb.AnswersChunk(first=first, outputs=outputs)).SerializeToString()


def progress(done: int, total: int) -> bytes:
    return pb.WatchResponse(progress=pb.Progress(done=done, total=total)).SerializeToString()


@contextmanager
def client(address: str, patience: Patience = IMPATIENT) -> Iterator[ProverClient]:
    """A client, and a clock: whatever the peer does, nothing takes longer than is waited."""
    begun = time.monotonic()
    with ProverClient(address, patience=patience) as made:
        yield made
    assert time.monotonic() - begun < 8


@contextmanager
def one_line(kind: type[Exception], match: str) -> Iterator[None]:
    with pytest.raises(kind, match=match) as caught:
        yield
    assert type(caught.value) is kind
    text = str(caught.value)
    assert "\n" not in text
    assert "\x1b" not in text


# ---------------------------------------------------------------------------------- whom to call


@pytest.mark.parametrize(
    "text", ["", "localhost", "localhost:0", ":1", "host:65536", "a b:1", "::1:5", "[::1]", "x/y:1"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with one_line(ArgumentError, r"^expected a prover's address HOST:PORT"):
        ProverClient(text)


@pytest.mark.parametrize(
    ("text", "is_loopback"),
    [
        ("localhost:1", True), ("127.0.0.1:1", True), ("127.1.2.3:1", True), ("[::1]:1", True),
        ("10.0.0.1:1", False), ("0.0.0.0:1", False), ("localhost.example.org:1", False), ("[2001:db8::1]:1", False),
    ],
)  # fmt: skip
def test_loopback_is_this_machine_and_no_other(text: str, is_loopback: bool) -> None:
    address = Address.parse(text)
    assert address.is_loopback is is_loopback
    assert str(address) == text


def test_certificates_and_plaintext_exclude_each_other(tmp_path: Path) -> None:
    with one_line(ArgumentError, "got both"):
        ProverClient("example.org:1", tls_ca=tmp_path / "ca.pem", insecure=True)


@pytest.mark.parametrize("text", [None, "junk"])
def test_certificates_that_cannot_be_read_are_named(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "ca.pem").write_text(text)
    with one_line(DataError, r"ca\.pem: expected a PEM file"):
        ProverClient("example.org:1", tls_ca=tmp_path / "ca.pem")


def test_a_patience_is_above_0() -> None:
    with one_line(ArgumentError, "expected call_s above 0"):
        replace(QUICK, call_s=0.0)


# ---------------------------------------------------------------------------------- nobody, or nobody of ours


def test_a_port_that_nobody_listens_on(free_port: int) -> None:
    with (
        client(f"127.0.0.1:{free_port}") as asked,
        one_line(TransportError, rf"^prover at 127.0.0.1:{free_port}: .*UNAVAILABLE.*check the address"),
    ):
        asked.get_task()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\n\r\nhello", JUNK, None], ids=["nothing", "http", "junk", "silence"]
)
def test_a_port_that_speaks_something_else(said: bytes | None) -> None:
    """``None``: takes the connection and stays silent."""
    with socket.create_server(("127.0.0.1", 0)) as listening, client(_of(listening)) as asked:
        stop = threading.Event()

        def answer() -> None:
            listening.settimeout(0.1)
            held = []
            while not stop.is_set():
                try:
                    connection, _ = listening.accept()
                except TimeoutError:
                    continue
                if said is None:
                    held.append(connection)
                    continue
                with connection:
                    connection.sendall(said)
            for connection in held:
                connection.close()

        with ThreadPoolExecutor(1) as pool:
            pool.submit(answer)
            try:
                with one_line(TransportError, r"^prover at 127.0.0.1:\d+: expected an answer, got [A-Z_]+ \("):
                    asked.get_task()
            finally:
                stop.set()


def _of(listening: socket.socket) -> str:
    return f"127.0.0.1:{listening.getsockname()[1]}"


def test_a_grpc_server_of_another_kind(free_port: int) -> None:
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        server.add_insecure_port(f"127.0.0.1:{free_port}")
        server.start()
        with (
            client(f"127.0.0.1:{free_port}") as asked,
            one_line(TransportError, "UNIMPLEMENTED .*check that the address is a prover's"),
        ):
            asked.get_task()
        server.stop(0).wait()


def test_a_call_that_is_never_answered() -> None:
    release = threading.Event()
    with peer(GetTask=lambda _data, _context: release.wait(10)) as address:
        with client(address) as asked, one_line(TransportError, "DEADLINE_EXCEEDED .*raise the time-out"):
            asked.get_task()
        release.set()


# ---------------------------------------------------------------------------------- what a session may ask for


@pytest.mark.parametrize(("said", "known"), [(0, None), (7, 7), (2**63, 2**63)], ids=["nothing", "few", "absurd"])
def test_the_most_trainings_that_a_server_says_it_answers(said: int, known: int | None) -> None:
    told = pb.GetTaskResponse(task=TASK.task, max_evaluations=said).SerializeToString()
    with peer(GetTask=told) as address, client(address) as asked:
        assert asked.max_evaluations is None
        asked.get_task()
        assert asked.max_evaluations == known


# ---------------------------------------------------------------------------------- junk


@pytest.mark.parametrize(
    "said", [b"\xff" * 30, b"", TASK.SerializeToString()[:-9]], ids=["junk", "nothing", "truncated"]
)
def test_bytes_that_are_no_task(said: bytes) -> None:
    with peer(GetTask=said) as address, client(address) as asked, one_line(MalformedMessage, "expected"):
        asked.get_task()


def test_a_message_that_is_larger_than_any_may_be() -> None:
    with (
        peer(GetTask=bytes(MAX_MESSAGE_BYTES + 1)) as address,
        client(address) as asked,
        one_line(TransportError, f"RESOURCE_EXHAUSTED .*larger than {MAX_MESSAGE_BYTES}"),
    ):
        asked.get_task()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"session_id": "00"}, "expected the session of our nonce"),
        ({"n_units": 61}, r"expected \(targets, units, bytes\)"),
        ({"claim_bytes": 1 << 60}, r"expected \(targets, units, bytes\)"),
    ],
)
def test_an_answer_to_the_opening_that_does_not_fit(change: dict[str, Any], message: str) -> None:
    said = pb.OpenResponse.FromString(OPENED.SerializeToString())
    said.MergeFrom(pb.OpenResponse(**change))
    with (
        peer(Open=said.SerializeToString()) as address,
        client(address) as asked,
        one_line(MalformedMessage, message),
    ):
        asked.exchange(OPENING)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([chunk(0, CLAIM + bytes(8))], "claim: expected 976 bytes more, got 984"),
        ([chunk(0, CLAIM[:8]), chunk(16, CLAIM[16:])], "claim: expected bytes from 8 on, got them from 16"),
        ([chunk(0, CLAIM[:8]), chunk(0, CLAIM)], "claim: expected bytes from 8 on, got them from 0"),
        ([chunk(0, b"")], "claim: expected bytes in every chunk"),
        ([chunk(0, CLAIM[:-8] + np.float64("nan").tobytes())], "expected finite numbers"),
        ([b"\xff"], "answer to GetClaim: expected attribution_proofs.v1.ClaimChunk"),
    ],
)
def test_a_claim_that_is_truncated_over_long_or_no_claim(said: list[bytes], message: str) -> None:
    with peer(GetClaim=said) as address, client(address) as asked, one_line(MalformedMessage, message):
        asked.exchange(OPENING)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([DONE.SerializeToString()], "answers: expected 20, got 0"),
        ([answers(0, OUTPUTS[:-16]), DONE.SerializeToString()], "answers: expected 20, got 19"),
        ([answers(0, OUTPUTS + OUTPUTS[:16])], "answers: expected 320 bytes more, got 336"),
        ([answers(0, OUTPUTS[:17])], "expected whole rows of 2 numbers"),
        ([answers(3, OUTPUTS)], "expected answer 0 next, got answer 3"),
        ([answers(0, bytes(312) + np.float64("inf").tobytes()), DONE.SerializeToString()], "expected finite numbers"),
        ([progress(21, 20)], "progress: expected at most 20 trainings, got 21/20"),
        ([progress(0, 1 << 60)], "progress: expected at most 20 trainings"),
        ([b""], "expected progress, answers or the commitment, got nothing"),
        ([JUNK], "answer"),
    ],
)
def test_answers_that_are_too_few_too_many_or_none(said: list[bytes], message: str) -> None:
    with peer(Watch=said) as address, client(address) as asked:
        asked.exchange(OPENING)
        with one_line(MalformedMessage, message):
            asked.exchange(CHALLENGE)


def once(said: list[bytes]) -> Behaviour:
    """Streams these the first time, and nothing when asked for what is missing."""
    left = list(said)

    def stream(_data: bytes, _context: grpc.ServicerContext) -> Iterator[bytes]:
        yield from left
        left.clear()

    return stream


@pytest.mark.parametrize("said", [[], [chunk(0, CLAIM[:-8])]], ids=["nothing", "too little"])
def test_a_claim_that_ends_early_is_asked_for_again_and_never_held_against_the_prover(said: list[bytes]) -> None:
    with (
        peer(GetClaim=once(said)) as address,
        client(address) as asked,
        pytest.raises(TransportError, match="ended early"),
    ):
        asked.exchange(OPENING)


@pytest.mark.parametrize("said", [[], [answers(0, OUTPUTS)]], ids=["nothing", "no commitment"])
def test_answers_that_end_early_are_asked_for_again_and_never_held_against_the_prover(said: list[bytes]) -> None:
    with peer(Watch=once(said)) as address, client(address) as asked:
        asked.exchange(OPENING)
        with pytest.raises(TransportError, match="ended early"):
            asked.exchange(CHALLENGE)


@pytest.mark.parametrize(
    ("said", "kind"),
    [(progress(3, 20), TransportError), (answers(0, OUTPUTS), MalformedMessage)],
    ids=["progress", "answers"],
)
def test_a_stream_without_end_ends(said: bytes, kind: type[Exception]) -> None:
    def endless(_data: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        while context.is_active():
            yield said

    with peer(Watch=endless) as address, client(address) as asked:
        asked.exchange(OPENING)
        with one_line(kind, "expected"):
            asked.exchange(CHALLENGE)


def test_a_stream_that_stays_silent_ends_when_the_time_is_up() -> None:
    release = threading.Event()

    def silent(_data: bytes, _context: grpc.ServicerContext) -> Iterator[bytes]:
        release.wait(10)
        yield from ()

    with peer(Watch=silent) as address:
        with client(address) as asked:
            asked.exchange(OPENING)
            with one_line(TransportError, "DEADLINE_EXCEEDED"):
                asked.exchange(CHALLENGE)
        release.set()


# ---------------------------------------------------------------------------------- refusals


def refusing(reason: Any, text: str, status: grpc.StatusCode = grpc.StatusCode.ABORTED) -> Behaviour:
    def refuse(_data: bytes, context: grpc.ServicerContext) -> None:
        detail = pb.ErrorDetail(reason=reason, message=text).SerializeToString()
        context.set_trailing_metadata(((ERROR_KEY, detail),))
        context.abort(status, "short")

    return refuse


def test_a_peer_that_declines_is_quoted_with_its_reason() -> None:
    with (
        peer(Open=refusing(pb.REASON_TOO_LARGE, "too many rows")) as address,
        client(address) as asked,
        one_line(Refused, r"^the other party refused \(too-large\): too many rows$"),
    ):
        asked.exchange(OPENING)


def test_what_a_peer_says_commands_no_terminal() -> None:
    evil = "\x1b[2J\nACCEPT\x07" + "x" * 5000
    with (
        peer(Open=refusing(pb.REASON_FAILED, evil)) as address,
        client(address) as asked,
        one_line(Refused, r"ACCEPT") as _,
    ):
        asked.exchange(OPENING)


def test_a_detail_that_is_junk_is_a_fault_of_the_transport() -> None:
    def refuse(_data: bytes, context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata(((ERROR_KEY, b"\xff\xff"),))
        context.abort(grpc.StatusCode.INTERNAL, "boom\n\x1b[31m")

    with peer(Open=refuse) as address, client(address) as asked, one_line(TransportError, r"INTERNAL \(boom"):
        asked.exchange(OPENING)


def test_a_prover_of_another_task_is_refused_before_it_is_asked() -> None:
    other = task_of(10)
    with (
        peer(GetTask=pb.GetTaskResponse(task=task_to_proto(other)).SerializeToString()) as address,
        client(address) as asked,
        one_line(Refused, f"got a prover of task {other.digest.hex()[:16]}") as _,
    ):
        asked.exchange(OPENING)


def test_answers_that_would_be_too_large_are_never_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for = []
    with peer(Submit=lambda data, _context: asked_for.append(data) or b"") as address, client(address) as asked:
        asked.exchange(OPENING)
        monkeypatch.setattr(chunks, "MAX_ANSWERS_BYTES", 319)
        with one_line(BudgetError, "expected at most 319 bytes"):
            asked.exchange(CHALLENGE)
    assert asked_for == []


# ---------------------------------------------------------------------------------- away, and back


def test_a_peer_that_is_busy_is_asked_again() -> None:
    tries = itertools.count()

    def busy(data: bytes, context: grpc.ServicerContext) -> bytes:
        if next(tries) < 2:
            refusing(pb.REASON_BUSY, "later", grpc.StatusCode.RESOURCE_EXHAUSTED)(data, context)
        return OPENED.SerializeToString()

    with peer(Open=busy) as address, client(address) as asked:
        assert isinstance(asked.exchange(OPENING), ClaimCommitted)
    assert next(tries) == 3


def test_a_peer_that_stays_busy_has_refused() -> None:
    with (
        peer(Open=refusing(pb.REASON_BUSY, "later")) as address,
        client(address) as asked,
        pytest.raises(Refused, match=r"refused \(busy\): later") as caught,
    ):
        asked.exchange(OPENING)
    assert caught.value.reason is Reason.BUSY


@pytest.mark.parametrize("status", ["UNAVAILABLE", "CANCELLED", "UNKNOWN", "DEADLINE_EXCEEDED"])
def test_a_claim_that_breaks_off_is_read_on_from_where_it_is(status: str) -> None:
    offsets: list[int] = []

    def broken(data: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        offset = claim_offset(data)
        offsets.append(offset)
        yield chunk(offset, CLAIM[offset : offset + 400])
        if offset + 400 < len(CLAIM):
            context.abort(grpc.StatusCode[status], "gone")

    with peer(GetClaim=broken) as address, client(address) as asked:
        seen: list[tuple[int, int]] = []
        committed = asked.exchange(OPENING, on_progress=lambda done, total: seen.append((done, total)))
    assert offsets == [0, 400, 800]
    assert seen == [(400, 976), (800, 976), (976, 976)]
    assert isinstance(committed, ClaimCommitted)
    assert np.array_equal(committed.claim.scores, WORLD.claim.scores)
    assert committed.signed == COMMITTED.signed


def test_answers_that_break_off_are_read_on_from_where_they_are() -> None:
    firsts: list[int] = []

    def broken(data: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        first = pb.WatchRequest.FromString(data).first_answer
        firsts.append(first)
        yield progress(20, 20)
        if first == 20:
            yield DONE.SerializeToString()
        yield answers(first, OUTPUTS[16 * first : 16 * (first + 10)])
        context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    with peer(Watch=broken) as address, client(address) as asked:
        asked.exchange(OPENING)
        got = asked.exchange(CHALLENGE)
    assert firsts == [0, 10, 20]
    assert isinstance(got, Answers)
    assert got.outputs.tobytes() == OUTPUTS


def test_a_session_that_was_forgotten_is_opened_again_on_the_same_claim() -> None:
    known: list[str] = []

    def opens(_data: bytes, _context: grpc.ServicerContext) -> bytes:
        known.append("open")
        return OPENED.SerializeToString()

    def submit(data: bytes, context: grpc.ServicerContext) -> bytes:
        known.append("submit")
        if known.count("open") < 2:
            refusing(pb.REASON_OUT_OF_ORDER, "not known")(data, context)
        return b""

    watch = [answers(0, OUTPUTS), DONE.SerializeToString()]
    with peer(Open=opens, Submit=submit, Watch=watch) as address, client(address) as asked:
        asked.exchange(OPENING)
        assert isinstance(asked.exchange(CHALLENGE), Answers)
    assert known == ["open", "submit", "open", "submit"]


def test_a_session_that_is_refused_twice_is_refused() -> None:
    with peer(Submit=refusing(pb.REASON_OUT_OF_ORDER, "no")) as address, client(address) as asked:
        asked.exchange(OPENING)
        with one_line(Refused, r"refused \(out-of-order\): no") as _:
            asked.exchange(CHALLENGE)


def test_a_claim_that_changed_while_the_server_was_away_breaks_the_commitment() -> None:
    other = commit(WORLD.claim, replace(WORLD.figures, r2=0.1), KEY)
    said = iter([COMMITTED, other])
    with (
        peer(
            Open=lambda _data, _context: open_response_to_proto(OPENING, next(said)).SerializeToString(),
            Submit=refusing(pb.REASON_OUT_OF_ORDER, "not known"),
        ) as address,
        client(address) as asked,
    ):
        asked.exchange(OPENING)
        with one_line(CommitmentError, "expected the claim that the prover committed to, got another"):
            asked.exchange(CHALLENGE)


# ---------------------------------------------------------------------------------- last words


@pytest.mark.parametrize(
    "last", [Closing(outcome=Outcome.REJECT, reason="no"), Aborted(reason=Reason.FAILED, text="enough")]
)
def test_a_last_word_is_not_waited_for_long(last: Closing | Aborted) -> None:
    release = threading.Event()

    def silent(_data: bytes, _context: grpc.ServicerContext) -> bytes:
        release.wait(10)
        return b""

    with peer(Close=silent, Abort=silent) as address:
        with client(address) as asked:
            asked.exchange(OPENING)
            begun = time.monotonic()
            with one_line(TransportError, "DEADLINE_EXCEEDED"):
                asked.exchange(last)
            assert time.monotonic() - begun < 2
        release.set()


def test_a_last_word_before_the_opening_is_said_to_nobody(free_port: int) -> None:
    with client(f"127.0.0.1:{free_port}") as asked:
        assert asked.exchange(Aborted(reason=Reason.FAILED, text="enough")) is None


# ---------------------------------------------------------------------------------- what it comes to


def test_a_peer_that_sends_junk_for_answers_is_rejected() -> None:
    """After a challenge, whatever a prover sends or does not send is its own failure (THEORY 8)."""

    def opens(data: bytes, _context: grpc.ServicerContext) -> bytes:
        nonce = pb.OpenRequest.FromString(data).opening.nonce
        return open_response_to_proto(replace(OPENING, nonce=nonce), COMMITTED).SerializeToString()

    with peer(Open=opens, Watch=[JUNK]) as address, client(address) as asked:
        verdict = verify(asked, terms(wishes.Answers.DELEGATED))
    assert verdict.outcome is Outcome.REJECT
    assert verdict.reasons[0].startswith("the prover broke the protocol: answer to Watch: expected")
