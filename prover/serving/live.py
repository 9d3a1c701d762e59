"""One session in memory: its protocol state, its rounds, and the thread-safe calls on it.

Owns the order of writing down and telling: a challenge is on disk before its verifier hears that it was taken, and a
chunk of answers before it counts as done. Refuses to know the wire (``servicer``), how subsets are trained
(``engines``) and who else is calling (``sessions``).

A session that is not in memory is rebuilt by replaying its record through a fresh protocol session; a challenge whose
answers are not all there goes back to the queue, and only what is missing is trained.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from protocol.errors import AttributionProofsError, InternalError, Reason, Refused, StoreError
from protocol.session.effects import Effect, Event, Lost, Received, Send, Train, Trained
from protocol.session.messages import Aborted, Answers, Challenge, ClaimCommitted, Closing, Message, Opening
from protocol.task import Task
from protocol.wire.errors import message_of
from protocol.wire.fields import FLOAT_BYTES
from prover.engines import Done, Engine, in_order
from prover.serving.journal import Journal, Record
from prover.serving.worker import Worker

logger = logging.getLogger(__name__)


class Session(Protocol):
    """What a ``ProverSession`` is to its server."""

    @property
    def is_over(self) -> bool: ...

    def handle(self, event: Event) -> list[Effect]:
        """Take one event and return what is to be done; what it raises has changed nothing."""
        ...


@dataclass(frozen=True, kw_only=True)
class Served:
    """What a server serves.

    task : the statement that the claim is about.
    make_session : a fresh session, which knows the claim. Any two are alike: a record is replayed in either.
    engine : trains; run by one thread at a time.
    """

    task: Task
    make_session: Callable[[], Session]
    engine: Engine


@dataclass(kw_only=True)
class Round:
    """A challenge, and how far its answers are. ``answers`` and ``failure`` are set once, at the end."""

    challenge: Challenge
    train: Train
    n_done: int = 0
    answers: Answers | None = None
    failure: AttributionProofsError | None = None

    @property
    def total(self) -> int:
        return len(self.train.evaluations)

    @property
    def is_under_way(self) -> bool:
        return self.answers is None and self.failure is None


class _LeaveOff(Exception):
    """The training ends at this chunk: the server stops, the session is over, or its verifier is gone."""


class LiveSession:
    """One session; every method may be called from any thread.

    Parameters
    ----------
    let_go : asked between chunks whether the verifier is gone; when it says so, this object is dropped.
    """

    def __init__(self, *, served: Served, journal: Journal, worker: Worker, let_go: Callable[[], bool]) -> None:
        self._served, self._journal, self._worker, self._let_go = served, journal, worker, let_go
        self._changed = threading.Condition()
        self._is_restored = False
        self._session = served.make_session()
        self._opening: Opening | None = None
        self._committed: ClaimCommitted | None = None
        self._rounds: dict[int, Round] = {}  # by number: rounds of the verifier's own lie between
        self._last: Closing | Aborted | None = None
        self.is_broken = False

    # Read without the lock: each is one attribute or a list that only grows.

    @property
    def is_open(self) -> bool:
        """Whether a claim was committed to here."""
        return self._committed is not None

    @property
    def is_working(self) -> bool:
        """Whether answers are being trained, or wait to be."""
        return any(r.is_under_way for r in list(self._rounds.values())) and not self._session.is_over

    @property
    def n_answer_bytes(self) -> int:
        """Return what the answers take in memory, or will."""
        return sum(r.total for r in list(self._rounds.values())) * FLOAT_BYTES * self._served.task.n_targets

    @property
    def is_recorded(self) -> bool:
        """Whether anything of it is on disk."""
        return self._journal.has_begun

    def restore(self) -> None:
        """Replay what is written of this session, the first time this is called."""
        with self._changed:
            if self._is_restored:
                return
            self._require_whole()
            with self._breaking():
                record = self._journal.read()
                if record is not None:
                    self._replay(record)
            self._is_restored = True

    def open(self, opening: Opening) -> ClaimCommitted:
        """Commit to the claim; the same opening again returns the same."""
        with self._changed:
            if self._opening is None or self._committed is None:
                return self._begin(opening)
            if opening != self._opening:
                raise Refused("expected the opening that began this session, got another", Reason.OUT_OF_ORDER)
            return self._committed

    def committed(self) -> ClaimCommitted:
        """Return what was committed to, or raise :class:`Refused` when nothing was."""
        if self._committed is None:
            raise Refused("expected a session that was opened here, got one that is not known", Reason.OUT_OF_ORDER)
        return self._committed

    def submit(self, challenge: Challenge) -> None:
        """Take a challenge and queue its training; the same one again changes nothing.

        Raises
        ------
        PeerError
            Out of order, too much, another challenge than the one taken for this round, or busy.
        StoreError
            It could not be written down; nothing was taken.
        """
        with self._changed:
            committed = self.committed()
            self._require_whole()
            taken = self._rounds.get(challenge.round)
            if taken is not None:
                if challenge.digest != taken.challenge.digest:
                    raise Refused(
                        f"expected the challenge that was taken for round {challenge.round}, got another",
                        Reason.OUT_OF_ORDER,
                    )
                return
            with self._worker.place() as fill:
                effects = self._session.handle(Received(challenge))
                with self._breaking():
                    self._journal.begin(self._opening_taken(), committed)
                    self._journal.append(challenge)
                round_ = self._add(challenge, effects)
                fill(partial(self._train, round_))

    def wait(self, number: int, seen: int, timeout_s: float) -> Round:
        """Return a round when it has more than ``seen`` trainings done, has ended, or after ``timeout_s``.

        Raises
        ------
        PeerError
            There is no such round, or the session ended before its answers.
        AttributionProofsError
            The round failed, and why.
        """
        with self._changed:
            self.committed()
            round_ = self._rounds.get(number)
            if round_ is None:
                raise Refused(f"expected a round that was challenged, got round {number}", Reason.OUT_OF_ORDER)
            self._changed.wait_for(
                lambda: not round_.is_under_way or round_.n_done > seen or self._session.is_over, timeout_s
            )
            self._require_whole()
            if round_.failure is not None:
                raise round_.failure
            if round_.is_under_way and self._session.is_over:
                raise Refused(f"the session ended before round {number} was answered", Reason.OUT_OF_ORDER)
            return round_

    def end(self, last: Closing | Aborted) -> None:
        """Take the verifier's last word; the same again changes nothing."""
        with self._changed:
            self.committed()
            self._require_whole()
            if self._last is not None and last.digest == self._last.digest:
                return
            self._session.handle(Received(last))
            self._last = last
            self._changed.notify_all()
            if self._journal.has_begun:  # one without a challenge leaves no record: openings cannot fill a disk
                with self._breaking():
                    self._journal.append(last)

    def wake(self) -> None:
        """Let everyone who waits look again."""
        with self._changed:
            self._changed.notify_all()

    def _begin(self, opening: Opening) -> ClaimCommitted:
        message = _sent(self._session.handle(Received(opening)))
        if isinstance(message, Aborted):
            raise Refused(message.text, message.reason)
        if not isinstance(message, ClaimCommitted):
            raise InternalError(f"expected a claim in answer to an opening, got {type(message).__name__}")
        self._opening, self._committed = opening, message
        return message

    def _replay(self, record: Record) -> None:
        if self._begin(record.opening).digest != record.claim:
            raise Refused("the claim that this session was opened on is no longer served; open a new session")
        for message in record.rest:
            effects = self._session.handle(Received(message))
            if isinstance(message, Challenge):
                self._resume(self._add(message, effects))
            elif isinstance(message, Closing | Aborted):
                self._last = message
        if self.is_working:
            with self._worker.place() as fill:
                fill(partial(self._train, list(self._rounds.values())[-1]))

    def _resume(self, round_: Round) -> None:
        missing = self._journal.missing(round_.challenge.round, round_.total)
        round_.n_done = round_.total - sum(map(len, missing))
        if not missing:
            self._finish(round_)

    def _add(self, challenge: Challenge, effects: list[Effect]) -> Round:
        train = next((effect for effect in effects if isinstance(effect, Train)), None)
        if train is None:
            raise InternalError("a prover's session took a challenge and asked for no training")
        round_ = Round(challenge=challenge, train=train)
        self._rounds[challenge.round] = round_
        return round_

    def _train(self, round_: Round) -> None:
        """Train what is missing of a round, and commit to its answers. Runs on the worker's thread."""
        try:
            self._leave_off_if_told()
            for gap in self._journal.missing(round_.challenge.round, round_.total):
                self._train_gap(round_, gap)
            with self._changed:
                self._finish(round_)
        except _LeaveOff:
            logger.info("session %s: training leaves off at %d", self._journal.session_id, round_.n_done)
        except AttributionProofsError as error:
            self._fail(round_, error)
        except Exception as error:
            logger.exception("session %s: training failed", self._journal.session_id)
            self._fail(round_, InternalError(f"training failed: {error}"))
        finally:
            self.wake()

    def _train_gap(self, round_: Round, gap: range) -> None:
        wanted = round_.train.evaluations[gap.start : gap.stop]
        n_taken = 0

        def take(done: Done) -> None:
            nonlocal n_taken
            k = len(done.evaluations)
            if not np.array_equal(done.evaluations, wanted[n_taken : n_taken + k]) or len(done.outputs) != k:
                raise InternalError(f"engine: expected outputs from evaluation {gap.start + n_taken} on, got others")
            self._journal.keep(round_.challenge.round, gap.start + n_taken, done.outputs)
            n_taken += k
            with self._changed:
                round_.n_done += k
                self._changed.notify_all()
            if n_taken < len(gap):
                self._leave_off_if_told()

        self._served.engine.run(round_.train.draw, wanted, in_order(wanted, take))
        if n_taken != len(gap):
            raise InternalError(f"engine: expected {len(gap)} outputs, got {n_taken}")

    def _finish(self, round_: Round) -> None:
        if self._session.is_over:
            return
        outputs = self._journal.answers(round_.challenge.round, round_.total, self._served.task.n_targets)
        message = _sent(self._session.handle(Trained(outputs)))
        if isinstance(message, Aborted):
            round_.failure = Refused(message.text, message.reason)
        elif isinstance(message, Answers):
            round_.answers = message
        else:
            raise InternalError(f"expected answers after their training, got {type(message).__name__}")

    def _fail(self, round_: Round, error: AttributionProofsError) -> None:
        logger.error("session %s, round %d: %s", self._journal.session_id, round_.challenge.round, error)
        with self._changed:
            round_.failure = error
            if not self._session.is_over:
                self._session.handle(Lost(message_of(error)))

    def _leave_off_if_told(self) -> None:
        if self._worker.is_stopping or self._session.is_over or self._let_go():
            raise _LeaveOff

    def _opening_taken(self) -> Opening:
        if self._opening is None:
            raise InternalError("a session took a challenge before its opening")
        return self._opening

    @contextmanager
    def _breaking(self) -> Iterator[None]:
        """Mark this object as unlike its record when the block fails: it is to be dropped, and replayed."""
        try:
            yield
        except BaseException:
            self.is_broken = True
            raise

    def _require_whole(self) -> None:
        if self.is_broken:
            raise StoreError(f"session {self._journal.session_id}: expected it to be on disk, it could not be written")


def _sent(effects: list[Effect]) -> Message | None:
    return next((effect.message for effect in effects if isinstance(effect, Send)), None)
