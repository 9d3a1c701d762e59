"""Canonical bytes and domain-separated hashes (proto/SPEC.md, section 2).

Owns the one encoding that is ever hashed or signed. Protobuf bytes are never hashed: they are
not canonical. The encoding is injective: two different values never share their bytes, because
every value carries its type and its length.

    value    bytes
    None     'n'
    bool     't' or 'f'
    int      'i' and 8 bytes, two's complement, big-endian
    float    'd' and 8 bytes, IEEE 754, big-endian; NaN and infinities are refused
    str      's', u64 length, UTF-8
    bytes    'b', u64 length, the bytes
    array    'a', type letter, u64 number of axes, u64 each length, items little-endian in C order, as they are
    sequence 'l', u64 number of items, the items

A digest is SHA-256 over the canonical bytes of [PREFIX, label, field, field, ...].
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from typing import NewType, TypeAlias

import numpy as np

from protocol.errors import InternalError, MalformedMessage

Digest = NewType("Digest", bytes)
"""32 bytes of SHA-256."""

Seed = NewType("Seed", bytes)
"""32 bytes of entropy from which everything random in a challenge derives."""

Value: TypeAlias = bool | int | float | str | bytes | np.ndarray | Sequence["Value"] | None

PREFIX = "attribution-proofs/1"
DIGEST_BYTES = 32
SEED_BYTES = 32

_ARRAY_TYPES = {"f": ("float64", "<f8"), "i": ("int64", "<i8"), "u": ("uint8", "|u1")}
_LETTER_OF = {name: letter for letter, (name, _) in _ARRAY_TYPES.items()}


def canonical(value: Value) -> bytes:
    """Return the canonical bytes of ``value``.

    Raises
    ------
    InternalError
        A type outside the table above, an int beyond 64 bits, a float that is not finite, or half a surrogate.
    """
    parts: list[bytes] = []
    _append(parts, value)
    return b"".join(parts)


def digest(label: str, *fields: Value) -> Digest:
    """Return SHA-256 of ``fields`` under ``label``, so that no two uses of a hash can collide.

    Parameters
    ----------
    label : str
        What is hashed, one of those listed in proto/SPEC.md, section 3.
    *fields : Value
        Encoded by :func:`canonical`.
    """
    return Digest(hashlib.sha256(canonical([PREFIX, label, *fields])).digest())


def checked_digest(value: bytes, what: str) -> Digest:
    """Return ``value`` as a digest, or raise :class:`MalformedMessage` naming ``what``."""
    if len(value) != DIGEST_BYTES:
        raise MalformedMessage(f"{what}: expected {DIGEST_BYTES} bytes, got {len(value)}")
    return Digest(bytes(value))


def _append(parts: list[bytes], value: Value) -> None:
    if value is None:
        parts.append(b"n")
    elif isinstance(value, bool):
        parts.append(b"t" if value else b"f")
    elif isinstance(value, int):
        parts.append(b"i" + _int64(value))
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InternalError(f"cannot encode {value}: expected a finite float")
        parts.append(b"d" + struct.pack(">d", value))
    elif isinstance(value, str):
        text = _utf_8(value)
        parts += (b"s", _length(len(text)), text)
    elif isinstance(value, bytes):
        parts += (b"b", _length(len(value)), value)
    elif isinstance(value, np.ndarray):
        _append_array(parts, value)
    elif isinstance(value, Sequence):
        parts += (b"l", _length(len(value)))
        for item in value:
            _append(parts, item)
    else:
        raise InternalError(f"cannot encode a {type(value).__name__}")


def _append_array(parts: list[bytes], array: np.ndarray) -> None:
    letter = _LETTER_OF.get(array.dtype.name)
    if letter is None:
        raise InternalError(f"cannot encode an array of {array.dtype}: expected {sorted(_LETTER_OF)}")
    parts += (b"a", letter.encode(), _length(array.ndim))
    parts += [_length(n) for n in array.shape]
    parts.append(np.ascontiguousarray(array, dtype=_ARRAY_TYPES[letter][1]).tobytes())


def _utf_8(value: str) -> bytes:
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InternalError("cannot encode a text with half a surrogate pair") from error


def _length(n: int) -> bytes:
    return n.to_bytes(8, "big")


def _int64(value: int) -> bytes:
    if not -(2**63) <= value < 2**63:
        raise InternalError(f"cannot encode {value}: expected a 64-bit integer")
    return value.to_bytes(8, "big", signed=True)
