"""The split, the scaling, the constant columns and the units."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from protocol.errors import DataError
from protocol.game.sampling import permutation, seed_from_integer
from protocol.task import ConstantColumns, Ridge, Scaling, TargetKind, Task, UnitKind
from protocol.training import Dataset, Table, load, read_table, split
from tests.protocol.training import tasks

WHO = tuple("dcba"[i % 4] for i in range(60))


def test_the_first_rows_of_the_shuffle_train_and_the_next_test() -> None:
    table = tasks.table()
    order = permutation(seed_from_integer("split", 7), 60)
    dataset = split(table, tasks.data_of(table), UnitKind.ROW)
    assert np.array_equal(dataset.x_train, table.features[order[:40]])
    assert np.array_equal(dataset.y_train, table.labels[order[:40]])
    assert np.array_equal(dataset.x_test, table.features[order[40:50]])
    assert np.array_equal(dataset.y_test, table.labels[order[40:50]])
    assert dataset.unit_names == tuple(f"row {row}" for row in order[:40])
    assert dataset.contributor_of_unit is None
    assert dataset.n_units == 40


def test_another_split_seed_gives_other_rows() -> None:
    table = tasks.table()
    first, second = (split(table, tasks.data_of(table, split_seed=s), UnitKind.ROW) for s in (1, 2))
    assert first.unit_names != second.unit_names


def test_units_by_contributor_are_sorted_and_hold_all_their_training_rows() -> None:
    table = tasks.table(contributors=WHO)
    dataset = split(table, tasks.data_of(table), UnitKind.CONTRIBUTOR)
    rows = permutation(seed_from_integer("split", 7), 60)[:40].tolist()
    assert dataset.unit_names == dataset.contributor_of_unit == ("a", "b", "c", "d")
    assert [dataset.unit_names[unit] for unit in dataset.unit_of_row] == [WHO[row] for row in rows]


def test_a_contributor_with_no_training_row_is_no_unit() -> None:
    last = permutation(seed_from_integer("split", 7), 60)[45]
    table = tasks.table(contributors=tuple("absent" if row == last else "present" for row in range(60)))
    assert split(table, tasks.data_of(table), UnitKind.CONTRIBUTOR).unit_names == ("present",)


def test_units_by_row_know_their_contributors() -> None:
    table = tasks.table(contributors=WHO)
    dataset = split(table, tasks.data_of(table), UnitKind.ROW)
    rows = permutation(seed_from_integer("split", 7), 60)[:40].tolist()
    assert dataset.contributor_of_unit == tuple(WHO[row] for row in rows)


def test_a_range_is_centred_and_divided_by_a_power_of_two() -> None:
    table = tasks.table()
    plain = split(table, tasks.data_of(table), UnitKind.ROW)
    ranged = split(table, tasks.data_of(table, scaling=Scaling.RANGE), UnitKind.ROW)
    for column in range(plain.x_train.shape[1]):
        x, scaled = plain.x_train[:, column], ranged.x_train[:, column]
        power = (x.max() - x.min()) / (scaled.max() - scaled.min())
        assert 0.5 < np.abs(scaled).max() <= 1.0
        assert abs(np.log2(power) - round(np.log2(power))) < 1e-9
        assert abs(scaled.max() + scaled.min()) < 1e-12
        np.testing.assert_allclose(
            ranged.x_test[:, column] - scaled[0], (plain.x_test[:, column] - x[0]) / power, atol=1e-12
        )


def test_scaling_uses_all_training_rows_and_no_test_row() -> None:
    table = tasks.table()
    plain = split(table, tasks.data_of(table), UnitKind.ROW)
    scaled = split(table, tasks.data_of(table, scaling=Scaling.STANDARD), UnitKind.ROW)
    mean, deviation = plain.x_train.mean(axis=0), plain.x_train.std(axis=0)
    assert np.allclose(scaled.x_train.mean(axis=0), 0, atol=1e-12)
    assert np.allclose(scaled.x_train.std(axis=0), 1)
    assert np.allclose(scaled.x_test, (plain.x_test - mean) / deviation)


def _with_column(table: Table, column: np.ndarray) -> Table:
    features = np.column_stack([table.features, column])
    return dataclasses.replace(table, features=features, columns=(*table.columns, "extra"))


def test_constant_columns_are_dropped_or_refused_by_name() -> None:
    plain = tasks.table()
    table = _with_column(plain, np.full(60, 3.5))
    dropped = split(table, tasks.data_of(table), UnitKind.ROW)
    assert np.array_equal(dropped.x_train, split(plain, tasks.data_of(plain), UnitKind.ROW).x_train)
    refuse = tasks.data_of(table, constant_columns=ConstantColumns.REFUSE)
    with pytest.raises(
        DataError, match=r"got 3.5 in every row of 'extra' \(1 such columns\).*data.constant_columns = "
    ):
        split(table, refuse, UnitKind.ROW)


def test_a_column_constant_in_training_alone_is_kept_and_centred() -> None:
    test_row = permutation(seed_from_integer("split", 7), 60)[40]
    table = _with_column(tasks.table(), np.where(np.arange(60) == test_row, 9.1, 0.1))
    dataset = split(
        table,
        tasks.data_of(table, scaling=Scaling.STANDARD, constant_columns=ConstantColumns.REFUSE),
        UnitKind.ROW,
    )
    assert np.allclose(dataset.x_train[:, -1], 0, atol=1e-12)
    assert np.isclose(dataset.x_test[0, -1], 9.0)


def test_constant_columns_of_an_image_are_kept_and_no_scaling_divides_by_their_range() -> None:
    table = _with_column(tasks.table(), np.full(60, 3.5))
    for scaling, value in ((Scaling.NONE, 3.5), (Scaling.STANDARD, 0.0), (Scaling.RANGE, 0.0)):
        dataset = split(
            table, tasks.data_of(table, scaling=scaling, constant_columns=ConstantColumns.KEEP), UnitKind.ROW
        )
        assert set(dataset.x_train[:, -1]) | set(dataset.x_test[:, -1]) == {value}
        assert dataset.x_train.shape[1] == 5


def test_a_column_constant_in_training_alone_is_centred_by_its_range_too() -> None:
    test_row = permutation(seed_from_integer("split", 7), 60)[40]
    table = _with_column(tasks.table(), np.where(np.arange(60) == test_row, 9.25, 0.25))
    dataset = split(table, tasks.data_of(table, scaling=Scaling.RANGE), UnitKind.ROW)
    assert set(dataset.x_train[:, -1]) == {0.0}
    assert dataset.x_test[0, -1] == 9.0


def test_nothing_but_constant_columns_is_refused() -> None:
    table = dataclasses.replace(tasks.table(d=1), features=np.ones((60, 1)))
    with pytest.raises(DataError, match=r"expected a column that varies, got 1 constant columns"):
        split(table, tasks.data_of(table), UnitKind.ROW)


def test_more_rows_than_the_table_has_are_refused() -> None:
    table = tasks.table()
    with pytest.raises(DataError, match=r"expected at least n_train \+ n_test = 61 rows, got 60; lower"):
        split(table, tasks.data_of(table, 51, 10), UnitKind.ROW)
    assert split(table, tasks.data_of(table, 50, 10), UnitKind.ROW).n_units == 50


def test_contributors_that_are_not_there_are_refused() -> None:
    table = tasks.table()
    with pytest.raises(DataError, match=r"expected a contributor for every row, got none; set data.contributor_column"):
        split(table, tasks.data_of(table), UnitKind.CONTRIBUTOR)


def test_another_number_of_classes_is_refused() -> None:
    table = tasks.table()
    with pytest.raises(DataError, match=r"expected n_classes = 4, got 3"):
        split(table, tasks.data_of(table, n_classes=4), UnitKind.ROW)


def _loadable(folder: Path, kind: UnitKind = UnitKind.ROW, n_units: int | None = None) -> tuple[Task, Path]:
    path = folder / "made.csv"
    made = tasks.table(contributors=WHO)
    lines = [
        ",".join(repr(float(v)) for v in row) + f",{who},{label}"
        for row, who, label in zip(made.features, WHO, made.labels, strict=True)
    ]
    path.write_text("x0,x1,x2,x3,who,y\n" + "\n".join(lines) + "\n")
    table = read_table("made.csv", path=path, target_column="y", contributor_column="who")
    assert table.digest == made.digest
    return tasks.task_of(
        tasks.data_of(table), Ridge(l2=1.0), n_units=n_units if kind is UnitKind.CONTRIBUTOR else None
    ), path


def test_load_is_read_then_split(tmp_path: Path) -> None:
    task, path = _loadable(tmp_path)
    table = tasks.table(contributors=WHO)
    _assert_same(load(task, path), split(table, task.data, UnitKind.ROW))


def test_load_refuses_data_of_another_digest(tmp_path: Path) -> None:
    task, path = _loadable(tmp_path)
    path.write_text(path.read_text().replace(",0\n", ",1\n", 1))
    expected = task.data.digest.hex()[:16]
    with pytest.raises(
        DataError, match=rf"'made.csv': expected digest {expected}, got [0-9a-f]{{16}}; get the very data"
    ):
        load(task, path)


def test_load_refuses_another_number_of_units(tmp_path: Path) -> None:
    task, path = _loadable(tmp_path, UnitKind.CONTRIBUTOR, 5)
    with pytest.raises(DataError, match=r"expected units.n = 5 units, got 4 in the training rows; make the task anew"):
        load(task, path)


def test_a_bundled_regression_loads_without_a_path() -> None:
    table = read_table("sklearn:diabetes")
    data = tasks.data_of(table, 300, 50, source="sklearn:diabetes", target_column="")
    dataset = load(tasks.task_of(data, Ridge(l2=1.0), TargetKind.PREDICTION))
    assert dataset.x_train.shape == (300, 10)
    assert dataset.y_train.dtype == np.float64


def test_a_data_set_cannot_be_written_to() -> None:
    table = tasks.table()
    dataset = split(table, tasks.data_of(table), UnitKind.ROW)
    for array in (table.features, dataset.x_train, dataset.y_train, dataset.unit_of_row):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def _assert_same(first: Dataset, second: Dataset) -> None:
    for field in dataclasses.fields(Dataset):
        one, two = getattr(first, field.name), getattr(second, field.name)
        assert np.array_equal(one, two) if isinstance(one, np.ndarray) else one == two
