"""The data set of a task: which rows train, which test, and who owns which row.

Owns the split, the scaling, the constant columns and the units; reading is ``tables``' and
``readers``' business. Scaling uses all training rows, before any subset is taken: it is part of
the task, and no subset's training can see another's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from protocol.errors import DataError
from protocol.game.sampling import permutation, seed_from_integer
from protocol.task import ConstantColumns, Data, Scaling, Task, UnitKind
from protocol.training.data.tables import Table, read_table

__all__ = ["Dataset", "Table", "load", "read_table", "split"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """What a recipe trains on and is tested on.

    x_train, x_test : shapes (n_train, d) and (n_test, d), float64, after dropping and scaling.
    y_train, y_test : int64 class ids, or float64 for a regression.
    unit_of_row : shape (n_train,), the unit of each training row, from 0 to N-1.
    unit_names : N names: ``row 17`` (numbered in the whole table, from 0), or the contributor's.
    contributor_of_unit : N contributors, or None where the table has none.
    """

    x_train: Float64[np.ndarray, "n d"]
    y_train: Int64[np.ndarray, " n"] | Float64[np.ndarray, " n"]
    x_test: Float64[np.ndarray, "q d"]
    y_test: Int64[np.ndarray, " q"] | Float64[np.ndarray, " q"]
    unit_of_row: Int64[np.ndarray, " n"]
    unit_names: tuple[str, ...]
    contributor_of_unit: tuple[str, ...] | None

    def __post_init__(self) -> None:
        for array in (self.x_train, self.y_train, self.x_test, self.y_test, self.unit_of_row):
            array.setflags(write=False)

    @property
    def n_units(self) -> int:
        """N."""
        return len(self.unit_names)


def load(task: Task, path: Path | None = None) -> Dataset:
    """Return the data set that ``task`` names, after checking that it is that one.

    Parameters
    ----------
    path : Path or None
        Where the file is; None for a ``sklearn:`` set. Does not affect outputs: the digest
        decides.

    Raises
    ------
    DataError
        The data cannot be read (:func:`read_table`), have another digest than the task's, or do
        not split as the task says (:func:`split`).
    """
    data = task.data
    table = read_table(
        data.source,
        path=path,
        target_column=data.target_column,
        contributor_column=data.contributor_column,
        task_kind="classes" if data.n_classes else "regression",
    )
    if table.digest != data.digest:
        raise DataError(
            f"data set {data.source!r}: expected digest {data.digest.hex()[:16]}, got {table.digest.hex()[:16]}; "
            "get the very data that the task was made from"
        )
    dataset = split(table, data, task.units.kind)
    if dataset.n_units != task.n_units:
        raise DataError(
            f"data set {data.source!r}: expected units.n = {task.n_units} units, got {dataset.n_units} in the "
            "training rows; make the task anew"
        )
    return dataset


def split(table: Table, data: Data, kind: UnitKind) -> Dataset:
    """Return the training and test rows of ``table`` that ``data`` describes.

    The rows are shuffled by ``sampling.permutation`` under ``data.split_seed``; the first
    ``n_train`` train, the next ``n_test`` test. A column is constant when it takes one value
    on the whole table; one that varies, but not over the training rows, is only centred.

    Raises
    ------
    DataError
        More rows asked for than there are, a constant column that is not to be dropped, nothing
        but constant columns, another number of classes, or contributors asked for and none there.
    """
    if data.n_train + data.n_test > table.n_rows:
        raise DataError(
            f"data set {data.source!r}: expected at least n_train + n_test = {data.n_train + data.n_test} rows, "
            f"got {table.n_rows}; lower data.n_train or data.n_test"
        )
    if table.n_classes != data.n_classes:
        raise DataError(f"data set {data.source!r}: expected n_classes = {data.n_classes}, got {table.n_classes}")
    features = _varying(table, data)
    order = permutation(seed_from_integer("split", data.split_seed), table.n_rows)
    train, test = order[: data.n_train], order[data.n_train : data.n_train + data.n_test]
    x_train, x_test = features[train], features[test]
    if data.scaling is Scaling.STANDARD:
        x_train, x_test = _scaled(x_train, x_test)
    elif data.scaling is Scaling.RANGE:
        x_train, x_test = _ranged(x_train, x_test)
    unit_of_row, unit_names, contributor_of_unit = _units(table, train, kind, data.source)
    return Dataset(
        x_train=x_train,
        y_train=table.labels[train],
        x_test=x_test,
        y_test=table.labels[test],
        unit_of_row=unit_of_row,
        unit_names=unit_names,
        contributor_of_unit=contributor_of_unit,
    )


def _varying(table: Table, data: Data) -> Float64[np.ndarray, "r d"]:
    constant = table.features.min(axis=0) == table.features.max(axis=0)
    if not constant.any() or data.constant_columns is ConstantColumns.KEEP:
        return table.features
    if data.constant_columns is ConstantColumns.REFUSE:
        column = int(np.flatnonzero(constant)[0])
        raise DataError(
            f"data set {data.source!r}: expected columns that vary, got {table.features[0, column]} in every row of "
            f"{table.columns[column]!r} ({int(constant.sum())} such columns); "
            'drop them, or set data.constant_columns = "drop", or "keep" for an image'
        )
    if constant.all():
        raise DataError(
            f"data set {data.source!r}: expected a column that varies, got {constant.size} constant columns"
        )
    return table.features[:, ~constant]


def _scaled(
    x_train: Float64[np.ndarray, "n d"], x_test: Float64[np.ndarray, "q d"]
) -> tuple[Float64[np.ndarray, "n d"], Float64[np.ndarray, "q d"]]:
    mean = x_train.mean(axis=0)
    deviation = x_train.std(axis=0)
    # A rounded mean can leave a constant column a tiny deviation, and tiny values one of zero.
    varies = (x_train.min(axis=0) != x_train.max(axis=0)) & (deviation > 0)
    deviation = np.where(varies, deviation, 1.0)
    return (x_train - mean) / deviation, (x_test - mean) / deviation


def _ranged(
    x_train: Float64[np.ndarray, "n d"], x_test: Float64[np.ndarray, "q d"]
) -> tuple[Float64[np.ndarray, "n d"], Float64[np.ndarray, "q d"]]:
    # Halves first: the sum of two large numbers may overflow. A power of two divides without rounding.
    middle = x_train.min(axis=0) / 2 + x_train.max(axis=0) / 2
    most = np.abs(x_train - middle).max(axis=0)
    fraction, exponent = np.frexp(np.where(most > 0, np.maximum(most, np.finfo(np.float64).tiny), 1.0))
    power = np.ldexp(1.0, exponent - (fraction == 0.5))
    return (x_train - middle) / power, (x_test - middle) / power


def _units(
    table: Table, train: Int64[np.ndarray, " n"], kind: UnitKind, source: str
) -> tuple[Int64[np.ndarray, " n"], tuple[str, ...], tuple[str, ...] | None]:
    givers = None if table.contributors is None else tuple(table.contributors[row] for row in train.tolist())
    if kind is UnitKind.ROW:
        return np.arange(len(train), dtype=np.int64), tuple(f"row {row}" for row in train.tolist()), givers
    if givers is None:
        raise DataError(
            f"data set {source!r}: expected a contributor for every row, got none; "
            'set data.contributor_column, or units.kind = "row"'
        )
    names = tuple(sorted(set(givers)))
    index = {name: i for i, name in enumerate(names)}
    return np.array([index[giver] for giver in givers], dtype=np.int64), names, names
