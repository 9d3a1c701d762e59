"""Ed25519 against RFC 8032's vectors and a naive curve; every signature that does not fit raises."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from protocol.commitments import PublicKey, SigningKey
from protocol.commitments.signature import _SMALL_ORDER
from protocol.encoding import Digest, digest
from protocol.errors import CommitmentError, InternalError

# RFC 8032, section 7.1: secret key, public key, message, and the two halves of the signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155",
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da",
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac",
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]
KEY = SigningKey(bytes(range(32)))
MESSAGE = digest("test", "message")


@pytest.mark.parametrize(("secret", "public", "message", "r", "s"), RFC_8032)
def test_keys_and_signatures_are_those_of_rfc_8032(secret: str, public: str, message: str, r: str, s: str) -> None:
    key, said = SigningKey(bytes.fromhex(secret)), Digest(bytes.fromhex(message))
    assert key.public.raw.hex() == public
    assert key.sign(said).hex() == r + s
    PublicKey(bytes.fromhex(public)).verify(bytes.fromhex(r + s), said, "vector")


@given(st.integers(0, 511))
def test_a_flipped_bit_of_the_signature_is_refused(bit: int) -> None:
    signature = bytearray(KEY.sign(MESSAGE))
    signature[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CommitmentError, match="claim: the signature does not fit"):
        KEY.public.verify(bytes(signature), MESSAGE, "claim")


@given(st.integers(0, 255))
def test_a_flipped_bit_of_the_message_is_refused(bit: int) -> None:
    message = bytearray(MESSAGE)
    message[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CommitmentError, match="claim: the signature does not fit"):
        KEY.public.verify(KEY.sign(MESSAGE), Digest(bytes(message)), "claim")


def test_another_key_is_refused() -> None:
    with pytest.raises(CommitmentError, match="does not fit the signer's key"):
        SigningKey(bytes(32)).public.verify(KEY.sign(MESSAGE), MESSAGE, "claim")


def test_a_signature_for_one_purpose_does_not_fit_another() -> None:
    with pytest.raises(CommitmentError, match="does not fit"):
        KEY.public.verify(KEY.sign(digest("claim", "x")), digest("answers", "x"), "answers")


def test_a_signature_with_the_group_order_added_is_refused() -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    signature = KEY.sign(MESSAGE)
    malleated = signature[:32] + (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    with pytest.raises(CommitmentError, match="does not fit"):
        KEY.public.verify(malleated, MESSAGE, "claim")


@pytest.mark.parametrize("n_bytes", [0, 63, 65])
def test_a_signature_of_another_length_is_refused(n_bytes: int) -> None:
    with pytest.raises(CommitmentError, match=f"claim: expected a signature of 64 bytes, got {n_bytes}"):
        KEY.public.verify(bytes(n_bytes), MESSAGE, "claim")


def test_keys_of_another_length_are_refused() -> None:
    with pytest.raises(CommitmentError, match="public key: expected 32 bytes, got 31"):
        PublicKey(bytes(31))
    with pytest.raises(InternalError, match="signing key: expected 32 bytes, got 33"):
        SigningKey(bytes(33))


def test_a_key_that_is_no_point_is_refused() -> None:
    with pytest.raises(CommitmentError, match="does not fit"):
        PublicKey(b"\x02" + bytes(31)).verify(KEY.sign(MESSAGE), MESSAGE, "claim")


def test_the_secret_half_is_never_shown() -> None:
    assert repr(KEY) == f"SigningKey(public={KEY.public.raw.hex()})"
    assert bytes(range(32)).hex() not in repr(KEY)


# The curve, naively: -x^2 + y^2 = 1 + d x^2 y^2 over p = 2^255 - 19.
P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]


def add(a: Point, b: Point) -> Point:
    (x1, y1), (x2, y2) = a, b
    t = D * x1 * x2 * y1 * y2
    return (x1 * y2 + x2 * y1) * pow(1 + t, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - t, -1, P) % P


def points_of_small_order() -> set[Point]:
    """All eight: a point times the group's prime order lies among them, and one of order eight makes the others."""
    order, y = 2**252 + 27742317777372353535851937790883648493, 2
    while True:
        square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
        root = pow(square, (P + 3) // 8, P)
        for x in (root, root * pow(2, (P - 1) // 4, P) % P):
            if x * x % P != square:
                continue
            total, doubled, n = (0, 1), (x, y), order
            while n:
                total, doubled, n = (add(total, doubled) if n & 1 else total), add(doubled, doubled), n >> 1
            made, step = {(0, 1)}, total
            while step not in made:
                made.add(step)
                step = add(step, total)
            if len(made) == 8:
                return made
        y += 1


def test_the_refused_keys_are_all_encodings_of_the_points_of_small_order() -> None:
    ys = {y for _, y in points_of_small_order()}
    encodings = {n.to_bytes(32, "little") for y in ys for n in (y, y + P) if n < 2**255}
    assert encodings == _SMALL_ORDER


@pytest.mark.parametrize("sign_bit", [0, 0x80])
@pytest.mark.parametrize("raw", sorted(_SMALL_ORDER), ids=bytes.hex)
def test_a_key_of_small_order_is_refused(raw: bytes, sign_bit: int) -> None:
    key = PublicKey(raw[:-1] + bytes([raw[-1] | sign_bit]))
    with pytest.raises(CommitmentError, match="claim: expected a key that binds its owner"):
        key.verify(bytes(64), MESSAGE, "claim")


def test_the_library_alone_would_let_one_signature_fit_every_message() -> None:
    identity = b"\x01" + bytes(31)
    for message in (b"one", b"another"):
        Ed25519PublicKey.from_public_bytes(identity).verify(identity + bytes(32), message)  # no exception: that is it
    assert Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw() not in _SMALL_ORDER
