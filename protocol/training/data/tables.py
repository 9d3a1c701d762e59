"""The table: a data set as read, checked, before any split, scaling or dropping.

Owns what the columns mean (classes or a regression, contributors) and the digest that a task
names its data by. Refuses to know which rows train: that is ``datasets``' business.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float64, Int64

from protocol.encoding import Digest, digest
from protocol.errors import DataError
from protocol.training.data.readers import RawTable, read_raw

MAX_MAGNITUDE = 1e100
"""Largest value taken: sums of squares over any number of rows stay finite."""

MAX_CLASSES = 1000

TaskKind: TypeAlias = Literal["auto", "classes", "regression"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """R rows of a data set, finite throughout.

    features : shape (R, d), float64.
    labels : shape (R,); int64 class ids from 0 to C-1, or float64 for a regression.
    n_classes : C, at least 2; 0 for a regression.
    columns : the d features' names.
    class_names : the C classes' names; () for a regression.
    contributors : who gave each row, or None.
    """

    features: Float64[np.ndarray, "r d"]
    labels: Int64[np.ndarray, " r"] | Float64[np.ndarray, " r"]
    n_classes: int
    columns: tuple[str, ...]
    class_names: tuple[str, ...]
    contributors: tuple[str, ...] | None

    def __post_init__(self) -> None:
        self.features.setflags(write=False)
        self.labels.setflags(write=False)

    @property
    def n_rows(self) -> int:
        """R."""
        return int(self.features.shape[0])

    @cached_property
    def digest(self) -> Digest:
        """Name of the data: the whole table as read, so that it is the same on every machine."""
        contributors = None if self.contributors is None else list(self.contributors)
        return digest(
            "table", self.features, self.labels, self.n_classes, list(self.columns), list(self.class_names),
            contributors,
        )  # fmt: skip


def read_table(
    source: str,
    *,
    path: Path | None = None,
    target_column: str = "",
    contributor_column: str = "",
    task_kind: TaskKind = "auto",
) -> Table:
    """Return a data set, read and checked.

    Parameters
    ----------
    source : str
        ``sklearn:digits``, ``breast_cancer``, ``wine``, ``iris`` or ``diabetes``; else the name
        of a file, which is read from ``path``.
    path : Path or None
        A .npz (arrays ``X`` and, unless ``target_column`` names another, ``y``), .csv or .parquet.
    target_column, contributor_column : str
        Column (or array) names; ``""`` for none.
    task_kind : {"auto", "classes", "regression"}
        What the target is; ``auto`` takes floats for a regression, the rest for classes.
        ``regression`` takes integers as numbers.

    Raises
    ------
    DataError
        A set, file or column that cannot be used (``readers``); a value that is missing, NaN,
        infinite or beyond 1e100; a target of one class, of too many, or of the wrong kind.
    """
    raw = read_raw(source, path, target_column, contributor_column)
    name = source if path is None else path.name
    target = target_column or "target"
    _check_finite(name, raw)
    contributors = None if raw.contributors is None else tuple(str(c) for c in raw.contributors)
    if contributors is not None and "" in contributors:
        row = contributors.index("")
        raise DataError(f"{name}: expected a name in column {contributor_column!r}, got nothing in row {row}")
    labels, class_names = _labels(name, target, raw, task_kind)
    return Table(
        features=raw.features + 0.0,  # -0.0 becomes 0.0: equal tables have equal digests
        labels=labels,
        n_classes=len(class_names),
        columns=raw.columns,
        class_names=class_names,
        contributors=contributors,
    )


def _check_finite(name: str, raw: RawTable) -> None:
    for start in range(0, len(raw.features), 65536):
        block = raw.features[start : start + 65536]
        bad = np.argwhere(~(np.abs(block) <= MAX_MAGNITUDE))  # also true for NaN
        if len(bad):
            row, column = (int(i) for i in bad[0])
            raise DataError(_not_finite(name, raw.columns[column], start + row, float(block[row, column])))


def _not_finite(name: str, column: str, row: int, value: float) -> str:
    got = "NaN or nothing" if np.isnan(value) else f"{value}"
    return (
        f"{name}: expected a number of at most {MAX_MAGNITUDE:g} in column {column!r}, got {got} in row {row}; "
        "fill it in or drop the row"
    )


def _labels(
    name: str, column: str, raw: RawTable, kind: TaskKind
) -> tuple[Int64[np.ndarray, " r"] | Float64[np.ndarray, " r"], tuple[str, ...]]:
    numeric, is_float = raw.target.dtype.kind in "biuf", raw.target.dtype.kind == "f"
    if kind == "auto":
        kind = "regression" if is_float else "classes"
    if kind == "regression":
        if not numeric:
            raise DataError(
                f"{name}: expected numbers in target column {column!r}, got text; a regression has no classes"
            )
        return _values(name, column, raw.target.astype(np.float64) + 0.0), ()
    if is_float:
        raise DataError(
            f"{name}: expected integers or text as classes in target column {column!r}, got fractions; "
            "use whole numbers, or make it a regression"
        )
    found, ids = np.unique(raw.target, return_inverse=True)
    if not 2 <= len(found) <= MAX_CLASSES:
        got = "one class" if len(found) == 1 else f"{len(found)}"
        raise DataError(f"{name}: expected 2 to {MAX_CLASSES} classes in target column {column!r}, got {got}")
    return ids.astype(np.int64), raw.class_names or tuple(str(c) for c in found)


def _values(name: str, column: str, values: Float64[np.ndarray, " r"]) -> Float64[np.ndarray, " r"]:
    bad = np.flatnonzero(~(np.abs(values) <= MAX_MAGNITUDE))
    if bad.size:
        raise DataError(_not_finite(name, column, int(bad[0]), float(values[bad[0]])))
    if values.min() == values.max():
        raise DataError(
            f"{name}: expected values that differ in target column {column!r}, got {values[0]} in every row"
        )
    return values
