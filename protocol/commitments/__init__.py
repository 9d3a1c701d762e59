"""Binding a party to its words: Merkle trees (RFC 6962) and Ed25519 signatures.

A commitment that does not fit raises ``CommitmentError``; nothing here returns False.
"""

from protocol.commitments.merkle import MerkleTree, verify_inclusion
from protocol.commitments.signature import PublicKey, SigningKey

__all__ = ["MerkleTree", "PublicKey", "SigningKey", "verify_inclusion"]
