"""What messages share: presence, enums, fixed-length bytes, texts, arrays of float64.

Owns the turning of whatever came into ``MalformedMessage``; knows no message by name.
Lengths are compared before anything of that length is made, and arrays are finite before a
domain value sees them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from jaxtyping import Float64

from protocol.errors import InputError, MalformedMessage, PeerError
from protocol.wire.generated import attribution_pb2 as pb
from protocol.wire.limits import MAX_TEXT_CHARS

M = TypeVar("M", bound=Message)
D = TypeVar("D")
W = TypeVar("W", bound=int)

FLOAT_BYTES = 8
_WIRE_FLOAT = "<f8"
_PLAIN_CONTROLS = "\n\t"


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turn what a domain value says when it is made of bad parts into :class:`MalformedMessage`.

    A task from a peer is the peer's fault, not a task file's; a key of the wrong length is
    malformed before it is a commitment that does not fit.
    """
    try:
        yield
    except MalformedMessage:
        raise
    except (InputError, PeerError) as error:
        raise MalformedMessage(f"{what}: {error}") from error


def parse(kind: type[M], data: bytes, what: str) -> M:
    """Return ``data`` as a message of ``kind``, or raise :class:`MalformedMessage`."""
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise MalformedMessage(f"{what}: expected {kind.DESCRIPTOR.full_name}, got other bytes ({error})") from error


def refuse_unknown_fields(message: Message, what: str) -> None:
    """Raise :class:`MalformedMessage` if a field of ``message``, however deep, is not in our definition."""
    if len(UnknownFieldSet(message)):
        raise MalformedMessage(
            f"{what}: expected only fields of {message.DESCRIPTOR.full_name}, got one from a newer version"
        )
    for field in message.DESCRIPTOR.fields:
        if field.message_type is None:
            continue
        if field.is_repeated:
            parts = list(getattr(message, field.name))
        else:
            parts = [getattr(message, field.name)] if message.HasField(field.name) else []
        for part in parts:
            refuse_unknown_fields(part, what)


def require_present(message: Message, *fields: str, what: str) -> None:
    """Raise :class:`MalformedMessage` unless every one of these submessages is there."""
    for field in fields:
        if not message.HasField(field):
            raise MalformedMessage(f"{what}: expected {field}, got none")


def enum_from_proto(table: Mapping[D, W], number: W, what: str) -> D:
    """Return the member that ``table`` gives ``number``; 0 and numbers unknown here are refused."""
    for member, known in table.items():
        if known == number:
            return member
    raise MalformedMessage(f"{what}: expected one of {sorted(table.values())}, got {number}")


def exactly(value: bytes, n_bytes: int, what: str) -> bytes:
    """Return ``value`` if it has ``n_bytes`` bytes."""
    if len(value) != n_bytes:
        raise MalformedMessage(f"{what}: expected {n_bytes} bytes, got {len(value)}")
    return value


def text_from_proto(value: str, what: str) -> str:
    """Return ``value`` if it is short and safe to show: no control characters but newline and tab.

    What a peer says is printed on a terminal, where an escape sequence is a command.
    """
    if len(value) > MAX_TEXT_CHARS:
        raise MalformedMessage(f"{what}: expected at most {MAX_TEXT_CHARS} characters, got {len(value)}")
    if any(_is_control(character) for character in value):
        raise MalformedMessage(f"{what}: expected text without control characters, got some")
    return value


def one_line(text: str) -> str:
    """Return ``text`` cut to the longest that is sent, with a space for each control character."""
    line = "".join(" " if unicodedata.category(character) in ("Cc", "Cs") else character for character in text)
    return line[:MAX_TEXT_CHARS]


def floats_to_bytes(array: Float64[np.ndarray, "*shape"]) -> bytes:
    """Return the array's items, row by row, 8 bytes each, little-endian."""
    return np.ascontiguousarray(array, dtype=_WIRE_FLOAT).tobytes()


def floats_from_bytes(data: bytes | memoryview, shape: tuple[int, ...], what: str) -> Float64[np.ndarray, "*shape"]:
    """Return ``data`` as an array of ``shape``, without a copy where the machine is little-endian.

    Raises
    ------
    MalformedMessage
        A length of ``shape`` is 0, ``data`` has another length, or holds a NaN or an infinity.
    """
    n_bytes = FLOAT_BYTES
    for length in shape:
        n_bytes *= length  # in Python's integers: no overflow to hide behind
    if n_bytes == 0 or len(data) != n_bytes:
        sizes = " x ".join(map(str, shape))
        raise MalformedMessage(f"{what}: expected {sizes} numbers (at least one), {n_bytes} bytes, got {len(data)}")
    array = np.frombuffer(data, dtype=_WIRE_FLOAT).astype(np.float64, copy=False)
    if not bool(np.isfinite(array).all()):
        raise MalformedMessage(f"{what}: expected finite numbers, got NaN or infinity")
    return array.reshape(shape)


def matrix_to_proto(matrix: Float64[np.ndarray, "r c"]) -> pb.Matrix:
    """Return a matrix with its shape."""
    return pb.Matrix(n_rows=matrix.shape[0], n_columns=matrix.shape[1], values=floats_to_bytes(matrix))


def matrix_from_proto(message: pb.Matrix, what: str) -> Float64[np.ndarray, "r c"]:
    """Return a matrix of at least one row and one column, finite."""
    return floats_from_bytes(message.values, (message.n_rows, message.n_columns), what)


def _is_control(character: str) -> bool:
    return unicodedata.category(character) == "Cc" and character not in _PLAIN_CONTROLS
