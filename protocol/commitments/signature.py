"""Ed25519 signatures (RFC 8032) by ``cryptography``; what is signed is always a digest.

A digest carries the label of its use (``protocol.encoding``), so a signature made for one
purpose never fits another.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocol.encoding import Digest
from protocol.errors import CommitmentError, InternalError

KEY_BYTES = 32
SIGNATURE_BYTES = 64

_SMALL_ORDER = frozenset(
    bytes.fromhex(point)
    for point in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)
"""Every encoding, its sign bit cleared, of the curve's eight points of small order.

Under such a key one signature fits many messages, and its owner could disown any of them.
"""


@dataclass(frozen=True)
class PublicKey:
    """A party's name: 32 bytes of Ed25519 public key."""

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != KEY_BYTES:
            raise CommitmentError(f"public key: expected {KEY_BYTES} bytes, got {len(self.raw)}")

    def verify(self, signature: bytes, message: Digest, what: str) -> None:
        """Raise :class:`CommitmentError` naming ``what`` unless this key signed ``message``."""
        if len(signature) != SIGNATURE_BYTES:
            raise CommitmentError(f"{what}: expected a signature of {SIGNATURE_BYTES} bytes, got {len(signature)}")
        if self.raw[:-1] + bytes([self.raw[-1] & 0x7F]) in _SMALL_ORDER:
            raise CommitmentError(f"{what}: expected a key that binds its owner, got a point of small order")
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except (InvalidSignature, ValueError) as error:
            raise CommitmentError(f"{what}: the signature does not fit the signer's key and what it covers") from error


class SigningKey:
    """A party's secret: 32 bytes of Ed25519 private key. Its repr shows the public half only."""

    def __init__(self, raw: bytes) -> None:
        if len(raw) != KEY_BYTES:
            raise InternalError(f"signing key: expected {KEY_BYTES} bytes, got {len(raw)}")
        self._key = Ed25519PrivateKey.from_private_bytes(raw)
        self.public = PublicKey(self._key.public_key().public_bytes_raw())

    def sign(self, message: Digest) -> bytes:
        """Return the 64-byte signature of a digest."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public.raw.hex()})"
