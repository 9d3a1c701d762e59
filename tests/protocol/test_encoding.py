"""Canonical bytes: exactly the table at the head of protocol/encoding.py, injective, and closed to everything else."""

from __future__ import annotations

import hashlib
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from protocol.encoding import canonical, checked_digest, digest
from protocol.errors import InternalError, MalformedMessage

arrays = st.one_of(
    hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=3, min_side=0), elements=st.floats(allow_nan=False)),
    hnp.arrays(np.int64, hnp.array_shapes(max_dims=3, max_side=3, min_side=0)),
    hnp.arrays(np.uint8, hnp.array_shapes(max_dims=3, max_side=3, min_side=0)),
)
plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.binary(max_size=5),
    arrays,
)
encodable = st.recursive(plain, lambda inner: st.lists(inner, max_size=3), max_leaves=8)


def identity(value: Any) -> Any:
    """What makes two values different: type, and bits; a list and a tuple are one type, as the table says."""
    if isinstance(value, np.ndarray):
        return ("array", value.dtype.name, value.shape, value.tobytes())
    if isinstance(value, list | tuple):
        return ("sequence", tuple(identity(item) for item in value))
    if isinstance(value, float):
        return ("float", struct.pack(">d", value))
    return (type(value).__name__, value)


def decode(data: bytes) -> tuple[Any, bytes]:
    """Read one value back: that this can be written at all is what injective means."""
    tag, rest = data[:1], data[1:]
    if tag in b"ntf":
        return {b"n": None, b"t": True, b"f": False}[tag], rest
    if tag in b"id":
        return struct.unpack({b"i": ">q", b"d": ">d"}[tag], rest[:8])[0], rest[8:]
    if tag == b"a":
        kind, rest = rest[:1], rest[1:]
        n_axes, rest = int.from_bytes(rest[:8], "big"), rest[8:]
        shape = [int.from_bytes(rest[8 * i : 8 * i + 8], "big") for i in range(n_axes)]
        dtype = np.dtype({b"f": "<f8", b"i": "<i8", b"u": "|u1"}[kind])
        start, stop = 8 * n_axes, 8 * n_axes + math.prod(shape) * dtype.itemsize
        array = np.frombuffer(rest[start:stop], dtype=dtype).reshape(shape)
        return array.astype(dtype.newbyteorder("=")), rest[stop:]
    n, rest = int.from_bytes(rest[:8], "big"), rest[8:]
    if tag in b"sb":
        return rest[:n].decode() if tag == b"s" else rest[:n], rest[n:]
    assert tag == b"l", tag
    items = []
    for _ in range(n):
        item, rest = decode(rest)
        items.append(item)
    return items, rest


@given(encodable)
def test_every_value_can_be_read_back_so_no_two_share_their_bytes(value: Any) -> None:
    read, rest = decode(canonical(value))
    assert rest == b""
    assert identity(read) == identity(value)


@given(encodable, encodable)
@example(1, True)
@example(1, 1.0)
@example("a", b"a")
@example([1, 2], np.array([1, 2]))
@example(["ab", "c"], ["a", "bc"])
@example([[1], 2], [[1, 2]])
@example(np.zeros((1, 2)), np.zeros((2, 1)))
@example(np.zeros((0, 3)), np.zeros((3, 0)))
@example(np.zeros(0), np.zeros(0, dtype=np.int64))
@example(np.zeros(8, dtype=np.uint8), np.zeros(1))
@example(0.0, -0.0)
@example(None, False)
@example([], "")
def test_different_values_have_different_bytes(one: Any, other: Any) -> None:
    assert (canonical(one) == canonical(other)) == (identity(one) == identity(other))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "6e"),
        (True, "74"),
        (False, "66"),
        (-2, "69fffffffffffffffe"),
        (2**63 - 1, "697fffffffffffffff"),
        (1.5, "643ff8000000000000"),
        ("é", "730000000000000002c3a9"),
        (b"\x00", "62000000000000000100"),
        ([1, "a"], "6c0000000000000002690000000000000001730000000000000001" + "61"),
        ((), "6c0000000000000000"),
        (
            np.array([[1.0], [-2.0]]),
            "6166000000000000000200000000000000020000000000000001000000000000f03f00000000000000c0",
        ),
        (np.array([1], dtype=np.int64), "6169000000000000000100000000000000010100000000000000"),
        (np.array([1, 255], dtype=np.uint8), "617500000000000000010000000000000002" + "01ff"),
    ],
    ids=repr,
)
def test_the_bytes_are_those_of_the_table(value: Any, expected: str) -> None:
    assert canonical(value).hex() == expected


def test_memory_order_and_byte_order_of_an_array_change_nothing() -> None:
    array = np.arange(6.0).reshape(2, 3)
    assert canonical(np.asfortranarray(array)) == canonical(array)
    assert canonical(array.astype(">f8")) == canonical(array)
    assert canonical(np.arange(12.0).reshape(2, 6)[:, ::2]) == canonical(np.array([[0.0, 2.0, 4.0], [6.0, 8.0, 10.0]]))
    assert canonical(np.array(1.0)) != canonical(np.array([1.0]))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (math.nan, "cannot encode nan: expected a finite float"),
        (math.inf, "cannot encode inf: expected a finite float"),
        ([1, [-math.inf]], "cannot encode -inf"),
        (2**63, "expected a 64-bit integer"),
        (-(2**63) - 1, "expected a 64-bit integer"),
        (np.int64(1), "cannot encode a int64"),
        (np.zeros(2, dtype=np.float32), "cannot encode an array of float32"),
        (np.zeros(2, dtype=bool), "cannot encode an array of bool"),
        (np.array(["a"]), "cannot encode an array of"),
        ({"a": 1}, "cannot encode a dict"),
        (1j, "cannot encode a complex"),
        ("\ud800", "half a surrogate"),
    ],
    ids=repr,
)
def test_what_has_no_canonical_bytes_is_refused(value: Any, message: str) -> None:
    with pytest.raises(InternalError, match=message):
        canonical(value)


def test_a_digest_is_sha_256_under_prefix_and_label() -> None:
    assert digest("leaf", 1, "a") == hashlib.sha256(canonical(["attribution-proofs/1", "leaf", 1, "a"])).digest()
    by_hand = b"l" + struct.pack(">Q", 2) + b"s" + struct.pack(">Q", 20) + b"attribution-proofs/1"
    assert digest("empty") == hashlib.sha256(by_hand + b"s" + struct.pack(">Q", 5) + b"empty").digest()


def test_a_label_separates_domains() -> None:
    assert digest("a", "b") != digest("b", "a")
    assert digest("a", "b") != digest("a", ["b"])
    assert digest("ab") != digest("a", "b")


@pytest.mark.parametrize("n_bytes", [0, 31, 33])
def test_a_digest_of_another_length_is_refused(n_bytes: int) -> None:
    with pytest.raises(MalformedMessage, match=f"root: expected 32 bytes, got {n_bytes}"):
        checked_digest(bytes(n_bytes), "root")


def test_a_checked_digest_is_the_same_bytes() -> None:
    assert checked_digest(bytes(range(32)), "root") == bytes(range(32))
