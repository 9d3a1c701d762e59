"""Scores in files of three kinds, written and read: .npy, .safetensors, .csv.

    .npy          float64, shape (T, N + 1): the intercept first, then the N scores, a row a target
    .safetensors  "intercepts" (T,) and "scores" (T, N), float64; the task's digest in the metadata
    .csv          a header, the row "intercept", then N rows that begin with a unit's name; a column a target

Owns the files' form. A file that is read may be anybody's: its shape and length are checked
before its numbers are, nothing in it is unpickled, and every fault is a DataError that names it.
Refuses to know whether scores are good.
"""

from __future__ import annotations

import csv
import io
import os
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Float64

from protocol.claim import Claim
from protocol.errors import ArgumentError, DataError, MalformedMessage, StoreError
from protocol.task import Task

FORMATS = (".npy", ".safetensors", ".csv")

_MAX_HEADER_BYTES = 10_000
_MAX_FIELD_CHARACTERS = 10_000
_MAX_NUMBER_BYTES = 64  # with its comma; float64 needs 24
_METADATA_DIGEST = "attribution-proofs.task"
# What numpy's header parser is known to raise on bytes that are not its own.
_HEADER_ERRORS = (
    ValueError,
    SyntaxError,
    TypeError,
    KeyError,
    EOFError,
    RecursionError,
    MemoryError,
    tokenize.TokenError,
)


def check_format(path: Path) -> None:
    """Raise :class:`ArgumentError` unless the file's ending is one of ``FORMATS``."""
    if path.suffix not in FORMATS:
        raise ArgumentError(
            f"{path}: expected a file ending in {', '.join(FORMATS)}, got {path.suffix or 'no ending'!r}"
        )


def write(path: Path, claim: Claim, unit_names: tuple[str, ...], *, force: bool = False) -> None:
    """Write a claim's intercepts and scores.

    Parameters
    ----------
    unit_names : N names, for a .csv. force : whether a file that is there is replaced.

    Raises
    ------
    ArgumentError
        Another ending, or a file that is there already.
    StoreError
        The disk refuses; a file that was there is as it was.
    """
    check_format(path)
    writers: dict[str, Callable[[BinaryIO], object]] = {
        ".npy": lambda file: np.save(file, np.column_stack([claim.intercepts, claim.scores]), allow_pickle=False),
        ".safetensors": lambda file: file.write(_to_safetensors(claim)),
        ".csv": lambda file: file.writelines(_csv_lines(claim, unit_names)),
    }
    write_file(path, writers[path.suffix], force=force)


def write_file(path: Path, fill: Callable[[BinaryIO], object], *, force: bool) -> None:
    """Have ``fill`` write a file that is there whole or not at all; errors as :func:`write`."""
    if path.exists() and not force:
        raise ArgumentError(f"{path}: expected no such file yet; choose another name, or --force to replace it")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("xb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StoreError(f"{path}: cannot be written: {error.strerror or error}") from error


def read(path: Path, task: Task, unit_names: tuple[str, ...]) -> Claim:
    """Return the claim that a file's scores make for ``task``.

    Parameters
    ----------
    unit_names : N names, which a .csv must have in this order.

    Raises
    ------
    ArgumentError
        Another ending.
    DataError
        No such file, one that is not what its ending says, truncated or over-long, of another
        shape or task, or with numbers that are not finite.
    """
    check_format(path)
    readers = {".npy": _from_npy, ".safetensors": _from_safetensors}
    try:
        table = _from_csv(path, task, unit_names) if path.suffix == ".csv" else readers[path.suffix](path, task)
    except OSError as error:
        raise DataError(f"{path}: expected a readable file, got {error.strerror or error}") from error
    _check_finite(path, table)
    try:
        return Claim(task_digest=task.digest, intercepts=table[:, 0].copy(), scores=table[:, 1:].copy())
    except MalformedMessage as error:
        raise DataError(f"{path}: {error}") from error


def _from_npy(path: Path, task: Task) -> Float64[np.ndarray, "t n_plus_1"]:
    expected = (task.n_targets, task.n_units + 1)
    with path.open("rb") as file:
        try:
            shape, fortran, dtype = _npy_header(file)
        except _HEADER_ERRORS as error:
            raise DataError(f"{path}: expected a .npy file, got another ({_line(error)})") from error
        if shape != expected:
            raise DataError(f"{path}: expected shape {expected}, the intercept and a score a unit, got {shape}")
        if dtype.kind != "f" or dtype.itemsize not in (4, 8):
            raise DataError(f"{path}: expected float64 (or float32), got {dtype}")
        n_bytes, n_there = dtype.itemsize * expected[0] * expected[1], path.stat().st_size - file.tell()
        if n_there != n_bytes:
            state = "truncated" if n_there < n_bytes else "over-long"
            raise DataError(f"{path}: expected {n_bytes} bytes of numbers, got {n_there}; the file is {state}")
        flat = np.fromfile(file, dtype=dtype, count=expected[0] * expected[1])
    return flat.reshape(expected, order="F" if fortran else "C").astype(np.float64)


def _npy_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file, max_header_size=_MAX_HEADER_BYTES)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file, max_header_size=_MAX_HEADER_BYTES)
    raise ValueError(f"format version {version}")


def _to_safetensors(claim: Claim) -> bytes:
    tensors = {"intercepts": claim.intercepts, "scores": claim.scores}
    return safetensors.numpy.save(tensors, metadata={_METADATA_DIGEST: claim.task_digest.hex()})


def _from_safetensors(path: Path, task: Task) -> Float64[np.ndarray, "t n_plus_1"]:
    expected = {"intercepts": [task.n_targets], "scores": [task.n_targets, task.n_units]}
    if not path.is_file():
        raise DataError(f"{path}: expected a scores file, found none there; check the path")
    try:
        with safetensors.safe_open(path, framework="np") as file:
            if sorted(file.keys()) != sorted(expected):
                raise DataError(f"{path}: expected tensors {sorted(expected)}, got {sorted(file.keys())[:5]}")
            made_for = (file.metadata() or {}).get(_METADATA_DIGEST, task.digest.hex())
            if made_for != task.digest.hex():
                raise DataError(f"{path}: expected scores for task {task.digest.hex()[:16]}, got {made_for[:16]}")
            for name, shape in expected.items():
                part = file.get_slice(name)
                if part.get_shape() != shape or part.get_dtype() not in ("F64", "F32"):
                    got = f"{part.get_dtype()} of {part.get_shape()}"
                    raise DataError(f"{path}: expected {name} to be F64 (or F32) of {shape}, got {got}")
            return np.column_stack([file.get_tensor(name).astype(np.float64) for name in expected])
    except safetensors.SafetensorError as error:
        raise DataError(f"{path}: expected a .safetensors file, got another ({_line(error)})") from error


def _csv_lines(claim: Claim, unit_names: tuple[str, ...]) -> Iterator[bytes]:
    rows = [
        ("unit", *(f"target {t}" for t in range(claim.n_targets))),
        ("intercept", *(repr(x) for x in claim.intercepts.tolist())),
    ]
    for name, scores in zip(unit_names, claim.scores.T, strict=True):
        rows.append((name, *(repr(x) for x in scores.tolist())))
        if len(rows) >= 1000:
            yield _csv_text(rows)
            rows.clear()
    yield _csv_text(rows)


def _csv_text(rows: list[tuple[str, ...]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8")


def _from_csv(path: Path, task: Task, unit_names: tuple[str, ...]) -> Float64[np.ndarray, "t n_plus_1"]:
    table = np.empty((task.n_units + 1, task.n_targets))
    names = ("intercept", *unit_names)
    most = sum(map(len, names)) * 8 + (len(table) + 1) * (task.n_targets + 1) * _MAX_NUMBER_BYTES
    if path.stat().st_size > most:
        raise DataError(
            f"{path}: expected at most {most} bytes for a task of this size, got more; the file is over-long"
        )
    try:
        with path.open(encoding="utf-8", newline="") as file:
            csv.field_size_limit(_MAX_FIELD_CHARACTERS)
            reader = csv.reader(file, strict=True)
            _check_width(path, next(reader, []), task)
            n_rows = 0
            for row in reader:
                if n_rows >= len(table):
                    raise DataError(f"{path}: expected {len(table)} rows below the header, got more")
                _check_width(path, row, task, n_rows)
                if row[0] != names[n_rows]:
                    raise DataError(f"{path}: row {n_rows + 1}: expected {names[n_rows]!r}, got {row[0][:60]!r}")
                table[n_rows] = [_number(path, n_rows, text) for text in row[1:]]
                n_rows += 1
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected a .csv file in UTF-8, got another ({_line(error)})") from error
    if n_rows < len(table):
        raise DataError(f"{path}: expected {len(table)} rows below the header, got {n_rows}; the file is truncated")
    return np.ascontiguousarray(table.T)


def _check_width(path: Path, row: list[str], task: Task, n_rows: int = -1) -> None:
    if len(row) != task.n_targets + 1:
        where = f"row {n_rows + 1}" if n_rows >= 0 else "the header"
        raise DataError(
            f"{path}: {where}: expected {task.n_targets + 1} columns, a name and the targets, got {len(row)}"
        )


def _number(path: Path, n_rows: int, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise DataError(f"{path}: row {n_rows + 1}: expected a number, got {text[:60]!r}") from error


def _check_finite(path: Path, table: Float64[np.ndarray, "t n_plus_1"]) -> None:
    bad = np.argwhere(~np.isfinite(table))
    if len(bad):
        t, column = (int(i) for i in bad[0])
        what = "the intercept" if column == 0 else f"the score of unit {column - 1}"
        raise DataError(f"{path}: expected finite numbers, got {table[t, column]} as {what} for target {t}")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
