"""What a server says to callers who are wrong, hostile or many: one line of the catalogue, and it lives on."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.encoding import Seed
from protocol.errors import InternalError, Reason, TrainingError
from protocol.game.sampling import Design, Draw, families
from protocol.session.effects import Effect, Event, Received
from protocol.session.messages import (
    NONCE_BYTES,
    PROTOCOL_VERSION,
    Aborted,
    Challenge,
    Closing,
    Outcome,
    Sender,
)
from protocol.session.prover import ProverSession
from protocol.wire.codec import aborted_to_proto, challenge_to_proto, closing_to_proto
from protocol.wire.errors import ERROR_KEY
from protocol.wire.generated import attribution_pb2 as pb
from protocol.wire.limits import MAX_MESSAGE_BYTES
from prover.database import guarded
from prover.engines import Done, OnDone
from prover.serving.journal import N_PREAMBLE
from prover.serving.limits import Limits
from prover.serving.live import Served
from prover.serving.server import ProverServer
from prover.store import Store
from tests.journeys.loopback import WORLD, GameEngine, fill_with_game, played, served_from, server

LIMITS = Limits(
    max_sessions=4, max_evaluations_per_session=200, max_queued_rounds=2, max_open_streams=3, n_unary_threads=2,
    heartbeat_s=0.05, shutdown_grace_s=2.0,
)  # fmt: skip
SERVICE = "/attribution_proofs.v1.Attribution/"
METHODS = ["GetTask", "Open", "GetClaim", "Submit", "Watch", "Close", "Abort"]
STREAMS = {"GetClaim", "Watch"}
SMALL = families(n_families=5, n_siblings=2, rho=0.5, complements=True)


@dataclass
class HeldEngine:
    """Trains nothing until ``go`` is set, then 4 evaluations at a time."""

    go: threading.Event
    n_trained: int = 0

    def run(self, draw: Draw, evaluations: np.ndarray, on_done: OnDone) -> None:
        for start in range(0, len(evaluations), 4):
            assert self.go.wait(10)
            some = evaluations[start : start + 4]
            self.n_trained += len(some)
            on_done(Done(evaluations=some, outputs=played(WORLD.task, draw, some), n_clipped=0))


class Caller:
    """A client with no manners: any bytes, any order."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def raw(self, method: str, data: bytes, timeout: float = 10) -> list[bytes]:
        if method in STREAMS:
            return list(self._channel.unary_stream(SERVICE + method)(data, timeout=timeout))
        return [self._channel.unary_unary(SERVICE + method)(data, timeout=timeout)]

    def refused(self, method: str, request: bytes | Any) -> tuple[str, Reason | None, str]:
        """Return the status, reason and line of a call that must fail."""
        data = request if isinstance(request, bytes) else request.SerializeToString()
        with pytest.raises(grpc.RpcError) as caught:
            self.raw(method, data)
        return failure(caught.value)

    def open(self, number: int) -> str:
        self.raw("Open", opening(number).SerializeToString())
        return session_id(number)

    def submit(self, number: int, **changes: Any) -> str:
        self.open(number)
        self.raw("Submit", challenge(number, **changes).SerializeToString())
        return session_id(number)

    def watch(self, number: int, first: int = 0, round_: int = 0) -> list[pb.WatchResponse]:
        request = pb.WatchRequest(session_id=session_id(number), round=round_, first_answer=first)
        return [pb.WatchResponse.FromString(data) for data in self.raw("Watch", request.SerializeToString())]


def failure(error: Any) -> tuple[str, Reason | None, str]:
    detail = dict(error.trailing_metadata() or ()).get(ERROR_KEY)
    if detail is None:
        return error.code().name, None, error.details()
    message = pb.ErrorDetail.FromString(detail)
    assert message.message == error.details()
    assert "\n" not in message.message
    assert "Traceback" not in message.message
    return error.code().name, list(Reason)[message.reason - 1], message.message


def nonce(number: int) -> bytes:
    return number.to_bytes(NONCE_BYTES, "big")


def session_id(number: int) -> str:
    return nonce(number).hex()


def opening(number: int, task_digest: bytes = WORLD.task.digest) -> pb.OpenRequest:
    return pb.OpenRequest(opening=pb.Opening(version=PROTOCOL_VERSION, nonce=nonce(number), task_digest=task_digest))


def challenge(number: int, *, round_: int = 0, seed: int = 0, design: Design = SMALL) -> pb.SubmitRequest:
    drawn = Challenge(round=round_, draw=Draw(seed=Seed(bytes([seed] * 32)), design=design))
    return pb.SubmitRequest(session_id=session_id(number), challenge=challenge_to_proto(drawn))


def closing(number: int, outcome: Outcome = Outcome.ACCEPT) -> pb.CloseRequest:
    return pb.CloseRequest(
        session_id=session_id(number), closing=closing_to_proto(Closing(outcome=outcome, reason="because"))
    )


def abort(number: int) -> pb.AbortRequest:
    left = Aborted(reason=Reason.FAILED, text="enough")
    return pb.AbortRequest(session_id=session_id(number), aborted=aborted_to_proto(left))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[ProverServer]:
    fill_with_game(tmp_path / "store")
    with server(tmp_path / "store", engine=GameEngine(chunk=4), limits=LIMITS) as running:
        yield running


@pytest.fixture
def caller(running: ProverServer) -> Iterator[Caller]:
    with grpc.insecure_channel(running.address) as channel:
        yield Caller(channel)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[Caller, HeldEngine]]:
    fill_with_game(tmp_path / "store")
    engine = HeldEngine(go=threading.Event())
    with server(tmp_path / "store", engine=engine, limits=LIMITS) as running:
        with grpc.insecure_channel(running.address) as channel:
            yield Caller(channel), engine
        engine.go.set()


# ---------------------------------------------------------------------------------- wrong bytes


@pytest.mark.parametrize("method", METHODS)
def test_bytes_that_are_no_message_are_malformed(caller: Caller, method: str) -> None:
    status, reason, text = caller.refused(method, b"\xff" * 40)
    assert (status, reason) == ("INVALID_ARGUMENT", Reason.MALFORMED)
    assert "expected attribution_proofs.v1." in text


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=64), method=st.sampled_from(METHODS[1:]))
def test_whatever_the_bytes_the_refusal_is_of_the_catalogue(caller: Caller, data: bytes, method: str) -> None:
    status, reason, _ = caller.refused(method, data)
    assert (status, reason) in {
        ("INVALID_ARGUMENT", Reason.MALFORMED),
        ("NOT_FOUND", Reason.WRONG_TASK),
        ("FAILED_PRECONDITION", Reason.OUT_OF_ORDER),
    }


@pytest.mark.parametrize("method", ["Open", "Submit", "Close", "Abort"])
def test_a_request_without_its_message_is_malformed(caller: Caller, method: str) -> None:
    status, reason, text = caller.refused(method, b"")
    assert (status, reason) == ("INVALID_ARGUMENT", Reason.MALFORMED)
    assert text.startswith(f"{method}: expected ")


def test_a_message_that_is_too_large_is_refused_and_the_next_one_is_taken(caller: Caller) -> None:
    status, reason, text = caller.refused("Open", b"\0" * (MAX_MESSAGE_BYTES + 1))
    assert (status, reason) == ("RESOURCE_EXHAUSTED", None)
    assert "larger than max" in text
    caller.open(1)


def test_a_method_that_nobody_serves_is_unimplemented(caller: Caller) -> None:
    assert caller.refused("Pay", b"")[0] == "UNIMPLEMENTED"


# ---------------------------------------------------------------------------------- wrong order


@pytest.mark.parametrize("wrong", ["", "zz", "00" * 15, "00" * 17, "AA" * 16, "é" * 32])
def test_what_is_no_session_id_is_malformed(caller: Caller, wrong: str) -> None:
    status, reason, text = caller.refused("GetClaim", pb.GetClaimRequest(session_id=wrong))
    assert (status, reason) == ("INVALID_ARGUMENT", Reason.MALFORMED)
    assert "session id" in text


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("GetClaim", pb.GetClaimRequest(session_id=session_id(7))),
        ("Submit", challenge(7)),
        ("Watch", pb.WatchRequest(session_id=session_id(7))),
        ("Close", closing(7)),
        ("Abort", abort(7)),
    ],
)
def test_a_session_that_was_never_opened_is_not_known(caller: Caller, method: str, request_: Any) -> None:
    status, reason, text = caller.refused(method, request_)
    assert (status, reason) == ("FAILED_PRECONDITION", Reason.OUT_OF_ORDER)
    assert "not known" in text


def test_a_session_about_another_task_is_refused(caller: Caller) -> None:
    assert caller.refused("Open", opening(1, bytes(32)))[:2] == ("NOT_FOUND", Reason.WRONG_TASK)
    assert caller.refused("Watch", pb.WatchRequest(session_id=session_id(1)))[1] is Reason.OUT_OF_ORDER


def test_opening_twice_opens_once(caller: Caller) -> None:
    data = opening(1).SerializeToString()
    assert caller.raw("Open", data) == caller.raw("Open", data)


def test_a_round_that_was_not_challenged_cannot_be_watched(caller: Caller) -> None:
    caller.submit(1)
    status, reason, text = caller.refused("Watch", pb.WatchRequest(session_id=session_id(1), round=1))
    assert (status, reason) == ("FAILED_PRECONDITION", Reason.OUT_OF_ORDER)
    assert "got round 1" in text


def test_rounds_of_the_verifiers_own_may_lie_between_and_none_comes_late(caller: Caller) -> None:
    caller.submit(1, round_=1)
    assert caller.watch(1, round_=1)[-1].HasField("committed")
    status, reason, text = caller.refused("Submit", challenge(1, round_=0))
    assert (status, reason) == ("FAILED_PRECONDITION", Reason.OUT_OF_ORDER)
    assert "expected round 2 or a later one, got round 0" in text


def test_the_same_challenge_again_changes_nothing(held: tuple[Caller, HeldEngine]) -> None:
    caller, engine = held
    for _ in range(3):
        caller.submit(1)
    engine.go.set()
    assert caller.watch(1)[-1].HasField("committed")
    caller.submit(1)
    assert caller.watch(1)[-1].HasField("committed")
    assert engine.n_trained == SMALL.n_evaluations


def test_another_challenge_for_a_round_is_refused_and_the_first_one_stands(caller: Caller) -> None:
    caller.submit(1, seed=1)
    first = caller.watch(1)[-1]
    status, reason, text = caller.refused("Submit", challenge(1, seed=2))
    assert (status, reason) == ("FAILED_PRECONDITION", Reason.OUT_OF_ORDER)
    assert "taken for round 0, got another" in text
    assert caller.watch(1)[-1] == first


def test_a_challenge_before_the_answers_to_the_last_is_out_of_order(held: tuple[Caller, HeldEngine]) -> None:
    caller, _ = held
    caller.submit(1)
    assert caller.refused("Submit", challenge(1, round_=1))[1] is Reason.OUT_OF_ORDER


def test_two_rounds_are_answered_in_one_session(caller: Caller) -> None:
    for round_ in (0, 1):
        caller.submit(1, round_=round_, seed=round_)
        assert caller.watch(1, round_=round_)[-1].HasField("committed")


def test_closing_twice_closes_once_and_another_closing_is_refused(caller: Caller) -> None:
    caller.submit(1)
    caller.watch(1)
    for _ in range(2):
        caller.raw("Close", closing(1).SerializeToString())
    assert caller.refused("Close", closing(1, Outcome.REJECT))[1] is Reason.OUT_OF_ORDER
    assert caller.refused("Submit", challenge(1, round_=1))[1] is Reason.OUT_OF_ORDER


def test_an_abort_ends_the_training_and_those_who_watch_it(held: tuple[Caller, HeldEngine]) -> None:
    caller, engine = held
    caller.submit(1)
    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(caller.refused, "Watch", pb.WatchRequest(session_id=session_id(1)))
        caller.raw("Abort", abort(1).SerializeToString())
        status, reason, text = watching.result(10)
    assert (status, reason) == ("FAILED_PRECONDITION", Reason.OUT_OF_ORDER)
    assert "session ended" in text
    engine.go.set()
    caller.submit(2)
    assert caller.watch(2)[-1].HasField("committed")
    assert engine.n_trained <= SMALL.n_evaluations + 4


# ---------------------------------------------------------------------------------- resumption


@pytest.mark.parametrize("first", [0, 1, 19, 20])
def test_answers_come_from_the_index_asked_for(caller: Caller, first: int) -> None:
    caller.submit(1)
    events = caller.watch(1, first)
    chunks = [event.answers for event in events if event.HasField("answers")]
    assert [chunk.first for chunk in chunks] == ([first] if first < 20 else [])
    got = np.frombuffer(b"".join(chunk.outputs for chunk in chunks)).reshape(-1, 2)
    draw = Draw(seed=Seed(bytes(32)), design=SMALL)
    np.testing.assert_allclose(got, played(WORLD.task, draw, np.arange(first, 20)), atol=1e-12)


def test_answers_past_the_last_are_malformed(caller: Caller) -> None:
    caller.submit(1)
    request = pb.WatchRequest(session_id=session_id(1), first_answer=21)
    assert caller.refused("Watch", request)[:2] == ("INVALID_ARGUMENT", Reason.MALFORMED)


@pytest.mark.parametrize("offset", [0, 8, 975, 976])
def test_the_claim_comes_from_the_byte_asked_for(caller: Caller, offset: int) -> None:
    caller.open(1)
    request = pb.GetClaimRequest(session_id=session_id(1), offset=offset)
    chunks = [pb.ClaimChunk.FromString(data) for data in caller.raw("GetClaim", request.SerializeToString())]
    whole = WORLD.claim.intercepts.tobytes() + WORLD.claim.scores.tobytes()
    assert b"".join(chunk.data for chunk in chunks) == whole[offset:]


@pytest.mark.parametrize("offset", [977, 2**64 - 1])
def test_a_claim_past_its_end_is_malformed(caller: Caller, offset: int) -> None:
    caller.open(1)
    request = pb.GetClaimRequest(session_id=session_id(1), offset=offset)
    assert caller.refused("GetClaim", request)[:2] == ("INVALID_ARGUMENT", Reason.MALFORMED)


def test_a_watcher_hears_of_progress_and_then_of_all_answers(held: tuple[Caller, HeldEngine]) -> None:
    caller, engine = held
    caller.submit(1)
    threading.Timer(0.3, engine.go.set).start()
    events = caller.watch(1)
    done = [event.progress.done for event in events if event.HasField("progress")]
    assert done[:3] == [0, 0, 0]  # nothing new, and said so
    assert done == sorted(done)
    assert events[-1].HasField("committed")


# ---------------------------------------------------------------------------------- too much, too many


def test_more_trainings_than_a_session_may_ask_for_are_too_large(caller: Caller) -> None:
    caller.open(1)
    big = families(n_families=51, n_siblings=2, rho=0.5, complements=True)
    status, reason, text = caller.refused("Submit", challenge(1, design=big))
    assert (status, reason) == ("OUT_OF_RANGE", Reason.TOO_LARGE)
    assert "at most 200 retrainings" in text
    caller.submit(1)  # the session goes on


def test_a_flood_of_openings_leaves_no_trace_and_shuts_nobody_out(caller: Caller, tmp_path: Path) -> None:
    caller.submit(1)
    for number in range(2, 40):
        caller.open(number)
    assert caller.watch(1)[-1].HasField("committed")
    with Store(tmp_path / "store", read_only=True) as store:
        assert store.session_ids() == [session_id(1)]


def test_a_challenge_past_the_queue_is_busy_and_is_taken_later(held: tuple[Caller, HeldEngine]) -> None:
    caller, engine = held
    caller.submit(1)
    caller.submit(2)
    caller.open(3)
    status, reason, text = caller.refused("Submit", challenge(3))
    assert (status, reason) == ("RESOURCE_EXHAUSTED", Reason.BUSY)
    assert "try again" in text
    engine.go.set()
    for number in (1, 2):
        assert caller.watch(number)[-1].HasField("committed")
    caller.submit(3)
    assert caller.watch(3)[-1].HasField("committed")


def test_a_stream_too_many_is_busy(held: tuple[Caller, HeldEngine]) -> None:
    caller, engine = held
    caller.submit(1)
    request = pb.WatchRequest(session_id=session_id(1)).SerializeToString()
    streams = [caller._channel.unary_stream(SERVICE + "Watch")(request, timeout=10) for _ in range(3)]
    for stream in streams:
        next(stream)
    assert caller.refused("Watch", request)[:2] == ("RESOURCE_EXHAUSTED", Reason.BUSY)
    caller.open(2)  # streams hold no thread of a short call
    engine.go.set()
    for stream in streams:
        assert pb.WatchResponse.FromString(list(stream)[-1]).HasField("committed")
    assert caller.watch(1)[-1].HasField("committed")


def test_who_watches_a_server_that_stops_is_told_to_try_again(tmp_path: Path) -> None:
    fill_with_game(tmp_path / "store")
    engine = HeldEngine(go=threading.Event())
    with (
        server(tmp_path / "store", engine=engine, limits=LIMITS) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        Caller(channel).submit(1)
        request = pb.WatchRequest(session_id=session_id(1)).SerializeToString()
        stream = channel.unary_stream(SERVICE + "Watch")(request, timeout=10)
        next(stream)
        running.stop(1.0)
        engine.go.set()
        with pytest.raises(grpc.RpcError) as caught:
            list(stream)
    assert failure(caught.value) == ("UNAVAILABLE", None, "the prover is stopping; try again in a while")


# ---------------------------------------------------------------------------------- our own faults


class Broken:
    """An engine, or a session, that raises."""

    def __init__(self, error: Exception, session: ProverSession | None = None) -> None:
        self._error, self._session = error, session

    def run(self, draw: Draw, evaluations: np.ndarray, on_done: OnDone) -> None:
        raise self._error

    is_over = False

    def handle(self, event: Event) -> list[Effect]:
        if self._session is None or (isinstance(event, Received) and isinstance(event.message, Challenge)):
            raise self._error
        return self._session.handle(event)


@pytest.mark.parametrize("error", [TrainingError("CUDA out of memory, secret"), ValueError("secret")])
def test_a_training_that_fails_is_one_line_that_tells_nothing_of_us(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    fill_with_game(tmp_path / "store")
    with (
        server(tmp_path / "store", engine=Broken(error), limits=LIMITS) as running,
        grpc.insecure_channel(running.address) as channel,
        caplog.at_level(logging.ERROR),
    ):
        caller = Caller(channel)
        caller.submit(1)
        status, reason, text = caller.refused("Watch", pb.WatchRequest(session_id=session_id(1)))
    assert (status, reason) == ("ABORTED", Reason.FAILED)
    assert text == "the other party failed; its own log says why"
    assert "secret" in caplog.text


def test_an_engine_that_gives_too_few_outputs_fails_the_round(tmp_path: Path) -> None:
    class Lazy:
        def run(self, draw: Draw, evaluations: np.ndarray, on_done: OnDone) -> None:
            GameEngine().run(draw, evaluations[:-1], on_done)

    fill_with_game(tmp_path / "store")
    with (
        server(tmp_path / "store", engine=Lazy(), limits=LIMITS) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        caller = Caller(channel)
        caller.submit(1)
        assert caller.refused("Watch", pb.WatchRequest(session_id=session_id(1)))[1] is Reason.FAILED


@pytest.mark.parametrize("error", [KeyError("secret"), InternalError("secret")])
def test_a_bug_in_a_call_is_one_line_that_tells_nothing_of_us(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    fill_with_game(tmp_path / "store")
    with Store(tmp_path / "store") as store:
        honest = served_from(store, GameEngine(), LIMITS)

    def broken() -> Any:
        return Broken(error, honest.make_session())  # type: ignore[arg-type]

    with (
        server(
            tmp_path / "store", served=Served(task=WORLD.task, make_session=broken, engine=GameEngine()), limits=LIMITS
        ) as running,
        grpc.insecure_channel(running.address) as channel,
        caplog.at_level(logging.ERROR),
    ):
        caller = Caller(channel)
        caller.open(1)
        status, reason, text = caller.refused("Submit", challenge(1))
    assert (status, reason) == ("ABORTED" if isinstance(error, InternalError) else "INTERNAL", Reason.FAILED)
    assert text == "the other party failed; its own log says why"
    assert "secret" in caplog.text


def test_a_disk_that_is_full_refuses_a_challenge_and_takes_it_when_there_is_room(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was taken that was not written: the same challenge is new again."""
    save = Store.save_session_message

    def full(self: Store, session: str, index: int, sender: Sender, data: bytes) -> None:
        if index >= N_PREAMBLE:
            with guarded(self.directory):
                raise OSError(errno.ENOSPC, "No space left on device")
        save(self, session, index, sender, data)

    caller.open(1)
    with monkeypatch.context() as patched:
        patched.setattr(Store, "save_session_message", full)
        assert caller.refused("Submit", challenge(1))[:2] == ("ABORTED", Reason.FAILED)
    caller.submit(1)
    assert caller.watch(1)[-1].HasField("committed")
