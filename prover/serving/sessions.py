"""All sessions of a server: which are in memory, who may come in, who makes room.

Owns the budgets over sessions (``limits``). A session in memory is a cache of its record: dropping a quiet one loses
nothing but an opening, and an opening can be said again. So a flood of openings costs neither disk nor the place of a
session that is being answered.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from protocol.errors import Reason, Refused
from protocol.session.messages import Challenge, ClaimCommitted, Opening
from protocol.wire.codec import nonce_from_session_id, session_id_of
from protocol.wire.fields import FLOAT_BYTES
from prover.serving.journal import Journal
from prover.serving.limits import Limits
from prover.serving.live import LiveSession, Served
from prover.serving.worker import Worker
from prover.store import Store


@dataclass(kw_only=True)
class _Held:
    """A session in memory, how many calls are in it, and since when there are none."""

    session: LiveSession
    n_users: int
    quiet_since: float


class Sessions:
    """The sessions of one server; every method may be called from any thread.

    Parameters
    ----------
    clock : monotonic seconds.
    """

    def __init__(
        self, served: Served, store: Store, limits: Limits, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._served, self._store, self._limits, self._clock = served, store, limits, clock
        self._worker = Worker(limits.max_queued_rounds)
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}
        self._n_stored = len(store.session_ids())

    @property
    def is_stopping(self) -> bool:
        return self._worker.is_stopping

    def open(self, opening: Opening) -> ClaimCommitted:
        """Begin the session that the opening's nonce names, or find it, and commit to the claim."""
        with self.use(session_id_of(opening.nonce)) as session:
            return session.open(opening)

    def submit(self, session_id: str, challenge: Challenge) -> None:
        """Take a challenge, as :meth:`LiveSession.submit`, within the budgets of memory and disk."""
        with self.use(session_id) as session:
            self._require_memory_for(challenge)
            is_new = not session.is_recorded
            if is_new:
                self._make_room_on_disk()
            session.submit(challenge)
            if is_new:
                with self._lock:
                    self._n_stored += 1

    @contextmanager
    def use(self, session_id: str) -> Iterator[LiveSession]:
        """Hold a session in memory while the block runs, read back from its record where there is one.

        Raises
        ------
        MalformedMessage
            ``session_id`` is not one.
        Refused
            As busy: every place is taken by a session with work under way.
        """
        nonce_from_session_id(session_id)
        held = self._hold(session_id)
        try:
            held.session.restore()
            yield held.session
        finally:
            self._release(session_id, held)

    def sweep(self) -> None:
        """Drop the sessions that nobody called for long and that have nothing under way."""
        with self._lock:
            self._drop_idle()

    def stop(self, grace_s: float) -> bool:
        """Train nothing more; return whether the chunk under way ended, and was written, in time."""
        left_off = self._worker.stop(grace_s)
        with self._lock:
            sessions = [held.session for held in self._held.values()]
        for session in sessions:
            session.wake()
        return left_off

    def _hold(self, session_id: str) -> _Held:
        with self._lock:
            held = self._held.get(session_id)
            if held is None:
                self._make_room()
                held = _Held(session=self._new(session_id), n_users=0, quiet_since=self._clock())
                self._held[session_id] = held
            held.n_users += 1
            return held

    def _release(self, session_id: str, held: _Held) -> None:
        with self._lock:
            held.n_users -= 1
            held.quiet_since = self._clock()
            useless = held.session.is_broken or not held.session.is_open
            if held.n_users == 0 and useless and self._held.get(session_id) is held:
                del self._held[session_id]

    def _new(self, session_id: str) -> LiveSession:
        return LiveSession(
            served=self._served,
            journal=Journal(self._store, session_id),
            worker=self._worker,
            let_go=lambda: self._let_go(session_id),
        )

    def _let_go(self, session_id: str) -> bool:
        """Drop a session whose verifier is gone; its training, which asks, is to end."""
        with self._lock:
            held = self._held.get(session_id)
            if held is None or not self._is_idle(held):
                return False
            del self._held[session_id]
            return True

    def _is_idle(self, held: _Held) -> bool:
        return held.n_users == 0 and self._clock() - held.quiet_since > self._limits.idle_timeout_s

    def _drop_idle(self) -> None:
        for session_id in [s for s, held in self._held.items() if self._is_idle(held) and not held.session.is_working]:
            del self._held[session_id]

    def _make_room(self) -> None:
        if len(self._held) < self._limits.max_sessions:
            return
        self._drop_idle()
        quiet = [s for s, held in self._held.items() if held.n_users == 0 and not held.session.is_working]
        if len(self._held) >= self._limits.max_sessions:
            if not quiet:
                raise Refused(
                    f"expected at most {self._limits.max_sessions} sessions at work, got one more; try again later",
                    Reason.BUSY,
                )
            del self._held[min(quiet, key=lambda s: self._held[s].quiet_since)]

    def _require_memory_for(self, challenge: Challenge) -> None:
        with self._lock:
            n_bytes = sum(held.session.n_answer_bytes for held in self._held.values())
        n_bytes += challenge.draw.n_evaluations * FLOAT_BYTES * self._served.task.n_targets
        if n_bytes > self._limits.max_held_answer_bytes:
            raise Refused(
                f"expected answers of at most {self._limits.max_held_answer_bytes} bytes in all sessions, "
                f"got {n_bytes}; try again later",
                Reason.BUSY,
            )

    def _make_room_on_disk(self) -> None:
        """Forget the oldest sessions on disk, other than those in memory, until one more has its place."""
        with self._lock:
            n_over, in_memory = self._n_stored + 1 - self._limits.max_stored_sessions, set(self._held)
        if n_over <= 0:
            return
        for session_id in [s for s in self._store.session_ids() if s not in in_memory][:n_over]:
            self._store.drop_session(session_id)
            with self._lock:
                self._n_stored -= 1
