"""A claim file in the place of a prover: the same session, with nobody at the other end.

Nothing can be asked of a file, so the verifier trains everything itself. The file is read and checked in full before
a session exists, and so before any challenge is drawn.
"""

from __future__ import annotations

import stat
from pathlib import Path

from protocol.errors import DataError, InternalError, MalformedMessage
from protocol.session.messages import Challenge, ClaimCommitted, Message, Opening
from protocol.task import Task
from protocol.wire.files import claim_file_from_bytes
from protocol.wire.limits import MAX_FILE_BYTES
from verifier.loop import OnProgress, Spoken


def read_bytes(path: Path, what: str) -> bytes:
    """Return the bytes of a file that somebody else may have made.

    Raises
    ------
    DataError
        No such file, one that cannot be read, or one too large to be a ``what``.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device has no size to check beforehand
            raise DataError(f"{what} {path}: expected a regular file, got something else; check the path")
        if status.st_size > MAX_FILE_BYTES:
            raise DataError(f"{what} {path}: expected at most {MAX_FILE_BYTES} bytes, got {status.st_size}")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{what} {path}: expected a file to read, got {error.strerror}; check the path") from error


def read_claim(path: Path) -> tuple[Task, ClaimCommitted]:
    """Return the task and the claim of a file, neither of them believed yet.

    Raises
    ------
    DataError
        Missing, truncated, over-long or not a claim file. A signature or root that does not fit
        is not found here: it is the session's to reject.
    """
    try:
        return claim_file_from_bytes(read_bytes(path, "claim file"))
    except MalformedMessage as error:
        raise DataError(f"{path}: {error}; ask for the file again") from error


class FileProver:
    """Says what the file says, once, and hears nothing."""

    def __init__(self, committed: ClaimCommitted) -> None:
        self._committed = committed

    def exchange(self, message: Spoken, *, on_progress: OnProgress) -> Message | None:
        """Return the claim when the session opens, and nothing after its last word."""
        if isinstance(message, Challenge):
            raise InternalError("a claim file cannot be challenged: verify it with your own answers")
        if not isinstance(message, Opening):
            return None
        on_progress(1, 1)
        return self._committed

    def close(self) -> None:
        """Nothing is held open."""
