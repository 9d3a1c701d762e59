"""Every budget of a prover's server, in one place, with units.

None of them affects outputs. What one message may hold is ``protocol.wire.limits``' business. A verifier needs no
account, so whatever a call may cost is bounded here: memory, threads, disk and trainings.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from protocol.errors import ArgumentError
from protocol.wire.fields import FLOAT_BYTES
from protocol.wire.limits import GIB, MAX_ANSWERS_BYTES


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a server spends on those who call it.

    max_sessions : held in memory; past it the one that was quiet longest makes room, and comes back by replay.
    max_evaluations_per_session : most trainings that one verifier may ask for, over all rounds.
    max_queued_rounds : challenges that wait for the trainer or are with it; one more is refused as busy.
    max_stored_sessions : sessions with a challenge on disk, a few hundred bytes and their answers each.
    max_held_answer_bytes : of answers in memory, over all sessions.
    max_open_streams : streams at once, of every service; each holds a thread.
    n_unary_threads : threads beside those, so that streams never starve the short calls.
    max_stream_s : a stream is cut off after this long, and resumes where it was: a reader that does not read is
        rid of, too.
    heartbeat_s : how often a stream that has nothing new says so.
    idle_timeout_s : a session that nobody called for this long leaves memory, and its training stops at the next
        chunk; both come back when its verifier does.
    shutdown_grace_s : how long calls and the chunk under way may take to end when the server is told to stop.
    """

    max_sessions: int = 64
    max_evaluations_per_session: int = 50_000
    max_queued_rounds: int = 16
    max_stored_sessions: int = 100_000
    max_held_answer_bytes: int = 2 * GIB
    max_open_streams: int = 64
    n_unary_threads: int = 8
    max_stream_s: float = 600.0
    heartbeat_s: float = 2.0
    idle_timeout_s: float = 900.0
    shutdown_grace_s: float = 10.0

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if not value > 0:  # also false for NaN
                raise ArgumentError(f"limits: expected {limit.name} above 0, got {value}")

    def max_evaluations(self, n_targets: int) -> int:
        """Return the most trainings of one session whose answers, T = ``n_targets`` numbers each, can also be sent."""
        return min(self.max_evaluations_per_session, MAX_ANSWERS_BYTES // (FLOAT_BYTES * n_targets))
