"""What of a session survives a crash: its messages and its answers so far, in order.

Owns how a session is written down and read back. Refuses to know the disk (``store``) and the protocol's order: a
record is replayed through a fresh session (``live``), which checks it as it checked it the first time.

What the prover said is not written down, except which claim: its session says it again, byte for byte, since
signatures are deterministic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float64

from protocol.encoding import Digest
from protocol.errors import PeerError, StoreError
from protocol.session.messages import Aborted, Challenge, ClaimCommitted, Closing, Opening, Sender
from protocol.session.transcript import Entry
from protocol.wire.fields import parse
from protocol.wire.generated import attribution_pb2 as pb
from protocol.wire.record_codec import entry_from_proto, entry_to_proto
from prover.store import Store, answers_series

Spoken: TypeAlias = Opening | Challenge | Closing | Aborted
"""What a verifier says to a prover."""

N_PREAMBLE = 2
"""The opening, and the digest of the claim that answered it."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """A session as it was written down.

    claim : names the claim and its signature that the session was opened on.
    rest : what the verifier said after its opening, in order.
    """

    opening: Opening
    claim: Digest
    rest: tuple[Spoken, ...]


class Journal:
    """One session's place in the store."""

    def __init__(self, store: Store, session_id: str) -> None:
        self._store, self.session_id = store, session_id
        self._n_messages = 0

    def read(self) -> Record | None:
        """Return what is written, None for nothing.

        Raises
        ------
        StoreError
            The disk cannot be read, or holds what was never written.
        """
        messages = [message for _, message in self._store.session_messages(self.session_id)]
        if len(messages) < N_PREAMBLE:  # a crash before the first challenge was written leaves nothing to keep
            return None
        self._n_messages = len(messages)
        opening, *rest = (self._spoken(message) for message in [messages[0], *messages[N_PREAMBLE:]])
        if not isinstance(opening, Opening):
            raise StoreError(f"session {self.session_id}: expected an opening first, got {type(opening).__name__}")
        return Record(opening=opening, claim=Digest(messages[1]), rest=tuple(rest))

    def begin(self, opening: Opening, committed: ClaimCommitted) -> None:
        """Write the opening and which claim answered it, unless they are written."""
        if self._n_messages == 0:
            self._write(Sender.VERIFIER, _bytes_of(opening))
            self._write(Sender.PROVER, committed.digest)

    def append(self, message: Challenge | Closing | Aborted) -> None:
        """Write what the verifier said next."""
        self._write(Sender.VERIFIER, _bytes_of(message))

    @property
    def has_begun(self) -> bool:
        return self._n_messages > 0

    def keep(self, round_: int, first: int, outputs: Float64[np.ndarray, "k t"]) -> None:
        """Write the answers ``first``, ``first`` + 1, ... of a round."""
        self._store.save_answers(self.session_id, round_, first, outputs)

    def missing(self, round_: int, n_answers: int) -> list[range]:
        """Return the runs of a round's evaluations that are not written yet, ascending."""
        return self._store.missing(answers_series(self.session_id, round_), n_answers)

    def answers(self, round_: int, n_answers: int, n_targets: int) -> Float64[np.ndarray, "m t"]:
        """Return all of a round's answers; StoreError if some are missing."""
        return self._store.answers(self.session_id, round_, n_answers, n_targets)

    def _write(self, sender: Sender, message: bytes) -> None:
        self._store.save_session_message(self.session_id, self._n_messages, sender, message)
        self._n_messages += 1

    def _spoken(self, data: bytes) -> Spoken:
        try:
            message = entry_from_proto(parse(pb.Entry, data, "session record")).message
        except PeerError as error:
            raise StoreError(f"session {self.session_id}: expected what was written, got a damaged record") from error
        if not isinstance(message, Opening | Challenge | Closing | Aborted):
            raise StoreError(f"session {self.session_id}: expected what a verifier says, got {type(message).__name__}")
        return message


def _bytes_of(message: Spoken) -> bytes:
    return entry_to_proto(Entry(Sender.VERIFIER, message)).SerializeToString()
