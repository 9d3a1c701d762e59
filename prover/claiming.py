"""Committing to a claim: its Merkle root under the prover's signature (proto/SPEC.md, section 4)."""

from __future__ import annotations

from protocol.claim import Claim, Figures
from protocol.commitments import MerkleTree, SigningKey
from protocol.session.messages import ClaimCommitted, SignedClaim


def sign_claim(claim: Claim, figures: Figures, key: SigningKey) -> SignedClaim:
    """Return the commitment to ``claim``: whoever holds it can check any score against it, and nobody can deny it."""
    root = MerkleTree(claim.leaves()).root
    signature = key.sign(SignedClaim.digest_of(claim.task_digest, root, figures, key.public))
    return SignedClaim(
        task_digest=claim.task_digest, root=root, figures=figures, public_key=key.public, signature=signature
    )


def commit(claim: Claim, figures: Figures, key: SigningKey) -> ClaimCommitted:
    """Return ``claim`` with the commitment to it."""
    return ClaimCommitted(signed=sign_claim(claim, figures, key), claim=claim)
