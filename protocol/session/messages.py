"""Everything that is said in a session, as frozen values (proto/SPEC.md, section 5).

Each message checks what can be checked without knowing the task or the state; ``digest`` is
what the transcript chains. Bytes on the wire are ``protocol.wire.codec``'s business.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from jaxtyping import Float64, Int64

from protocol.certificate.readings import check_shapes
from protocol.certificate.terms import Rounds
from protocol.claim import Claim, Figures
from protocol.commitments import MerkleTree, PublicKey
from protocol.encoding import Digest, Seed, canonical, checked_digest, digest
from protocol.errors import MalformedMessage, Reason
from protocol.game import Game
from protocol.game.sampling import Draw, subset_digests

PROTOCOL_VERSION = 1
NONCE_BYTES = 16
MAX_TEXT = 1000


class Sender(enum.Enum):
    """Who said a message."""

    PROVER = "prover"
    VERIFIER = "verifier"


@dataclass(frozen=True, kw_only=True)
class Opening:
    """The verifier names the task it trusts; the nonce makes the session unlike any other."""

    version: int
    nonce: bytes
    task_digest: Digest

    def __post_init__(self) -> None:
        if self.version != PROTOCOL_VERSION:
            raise MalformedMessage(f"opening: expected protocol version {PROTOCOL_VERSION}, got {self.version}")
        if len(self.nonce) != NONCE_BYTES:
            raise MalformedMessage(f"opening: expected a nonce of {NONCE_BYTES} bytes, got {len(self.nonce)}")
        checked_digest(self.task_digest, "opening's task digest")

    @property
    def digest(self) -> Digest:
        return digest("opening", self.version, self.nonce, self.task_digest)


@dataclass(frozen=True, kw_only=True)
class SignedClaim:
    """A commitment to a claim, good in every session and in a file.

    root : Merkle root over the claim's T leaves. signature : by ``public_key`` over ``digest``.
    """

    task_digest: Digest
    root: Digest
    figures: Figures
    public_key: PublicKey
    signature: bytes

    @staticmethod
    def digest_of(task_digest: Digest, root: Digest, figures: Figures, public_key: PublicKey) -> Digest:
        """Return what is signed."""
        f = figures
        numbers = (float(f.relative_gap), float(f.odd_residual), float(f.r2))  # an int would have other bytes
        return digest("claim", task_digest, root, *numbers, f.n_retrainings, public_key.raw)

    @property
    def digest(self) -> Digest:
        return self.digest_of(self.task_digest, self.root, self.figures, self.public_key)

    def check_signature(self) -> None:
        """Raise :class:`CommitmentError` unless the key signed this claim."""
        self.public_key.verify(self.signature, self.digest, "claim")

    def check_covers(self, claim: Claim) -> None:
        """Raise unless the root is that of ``claim``'s leaves, for the same task."""
        if claim.task_digest != self.task_digest or MerkleTree(claim.leaves()).root != self.root:
            raise MalformedMessage("claim: the scores that came are not those under the signed Merkle root")


@dataclass(frozen=True, kw_only=True, eq=False)
class ClaimCommitted:
    """The prover's claim, whole, under its signature. After this it cannot change."""

    signed: SignedClaim
    claim: Claim

    def check(self, game: Game) -> None:
        """Raise :class:`PeerError` unless the claim is about ``game``, whole and signed (SPEC 8, V3 to V5)."""
        check_shapes(game, self.claim)  # V3
        self.signed.check_signature()  # V4
        self.signed.check_covers(self.claim)  # V5

    @property
    def digest(self) -> Digest:
        return digest("claim committed", self.signed.digest, self.signed.signature)


@dataclass(frozen=True, kw_only=True)
class RoundsChosen:
    """The rounds that the verifier chose, once the claim was in; recorded, never sent."""

    rounds: Rounds

    @property
    def digest(self) -> Digest:
        return self.rounds.digest


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """Fresh randomness, drawn only when the claim is in. ``round`` counts from 0."""

    round: int
    draw: Draw

    def __post_init__(self) -> None:
        if not 0 <= self.round < 64:
            raise MalformedMessage(f"challenge: expected a round from 0 to 63, got {self.round}")

    @property
    def digest(self) -> Digest:
        return digest("challenge", self.round, self.draw.digest)


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """The prover's outputs for a challenge, all of them, committed and signed.

    outputs : shape (m, T), in evaluation order; finite.
    root : Merkle root over one leaf an evaluation (:func:`answer_leaves`).
    signature : over the transcript's head before this message, the round and the root.
    """

    round: int
    outputs: Float64[np.ndarray, "m t"]
    root: Digest
    signature: bytes

    def __post_init__(self) -> None:
        if self.outputs.ndim != 2 or 0 in self.outputs.shape:
            raise MalformedMessage(f"answers: expected outputs of shape (m, T), got {self.outputs.shape}")
        wrong = np.flatnonzero(~np.isfinite(self.outputs).all(axis=1))
        if wrong.size:
            raise MalformedMessage(f"answers: expected finite outputs, got NaN or infinity in answer {wrong[0]}")
        checked_digest(self.root, "answers' Merkle root")
        self.outputs.setflags(write=False)

    @staticmethod
    def digest_of(head: Digest, round_: int, root: Digest) -> Digest:
        """Return what is signed; ``head`` binds it to everything said before."""
        return digest("answers", head, round_, root)

    @property
    def digest(self) -> Digest:
        return digest("answers committed", self.round, self.root, self.signature)


@dataclass(frozen=True, kw_only=True, eq=False)
class Retrained:
    """What the verifier retrained itself; recorded, never sent.

    check_seed : the secret entropy from which ``evaluations`` were chosen, or None when all were.
    evaluations : shape (k,), ascending. outputs : shape (k, T).
    """

    round: int
    check_seed: Seed | None
    evaluations: Int64[np.ndarray, " k"]
    outputs: Float64[np.ndarray, "k t"]

    def __post_init__(self) -> None:
        if self.outputs.ndim != 2 or len(self.outputs) != len(self.evaluations):
            raise MalformedMessage("retrained: expected one row of outputs per evaluation")
        if not bool(np.isfinite(self.outputs).all()):
            raise MalformedMessage("retrained: expected finite outputs, got NaN or infinity")
        self.evaluations.setflags(write=False)
        self.outputs.setflags(write=False)

    @cached_property
    def digest(self) -> Digest:
        return digest("retrained", self.round, self.check_seed, self.evaluations, self.outputs)


class Outcome(enum.Enum):
    """THEORY 4: only ACCEPT returns the scores."""

    ACCEPT = "ACCEPT"
    REJECT = "REJECT"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, kw_only=True)
class Closing:
    """The verifier's last word."""

    outcome: Outcome
    reason: str

    @property
    def digest(self) -> Digest:
        return digest("closing", self.outcome.value, self.reason)


@dataclass(frozen=True, kw_only=True)
class Aborted:
    """Either party leaves, and says why."""

    reason: Reason
    text: str

    def __post_init__(self) -> None:
        if len(self.text) > MAX_TEXT:
            raise MalformedMessage(f"aborted: expected a text of at most {MAX_TEXT} characters, got {len(self.text)}")

    @property
    def digest(self) -> Digest:
        return digest("aborted", self.reason.value, self.text)


Message: TypeAlias = Opening | ClaimCommitted | RoundsChosen | Challenge | Answers | Retrained | Closing | Aborted


def answer_leaves(game: Game, draw: Draw, outputs: Float64[np.ndarray, "m t"]) -> Iterator[bytes]:
    """Yield one leaf an evaluation: its number, its subset's digest, its training seed, its outputs.

    Subsets and seeds are re-derived, so a verifier rebuilds the leaves from the outputs alone.
    """
    for start in range(0, len(outputs), 1024):
        evaluations = np.arange(start, min(start + 1024, len(outputs)), dtype=np.int64)
        names = subset_digests(draw.subsets(game, evaluations))
        seeds = draw.training_seeds(game, evaluations)
        for e, name, seed in zip(evaluations.tolist(), names, seeds.tolist(), strict=True):
            yield canonical(["answer leaf", e, name, seed, outputs[e]])
