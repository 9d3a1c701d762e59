"""What a verification leaves on disk: the signed transcript, and the scores when they were accepted.

Every file is written whole beside its place and then moved there, so that a full disk or a kill leaves the old one or
none, never half of one.
"""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

import numpy as np

from protocol.certificate.terms import Terms
from protocol.claim import Claim
from protocol.commitments import SigningKey
from protocol.errors import DataError, InternalError, MalformedMessage, StoreError
from protocol.session.messages import ClaimCommitted, Outcome
from protocol.session.transcript import SignedTranscript, Transcript, sign_transcript
from protocol.session.verdict import Verdict
from protocol.task import Task
from protocol.wire.files import transcript_from_bytes, transcript_to_bytes
from verifier.offline import read_bytes


def default_transcript_path(nonce: bytes) -> Path:
    """Return the transcript's place when the user names none: ``verdict-NONCE.transcript``, here."""
    return Path(f"verdict-{nonce.hex()}.transcript")


def check_writable(path: Path) -> None:
    """Raise :class:`StoreError` unless a file can be put at ``path``; better now than after the work."""
    folder = path.parent
    if not folder.is_dir():
        raise StoreError(f"{path}: expected a folder {folder} to write into, got none; make it first")
    if path.is_dir():
        raise StoreError(f"{path}: expected a file's name, got a folder's")
    if not os.access(folder, os.W_OK):
        raise StoreError(f"{path}: expected a folder to write into, got one without permission")


def write_bytes(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path``, whole or not at all; :class:`StoreError` when the disk refuses."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            draft = Path(file.name)
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                draft.chmod(0o644)
                draft.replace(path)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise StoreError(
            f"{path}: expected to write {len(data)} bytes, got {error.strerror}; nothing was changed"
        ) from error


def file_transcript(path: Path, task: Task, terms: Terms, transcript: Transcript, key: SigningKey) -> None:
    """Sign the transcript and put it at ``path``.

    Raises
    ------
    StoreError
        The disk refuses. BudgetError when it is too large for a file.
    """
    write_bytes(path, transcript_to_bytes(sign_transcript(task, terms, transcript, key)))


def read_transcript(path: Path) -> SignedTranscript:
    """Return a filed transcript, its signature not yet checked.

    Raises
    ------
    DataError
        Missing, truncated, over-long or not a transcript.
    """
    try:
        return transcript_from_bytes(read_bytes(path, "transcript"))
    except MalformedMessage as error:
        raise DataError(f"{path}: {error}; ask for the file again") from error


def write_scores(path: Path, verdict: Verdict, transcript: Transcript) -> None:
    """Put the accepted claim at ``path`` as a .npy of shape (T, N+1): the intercept, then N scores.

    Only an ACCEPT returns the scores (THEORY 4): anything else is a bug of the caller's and raises.
    """
    if verdict.outcome is not Outcome.ACCEPT:
        raise InternalError(f"scores are for an ACCEPT, not for {verdict.outcome.value}")
    buffer = io.BytesIO()
    np.save(buffer, _table(_claim_of(transcript)), allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def _claim_of(transcript: Transcript) -> Claim:
    for entry in transcript.entries:
        if isinstance(entry.message, ClaimCommitted):
            return entry.message.claim
    raise InternalError("an accepted transcript has no claim")


def _table(claim: Claim) -> np.ndarray:
    return np.column_stack([claim.intercepts, claim.scores])
