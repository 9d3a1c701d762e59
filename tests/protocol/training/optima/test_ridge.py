"""Ridge against scikit-learn and against its own normal equations."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.linear_model

from protocol.task import Ridge, TargetKind, UnitKind
from protocol.training import Dataset, Trainer, split
from protocol.training.optima import ridge
from tests.protocol.training import tasks

RIDGE = Ridge(l2=0.7)


def _sklearn_scores(dataset: Dataset, rows: np.ndarray, n_classes: int, l2: float) -> np.ndarray:
    y = 2.0 * np.eye(n_classes)[dataset.y_train] - 1 if n_classes else dataset.y_train[:, None]
    model = sklearn.linear_model.Ridge(alpha=l2).fit(dataset.x_train[rows], y[rows])
    return model.predict(dataset.x_test).reshape(len(dataset.x_test), -1)


def test_digits_margins_are_those_of_ridge_classifier() -> None:
    task, dataset = tasks.digits()
    subsets = tasks.subsets_of(1000, 6)
    outputs = Trainer(task, dataset).raw_outputs(subsets, tasks.seeds_of(subsets))
    for subset, margins in zip(subsets, outputs, strict=True):
        model = sklearn.linear_model.RidgeClassifier(alpha=1.0).fit(dataset.x_train[subset], dataset.y_train[subset])
        expected = tasks.margins(model.decision_function(dataset.x_test), dataset.y_test)
        np.testing.assert_allclose(margins, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("n_classes", [0, 2, 3])
@pytest.mark.parametrize("d", [1, 4, 90])
def test_any_subset_agrees_with_sklearn(n_classes: int, d: int) -> None:
    task, dataset = tasks.made(RIDGE, n_classes, d=d)
    subsets = tasks.subsets_of(40, 8)
    subsets[0] = True
    subsets[1] = False
    subsets[1, 3] = True  # one row: no weights, its own target as the intercept
    if n_classes:
        subsets[2] = dataset.y_train == 1  # one class
    outputs = Trainer(task, dataset).raw_outputs(subsets, tasks.seeds_of(subsets))
    for subset, found in zip(subsets, outputs, strict=True):
        scores = _sklearn_scores(dataset, subset, n_classes, 0.7)
        expected = tasks.margins(scores, dataset.y_test) if n_classes else scores[:, 0]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("n_classes", [0, 3])
def test_the_empty_subset_scores_zero(n_classes: int) -> None:
    task, dataset = tasks.made(RIDGE, n_classes)
    outputs = Trainer(task, dataset).raw_outputs(np.zeros((1, 40), dtype=bool), np.zeros(1, dtype=np.int64))
    assert (outputs == 0).all()


def test_a_contributor_is_all_its_rows() -> None:
    who = tuple("abcde"[i * i % 5] for i in range(60))
    table = tasks.table(contributors=who)
    data = tasks.data_of(table)
    by_row, by_who = split(table, data, UnitKind.ROW), split(table, data, UnitKind.CONTRIBUTOR)
    subsets = tasks.subsets_of(by_who.n_units, 6)
    few = Trainer(tasks.task_of(data, RIDGE, n_units=by_who.n_units), by_who).raw_outputs(
        subsets, tasks.seeds_of(subsets)
    )
    rows = subsets[:, by_who.unit_of_row]
    all_rows = Trainer(tasks.task_of(data, RIDGE), by_row).raw_outputs(rows, tasks.seeds_of(rows))
    np.testing.assert_allclose(few, all_rows, rtol=0, atol=1e-10)


def test_sums_too_large_to_keep_are_made_for_each_subset(monkeypatch: pytest.MonkeyPatch) -> None:
    task, dataset = tasks.made(RIDGE)
    subsets = tasks.subsets_of(40, 8)
    subsets[0] = False
    kept = Trainer(task, dataset).raw_outputs(subsets, tasks.seeds_of(subsets))
    monkeypatch.setattr(ridge, "MAX_SUMS_BYTES", 0)
    monkeypatch.setattr(ridge, "_BLOCK_BYTES", 0)
    made = Trainer(task, dataset).raw_outputs(subsets, tasks.seeds_of(subsets))
    np.testing.assert_allclose(made, kept, rtol=0, atol=1e-10)


def test_unit_sums_are_the_same_however_many_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    task, dataset = tasks.made(RIDGE)
    subsets = tasks.subsets_of(40, 4)
    whole = Trainer(task, dataset).raw_outputs(subsets, tasks.seeds_of(subsets))
    monkeypatch.setattr(ridge, "_BLOCK_BYTES", 1)
    assert np.array_equal(Trainer(task, dataset).raw_outputs(subsets, tasks.seeds_of(subsets)), whole)


def test_a_large_common_offset_costs_no_accuracy() -> None:
    table = tasks.table(n_classes=0)
    data = tasks.data_of(table)
    near = split(table, data, UnitKind.ROW)
    far = Dataset(
        x_train=near.x_train + 2.0**20, y_train=near.y_train, x_test=near.x_test + 2.0**20, y_test=near.y_test,
        unit_of_row=near.unit_of_row, unit_names=near.unit_names, contributor_of_unit=None,
    )  # fmt: skip
    task = tasks.task_of(data, RIDGE, TargetKind.PREDICTION)
    subsets = tasks.subsets_of(40, 4)
    outputs = [Trainer(task, dataset).raw_outputs(subsets, tasks.seeds_of(subsets)) for dataset in (near, far)]
    np.testing.assert_allclose(*outputs, rtol=0, atol=1e-7)  # uncentred sums of 2^40 would lose 1e-3
