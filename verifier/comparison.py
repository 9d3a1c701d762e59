"""What several filed sessions about one task say together that none says alone.

Two things escape any one session. A prover may sign a claim for every verifier, each good enough to be accepted: then
there is no one claim, and two transcripts show it, each with the prover's signature over another root for one task.
And a prover, or a verifier, may hold session after session until one ends in ACCEPT: each spends a delta of its own.

Owns what follows from the transcripts that it is given. Refuses to know of sessions that nobody filed or showed: a
verifier that throws transcripts away is not found out here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from protocol.commitments import PublicKey
from protocol.encoding import Digest
from protocol.errors import ArgumentError, DataError, PeerError
from protocol.session.messages import ClaimCommitted, Opening, Outcome
from protocol.session.recheck import recheck
from protocol.session.transcript import SignedTranscript
from protocol.session.verdict import Verdict
from verifier import filing


@dataclass(frozen=True, kw_only=True)
class Session:
    """One filed session, decided again.

    verifier : who signed the transcript. prover : whose signature is on the claim. Without a claim that passed V1 to
    V5 there is no prover and no root: nobody can be held to what was not signed.
    """

    place: Path
    nonce: bytes
    task_digest: Digest
    verifier: PublicKey
    prover: PublicKey | None
    verdict: Verdict

    @property
    def root(self) -> Digest | None:
        """Of the claim that this verifier was shown."""
        return self.verdict.claim_root


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Sessions about one task, in the order given, no two the same."""

    sessions: tuple[Session, ...]

    @property
    def two_faced(self) -> tuple[PublicKey, ...]:
        """The provers that signed more than one claim about the task, in the order in which they appear."""
        roots: dict[bytes, set[Digest]] = {}
        keys: dict[bytes, PublicKey] = {}
        for session in self.sessions:
            if session.prover is not None and session.root is not None:
                keys[session.prover.raw] = session.prover
                roots.setdefault(session.prover.raw, set()).add(session.root)
        return tuple(key for raw, key in keys.items() if len(roots[raw]) > 1)

    @property
    def n_accepted(self) -> int:
        """How many sessions ended in ACCEPT."""
        return sum(session.verdict.outcome is Outcome.ACCEPT for session in self.sessions)

    @property
    def delta(self) -> float:
        """What a wrong ACCEPT in any of the sessions may have had for a probability: their deltas' sum, at most 1."""
        return min(1.0, sum(session.verdict.terms.delta for session in self.sessions))


def compare(paths: Sequence[Path]) -> Comparison:
    """Return what the transcripts say together, each decided again first, the recorded retrainings believed.

    Raises
    ------
    ArgumentError
        Fewer than two.
    DataError
        A file that is no transcript, or supports no verdict; two about different tasks; one session twice.
    """
    if len(paths) < 2:
        raise ArgumentError(f"expected two transcripts or more to compare, got {len(paths)}")
    sessions: list[Session] = []
    for path in paths:
        session = _session(path)
        for other in sessions:
            if session.task_digest != other.task_digest:
                raise DataError(f"{path}: expected a session about the task of {other.place}, got another task")
            if (session.nonce, session.verifier) == (other.nonce, other.verifier):
                raise DataError(f"{path}: expected a session of its own, got that of {other.place}; name each once")
        sessions.append(session)
    return Comparison(sessions=tuple(sessions))


def _session(path: Path) -> Session:
    filed = filing.read_transcript(path)
    try:
        verdict = recheck(filed)
    except PeerError as error:
        raise DataError(f"{path}: {error}; it supports no verdict") from error
    return Session(
        place=path,
        nonce=_nonce(filed),
        task_digest=filed.task.digest,
        verifier=filed.public_key,
        prover=None if verdict.claim_root is None else _prover(filed),
        verdict=verdict,
    )


def _nonce(filed: SignedTranscript) -> bytes:
    return next(entry.message.nonce for entry in filed.entries if isinstance(entry.message, Opening))


def _prover(filed: SignedTranscript) -> PublicKey:
    claims = (entry.message for entry in filed.entries if isinstance(entry.message, ClaimCommitted))
    return next(claims).signed.public_key
