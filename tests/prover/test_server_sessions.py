"""Which sessions are in memory and on disk, who makes room, and what comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest

from protocol.encoding import Seed
from protocol.errors import OutOfOrder, Reason, Refused, StoreError
from protocol.game.sampling import Draw, families
from protocol.session.messages import PROTOCOL_VERSION, Answers, Challenge, Closing, Opening, Outcome
from protocol.wire.codec import session_id_of
from protocol.wire.generated import attribution_pb2 as pb
from prover.claiming import commit
from prover.engines import Done, OnDone
from prover.serving.limits import Limits
from prover.serving.live import Round
from prover.serving.server import honest
from prover.serving.sessions import Sessions
from prover.serving.worker import Worker
from prover.store import Store
from tests.journeys.loopback import WORLD, GameEngine, fill_with_game, played, served_from, server

LIMITS = Limits(max_sessions=3, max_queued_rounds=8, idle_timeout_s=60.0)
DESIGN = families(n_families=5, n_siblings=2, rho=0.5, complements=True)
CHALLENGE = Challenge(round=0, draw=Draw(seed=Seed(bytes(32)), design=DESIGN))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class StepEngine:
    """Trains 4 evaluations for each permit that it is given."""

    def __init__(self) -> None:
        self.permits = threading.Semaphore(0)
        self.trained: list[int] = []
        self.begun = threading.Event()

    def run(self, draw: Draw, evaluations: np.ndarray, on_done: OnDone) -> None:
        for start in range(0, len(evaluations), 4):
            self.begun.set()
            assert self.permits.acquire(timeout=10)
            some = evaluations[start : start + 4]
            self.trained += some.tolist()
            on_done(Done(evaluations=some, outputs=played(WORLD.task, draw, some), n_clipped=0))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    fill_with_game(tmp_path / "store")
    with Store(tmp_path / "store") as store:
        yield store


@pytest.fixture
def made(store: Store) -> Iterator[Callable[..., Sessions]]:
    """Makes servers' sessions, one after the other, over one store."""
    all_made: list[Sessions] = []

    def make(engine: object = None, limits: Limits = LIMITS, clock: Clock | None = None) -> Sessions:
        for earlier in all_made:
            earlier.stop(5)
        served = served_from(store, engine or GameEngine(), limits)  # type: ignore[arg-type]
        all_made.append(Sessions(served, store, limits, clock=clock or Clock()))
        return all_made[-1]

    yield make
    for sessions in all_made:
        sessions.stop(5)


def opening(number: int) -> Opening:
    return Opening(version=PROTOCOL_VERSION, nonce=number.to_bytes(16, "big"), task_digest=WORLD.task.digest)


def name(number: int) -> str:
    return session_id_of(opening(number).nonce)


def submit(sessions: Sessions, number: int, challenge: Challenge = CHALLENGE) -> None:
    sessions.open(opening(number))
    sessions.submit(name(number), challenge)


def answers(sessions: Sessions, number: int, round_: int = 0) -> Answers:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with sessions.use(name(number)) as session:
            found: Round = session.wait(round_, -1, 0.0)
        if found.answers is not None:
            return found.answers
        time.sleep(0.01)
    raise AssertionError("expected answers within 10 s")


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def in_memory(sessions: Sessions) -> set[str]:
    return set(sessions._held)


def test_a_session_read_back_from_disk_says_the_same_again(made: Callable[..., Sessions]) -> None:
    sessions = made()
    submit(sessions, 1)
    before = answers(sessions, 1)
    after = answers(made(StepEngine()), 1)  # which has no permit to train
    assert (before.root, before.signature) == (after.root, after.signature)
    assert np.array_equal(before.outputs, after.outputs)


def test_a_second_round_follows_after_a_restart(made: Callable[..., Sessions]) -> None:
    sessions = made()
    submit(sessions, 1)
    answers(sessions, 1)
    second = replace(CHALLENGE, round=1, draw=replace(CHALLENGE.draw, seed=Seed(bytes([1] * 32))))
    made().submit(name(1), second)
    assert answers(made(), 1, 1).round == 1


def test_another_challenge_for_a_round_is_refused_after_a_restart_too(made: Callable[..., Sessions]) -> None:
    """Else the answers to the first, which are on disk, would be given for the second."""
    engine = StepEngine()
    sessions = made(engine)
    submit(sessions, 1)
    engine.permits.release()
    eventually(lambda: len(engine.trained) == 4)
    other = replace(CHALLENGE, draw=replace(CHALLENGE.draw, seed=Seed(bytes([1] * 32))))
    engine.permits.release()
    with pytest.raises(Refused, match="taken for round 0, got another"):
        submit(made(), 1, other)


def test_a_closing_is_remembered_after_a_restart(made: Callable[..., Sessions]) -> None:
    closing = Closing(outcome=Outcome.ACCEPT, reason="good")
    sessions = made()
    submit(sessions, 1)
    answers(sessions, 1)
    with sessions.use(name(1)) as session:
        session.end(closing)
    with made().use(name(1)) as session:
        with pytest.raises(OutOfOrder, match="session is closed"):
            session.end(replace(closing, outcome=Outcome.REJECT))
        session.end(closing)


def test_a_session_without_a_challenge_leaves_no_record(made: Callable[..., Sessions], store: Store) -> None:
    sessions = made()
    sessions.open(opening(1))
    with sessions.use(name(1)) as session:
        session.end(Closing(outcome=Outcome.ACCEPT, reason="good"))
    assert store.session_ids() == []


def test_the_quiet_make_room_and_come_back(made: Callable[..., Sessions]) -> None:
    clock = Clock()
    sessions = made(clock=clock)
    for number in range(1, 5):
        clock.now += 1
        submit(sessions, number)
        answers(sessions, number)
    assert in_memory(sessions) == {name(2), name(3), name(4)}
    assert answers(sessions, 1).round == 0
    assert in_memory(sessions) == {name(1), name(3), name(4)}


def test_sessions_at_work_do_not_make_room(made: Callable[..., Sessions]) -> None:
    engine = StepEngine()
    sessions = made(engine)
    for number in (1, 2, 3):
        submit(sessions, number)
    with pytest.raises(Refused, match="at most 3 sessions at work") as caught:
        sessions.open(opening(4))
    assert caught.value.reason is Reason.BUSY
    engine.permits.release(15)
    for number in (1, 2, 3):
        answers(sessions, number)
    sessions.open(opening(4))


def test_a_session_in_use_does_not_make_room(made: Callable[..., Sessions]) -> None:
    sessions = made(limits=replace(LIMITS, max_sessions=1))
    sessions.open(opening(1))
    with sessions.use(name(1)), pytest.raises(Refused, match="at work"):
        sessions.open(opening(2))
    sessions.open(opening(2))


def test_what_nobody_calls_leaves_memory(made: Callable[..., Sessions]) -> None:
    clock = Clock()
    sessions = made(clock=clock)
    sessions.open(opening(1))
    clock.now = 60.0
    sessions.sweep()
    assert in_memory(sessions) == {name(1)}
    clock.now = 60.1
    sessions.sweep()
    assert in_memory(sessions) == set()


def test_names_that_were_never_opened_take_no_room(made: Callable[..., Sessions]) -> None:
    sessions = made()
    for number in range(10):
        with pytest.raises(Refused, match="not known"):
            sessions.submit(name(number), CHALLENGE)
    assert in_memory(sessions) == set()


def test_training_that_nobody_waits_for_stops_and_goes_on_when_they_return(made: Callable[..., Sessions]) -> None:
    clock, engine = Clock(), StepEngine()
    sessions = made(engine, clock=clock)
    submit(sessions, 1)
    engine.permits.release()
    eventually(lambda: len(engine.trained) == 4)
    clock.now = 61.0
    engine.permits.release()
    eventually(lambda: in_memory(sessions) == set())
    assert len(engine.trained) in (4, 8)
    engine.permits.release(3)
    answers(sessions, 1)
    assert engine.trained == list(range(20))


def test_a_stop_keeps_the_chunk_under_way(made: Callable[..., Sessions], store: Store) -> None:
    engine = StepEngine()
    sessions = made(engine)
    submit(sessions, 1)
    assert engine.begun.wait(5)
    threading.Timer(0.2, engine.permits.release).start()
    assert sessions.stop(5)
    assert store.missing(f"answers {name(1)} 0", 20) == [range(4, 20)]


def test_a_stop_says_when_the_chunk_under_way_took_too_long(made: Callable[..., Sessions]) -> None:
    engine = StepEngine()
    sessions = made(engine)
    submit(sessions, 1)
    assert engine.begun.wait(5)
    assert not sessions.stop(0.1)
    engine.permits.release()


def test_the_oldest_on_disk_make_room_for_new_ones(made: Callable[..., Sessions], store: Store) -> None:
    sessions = made(limits=replace(LIMITS, max_sessions=1, max_stored_sessions=3))
    for number in range(1, 6):
        submit(sessions, number)
        answers(sessions, number)
    assert store.session_ids() == [name(3), name(4), name(5)]
    assert store.chunks(f"answers {name(1)} 0") == []
    with pytest.raises(Refused, match="not known"):
        sessions.submit(name(1), CHALLENGE)


def test_answers_in_memory_are_bounded_over_all_sessions(made: Callable[..., Sessions]) -> None:
    n_bytes = 20 * 2 * 8
    sessions = made(limits=replace(LIMITS, max_held_answer_bytes=2 * n_bytes))
    submit(sessions, 1)
    submit(sessions, 2)
    with pytest.raises(Refused, match=f"at most {2 * n_bytes} bytes in all sessions, got {3 * n_bytes}") as caught:
        submit(sessions, 3)
    assert caught.value.reason is Reason.BUSY


def test_a_session_on_a_claim_that_is_no_longer_served_is_not_continued(store: Store, tmp_path: Path) -> None:
    """The messages of one claim must never be replayed on another: their signatures would not fit."""
    sessions = Sessions(served_from(store, GameEngine(), LIMITS), store, LIMITS)
    submit(sessions, 1)
    answers(sessions, 1)
    sessions.stop(5)
    other = commit(WORLD.claim, replace(WORLD.figures, r2=0.5), store.signing_key())
    served = honest(task=WORLD.task, committed=other, key=store.signing_key(), engine=GameEngine(), limits=LIMITS)
    again = Sessions(served, store, LIMITS)
    with pytest.raises(Refused, match="no longer served"), again.use(name(1)):
        pass
    assert in_memory(again) == set()
    again.stop(5)


def test_a_damaged_record_is_the_stores_fault_and_not_the_callers(made: Callable[..., Sessions], store: Store) -> None:
    sessions = made()
    submit(sessions, 1)
    answers(sessions, 1)
    with store._db.transaction() as db:
        db.execute("UPDATE message SET bytes = x'ff' WHERE number = 2")
    with pytest.raises(StoreError, match="expected what was written, got a damaged record"), made().use(name(1)):
        pass


def test_a_stream_that_lasts_too_long_is_cut_off_and_resumes(tmp_path: Path) -> None:
    fill_with_game(tmp_path / "other")
    engine = StepEngine()
    limits = Limits(max_stream_s=0.2, heartbeat_s=0.05, shutdown_grace_s=2.0)
    with (
        server(tmp_path / "other", engine=engine, limits=limits) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        submit(running._sessions, 1)
        watch = channel.unary_stream("/attribution_proofs.v1.Attribution/Watch")
        request = pb.WatchRequest(session_id=name(1)).SerializeToString()
        with pytest.raises(grpc.RpcError) as caught:
            list(watch(request, timeout=10))
        assert caught.value.code() is grpc.StatusCode.CANCELLED
        engine.permits.release(5)
        assert pb.WatchResponse.FromString(list(watch(request, timeout=10))[-1]).HasField("committed")


def test_a_place_that_was_not_filled_is_free_again() -> None:
    worker = Worker(1)
    with pytest.raises(KeyError), worker.place():
        raise KeyError
    done = threading.Event()
    with worker.place() as fill:
        fill(done.set)
    assert done.wait(5)
    assert worker.stop(5)


def test_the_worker_outlives_work_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    worker, done = Worker(2), threading.Event()

    def fail() -> None:
        raise KeyError("bug")

    for work in (fail, done.set):
        with worker.place() as fill:
            fill(work)
    assert done.wait(5)
    assert worker.stop(5)
    assert "work on an answer failed" in caplog.text
