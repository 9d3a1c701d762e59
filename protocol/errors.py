"""Every error that this project raises on purpose, split by whose fault it is.

    AttributionProofsError
    |-- InternalError               ours: a bug
    |-- PeerError                   the other party's; carries a Reason
    |   |-- MalformedMessage        bytes, shapes or numbers that no honest party sends
    |   |-- OutOfOrder              a message that the state table does not allow here
    |   |-- CommitmentError         a root, path or signature that does not fit
    |   `-- Refused                 the other party declined, and said why
    |-- InputError                  the user's
    |   |-- TaskFileError           a task file, or a value in one
    |   |-- DataError               a data set, scores or payouts file
    |   `-- ArgumentError           an option or argument
    |-- BudgetError                 more retrainings, bytes or time than was allowed
    |-- TransportError              the network's, or a server that is not there
    |-- StoreError                  the disk's, or a store that somebody else holds
    `-- TrainingError               the engine's: a training that gave no usable number

A message is one line: what was expected, what came, what to do next.
A statistical outcome is never an error: it is a ``Verdict``.

``exit_status`` is what the commands end with; 0, 1 and 2 are verdicts (see the README),
the rest follow the customs of ``sysexits.h``.
"""

from __future__ import annotations

import enum


class Reason(enum.Enum):
    """Why a peer's message was not taken; the words that travel on the wire."""

    MALFORMED = "malformed"
    OUT_OF_ORDER = "out-of-order"
    BAD_COMMITMENT = "bad-commitment"
    WRONG_TASK = "wrong-task"
    TOO_LARGE = "too-large"
    BUSY = "busy"
    FAILED = "failed"


class AttributionProofsError(Exception):
    """Root of every error raised on purpose."""

    exit_status = 70


class InternalError(AttributionProofsError):
    """A bug of ours: please report it."""

    exit_status = 70


class PeerError(AttributionProofsError):
    """The other party broke the protocol.

    On the verifier's side it becomes a REJECT, so its exit status is a REJECT's.
    """

    exit_status = 1
    reason = Reason.MALFORMED


class MalformedMessage(PeerError):
    """Bytes, shapes or numbers that no honest party sends."""


class OutOfOrder(PeerError):
    """A message that the state table does not allow in this state."""

    reason = Reason.OUT_OF_ORDER


class CommitmentError(PeerError):
    """A Merkle root, an inclusion proof or a signature that does not fit what it covers."""

    reason = Reason.BAD_COMMITMENT


class Refused(PeerError):
    """The other party declined, and said why."""

    def __init__(self, message: str, reason: Reason = Reason.FAILED) -> None:
        super().__init__(message)
        self.reason = reason


class InputError(AttributionProofsError):
    """Something that the user gave cannot be used."""

    exit_status = 65


class TaskFileError(InputError):
    """A task file, or a value in one, cannot be used."""


class DataError(InputError):
    """A data set, scores file or payouts file cannot be used."""


class ArgumentError(InputError):
    """An option or argument cannot be used."""

    exit_status = 64


class BudgetError(AttributionProofsError):
    """The work asked for is more than the budget given."""

    exit_status = 75


class TransportError(AttributionProofsError):
    """The other party cannot be reached, or went away."""

    exit_status = 69


class StoreError(AttributionProofsError):
    """State on disk cannot be read, written or locked."""

    exit_status = 74


class TrainingError(AttributionProofsError):
    """A training gave no usable number, or could not be run here.

    row : which of the subsets asked for it was, where it was one.
    """

    exit_status = 71

    def __init__(self, message: str, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row
