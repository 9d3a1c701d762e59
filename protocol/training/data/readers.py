"""Data files to raw arrays: the only code that parses what a stranger may have written.

Owns the formats (scikit-learn's bundled sets, .npz, .csv, .parquet), the size limits, and which
columns are features. Refuses to know what the arrays mean: classes, finite values and units are
``tables``' and ``datasets``' business.

Rules: nothing is ever unpickled; sizes are checked before memory is asked for, wherever the
format states them; whatever a parser raises becomes one :class:`DataError`.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import sklearn.datasets
from jaxtyping import Float64

from protocol.errors import DataError

MAX_FILE_BYTES = 1 << 32
MAX_ROWS = 10_000_000
MAX_COLUMNS = 100_000
MAX_VALUES = 1 << 28
"""Largest rows times columns: 2 GiB of float64."""

MAX_TEXT_BYTES = 1 << 30
"""Largest array of labels or contributors in a .npz, whose strings are padded to the longest."""

BUNDLED = ("digits", "breast_cancer", "wine", "iris", "diabetes")
FORMATS = (".npz", ".csv", ".parquet")

_NPZ_TARGET = "y"
_NPZ_FEATURES = "X"

# What zipfile, zlib, numpy's header parser and Arrow are known to raise on bytes that are not theirs.
_PARSER_ERRORS = (
    OSError, ValueError, TypeError, KeyError, IndexError, EOFError, RuntimeError, MemoryError, OverflowError,
    SyntaxError, RecursionError, zipfile.BadZipFile, zlib.error, pa.ArrowException,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class RawTable:
    """A file's columns, sorted into features, target and contributors, unchecked beyond size and type.

    features : shape (R, d), float64; a missing value is NaN.
    columns : the d features' names.
    target : shape (R,), bool, integer, float or str.
    contributors : shape (R,), str, or None.
    class_names : the classes' names where integers 0..C-1 stand for them, else None.
    """

    features: Float64[np.ndarray, "r d"]
    columns: tuple[str, ...]
    target: np.ndarray
    contributors: np.ndarray | None
    class_names: tuple[str, ...] | None


def read_raw(source: str, path: Path | None, target_column: str, contributor_column: str) -> RawTable:
    """Return the columns of a bundled set (``sklearn:NAME``) or of the file at ``path``.

    Raises
    ------
    DataError
        An unknown set or format, a file that is missing, unreadable or over a limit, or a column
        that is missing, twice there, or neither numbers nor (for labels) text.
    """
    if source.startswith("sklearn:"):
        return _bundled(source, target_column, contributor_column)
    if path is None:
        raise DataError(f"data set {source!r}: expected a path to the file, got none; {known_sources()}")
    size = _file_size(path)
    if size > MAX_FILE_BYTES:
        raise DataError(f"{path.name}: expected at most {MAX_FILE_BYTES} bytes, got {size}; take fewer rows")
    if path.suffix == ".npz":
        return _npz(path, target_column or _NPZ_TARGET, contributor_column)
    if path.suffix not in FORMATS:
        raise DataError(
            f"{path.name}: expected a file ending in {', '.join(FORMATS)}, got {path.suffix or 'no ending'!r}"
        )
    if not target_column:
        raise DataError(f"{path.name}: expected the name of the target column, got none; set data.target_column")
    return _arrow(path, target_column, contributor_column)


def known_sources() -> str:
    """Return the sentence part that lists the data sets that can be named."""
    return "known are " + ", ".join(f"sklearn:{name}" for name in BUNDLED) + f" and {', '.join(FORMATS)} files"


def _bundled(source: str, target_column: str, contributor_column: str) -> RawTable:
    name = source.removeprefix("sklearn:")
    if name not in BUNDLED:
        raise DataError(f"data set {source!r}: expected a known one, got {name!r}; {known_sources()}")
    if contributor_column or target_column not in ("", "target"):
        column = contributor_column or target_column
        raise DataError(
            f"data set {source!r}: expected no column names, got {column!r}; write the set to a .csv to name them"
        )
    # Unless told otherwise, the diabetes set is scaled on the way in, by arithmetic that may differ between machines.
    bunch: Any = getattr(sklearn.datasets, f"load_{name}")(**({"scaled": False} if name == "diabetes" else {}))
    regression = name == "diabetes"
    return RawTable(
        features=np.asarray(bunch.data, dtype=np.float64),
        columns=tuple(str(column) for column in bunch.feature_names),
        target=np.asarray(bunch.target, dtype=np.float64 if regression else np.int64),
        contributors=None,
        class_names=None if regression else tuple(str(c) for c in bunch.target_names),
    )


def _file_size(path: Path) -> int:
    try:
        if not path.is_file():
            raise DataError(f"{path}: expected a data file, found none there; check the path")
        return path.stat().st_size
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected a readable file, got {_one_line(error)}") from error


@contextmanager
def _parsing(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except _PARSER_ERRORS as error:
        raise DataError(f"{path.name}: expected a readable {path.suffix} file, got {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def _npz(path: Path, target: str, contributor: str) -> RawTable:
    with _parsing(path), zipfile.ZipFile(path) as archive:
        features = _member(path, archive, _NPZ_FEATURES, n_axes=2, kinds="biuf", max_bytes=8 * MAX_VALUES)
        n, d = features.shape
        _check_shape(path, n, d)
        labels = _member(path, archive, target, n_axes=1, kinds="biufU", max_bytes=MAX_TEXT_BYTES)
        contributors = None
        if contributor:
            contributors = _member(path, archive, contributor, n_axes=1, kinds="iuU", max_bytes=MAX_TEXT_BYTES).astype(
                str
            )
        for key, array in ((target, labels), (contributor, contributors)):
            if array is not None and len(array) != n:
                raise DataError(f"{path.name}: expected {n} values in array {key!r}, one a row, got {len(array)}")
        return RawTable(
            features=features.astype(np.float64),
            columns=tuple(f"x{i}" for i in range(d)),
            target=labels,
            contributors=contributors,
            class_names=None,
        )


def _member(path: Path, archive: zipfile.ZipFile, key: str, *, n_axes: int, kinds: str, max_bytes: int) -> np.ndarray:
    """Return one array of a .npz, its header checked before its memory is allocated."""
    name = f"{key}.npy"
    if name not in archive.namelist():
        held = ", ".join(sorted(n.removesuffix(".npy") for n in archive.namelist())[:20])
        raise DataError(
            f"{path.name}: expected an array {key!r}, got {held or 'none'}; name it in the task's data table"
        )
    with archive.open(name) as member:
        version = np.lib.format.read_magic(member)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(
            version
        )
        if read_header is None:
            raise DataError(f"{path.name}: expected array {key!r} in .npy format 1.0 or 2.0, got {version}")
        shape, _, dtype = read_header(member)
    if dtype.kind not in kinds or dtype.hasobject or dtype.itemsize == 0:
        expected = "numbers or strings" if "U" in kinds else "numbers"
        raise DataError(f"{path.name}: expected {expected} in array {key!r}, got {dtype}")
    if len(shape) != n_axes or min(shape) < 0:
        raise DataError(f"{path.name}: expected {n_axes} axes in array {key!r}, got shape {shape}")
    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes > max_bytes:
        raise DataError(f"{path.name}: expected at most {max_bytes} bytes in array {key!r}, got {n_bytes}")
    if n_bytes > archive.getinfo(name).file_size:
        raise DataError(f"{path.name}: expected {n_bytes} bytes in array {key!r}, found fewer: the file is cut short")
    with archive.open(name) as member:
        return np.asarray(np.lib.format.read_array(member, allow_pickle=False))


def _check_shape(path: Path, n: int, d: int) -> None:
    if n < 1 or d < 1:
        raise DataError(f"{path.name}: expected at least one row and one feature column, got {n} rows and {d} features")
    if n > MAX_ROWS or d > MAX_COLUMNS or n * d > MAX_VALUES:
        limit = f"{MAX_ROWS} rows, {MAX_COLUMNS} columns and {MAX_VALUES} values"
        raise DataError(f"{path.name}: expected at most {limit}, got {n} rows of {d} features")


def _arrow(path: Path, target: str, contributor: str) -> RawTable:
    with _parsing(path):
        table = _csv(path, contributor) if path.suffix == ".csv" else _parquet(path)
        names = [str(name) for name in table.column_names]
        for name in names:
            if names.count(name) > 1:
                raise DataError(f"{path.name}: expected each column once, got {name!r} twice; rename one")
        for column in filter(None, (target, contributor)):
            if column not in names:
                held = ", ".join(names[:20])
                raise DataError(
                    f"{path.name}: expected a column {column!r}, got {held}; name it in the task's data table"
                )
        if target == contributor:
            raise DataError(f"{path.name}: expected two columns for target and contributor, got {target!r} for both")
        features = [name for name in names if name not in (target, contributor)]
        _check_shape(path, table.num_rows, len(features))
        matrix = np.empty((table.num_rows, len(features)), dtype=np.float64)
        for i, name in enumerate(features):
            matrix[:, i] = _numbers(path, name, table.column(name))
        return RawTable(
            features=matrix,
            columns=tuple(features),
            target=_labels(path, target, table.column(target)),
            contributors=_texts(path, contributor, table.column(contributor)) if contributor else None,
            class_names=None,
        )


def _csv(path: Path, contributor: str) -> Any:
    # Contributors stay text, so that 007 is not 7.
    types = {contributor: pa.string()} if contributor else {}
    return pyarrow.csv.read_csv(path, convert_options=pyarrow.csv.ConvertOptions(column_types=types))


def _parquet(path: Path) -> Any:
    with pyarrow.parquet.ParquetFile(path) as file:
        _check_shape(path, file.metadata.num_rows, file.metadata.num_columns)
        return file.read()


def _numbers(path: Path, name: str, column: Any) -> np.ndarray:
    kind = column.type
    if not (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)
    ):
        raise DataError(f"{path.name}: expected numbers in feature column {name!r}, got {kind}; encode or drop it")
    return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)


def _labels(path: Path, name: str, column: Any) -> np.ndarray:
    kind = column.type
    if pa.types.is_floating(kind):
        return _numbers(path, name, column)
    if column.null_count:
        _missing(path, name, column, "a label")
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return np.asarray(column.to_numpy())
    return _texts(path, name, column)


def _texts(path: Path, name: str, column: Any) -> np.ndarray:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)):
        raise DataError(f"{path.name}: expected integers or text in column {name!r}, got {column.type}; encode it")
    if column.null_count:
        _missing(path, name, column, "a name")
    # An object array: numpy's own strings would pad every one to the longest.
    return np.array([str(value) for value in column.to_pylist()], dtype=object)


def _missing(path: Path, name: str, column: Any, what: str) -> None:
    row = int(np.flatnonzero(np.asarray(column.is_null().to_numpy()))[0])
    raise DataError(
        f"{path.name}: expected {what} in column {name!r}, got nothing in row {row}; fill it in or drop the row"
    )
