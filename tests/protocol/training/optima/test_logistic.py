"""Logistic regression against its own optimality conditions and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.linear_model
import torch

from protocol.errors import TrainingError
from protocol.task import Logistic, Scaling, TargetKind, UnitKind
from protocol.training import Dataset, Trainer, read_table, split
from protocol.training.optima import logistic
from tests.protocol.training import tasks

TIGHT = Logistic(l2=0.5, gradient_tolerance=1e-10)


def _newton_scores(dataset: Dataset, rows: np.ndarray, n_classes: int, l2: float) -> np.ndarray:
    """Dense Newton with halving, one model at a time: the naive twin."""
    x = np.column_stack([dataset.x_train, np.ones(len(dataset.x_train))])[rows]
    y = np.eye(n_classes)[dataset.y_train[rows]]
    k = x.shape[1] * n_classes

    def probabilities(w: np.ndarray) -> np.ndarray:
        scores = x @ w
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def loss(w: np.ndarray) -> float:
        scores = x @ w
        top = scores.max(axis=1)
        return float(
            (np.log(np.exp(scores - top[:, None]).sum(axis=1)) + top - (scores * y).sum(axis=1)).sum()
            + l2 / 2 * (w**2).sum()
        )

    w = np.zeros((x.shape[1], n_classes))
    for _ in range(100):
        p = probabilities(w)
        gradient = x.T @ (p - y) + l2 * w
        if np.linalg.norm(gradient) < 1e-11:
            break
        curvature = p[:, :, None] * np.eye(n_classes) - p[:, :, None] * p[:, None, :]
        hessian = np.einsum("na,nck,nb->acbk", x, curvature, x).reshape(k, k) + l2 * np.eye(k)
        step, t = -np.linalg.solve(hessian, gradient.ravel()).reshape(w.shape), 1.0
        while t > 1e-3 and loss(w + t * step) > loss(w) + 1e-12 * abs(loss(w)):
            t /= 2
        w = w + t * step
    return np.column_stack([dataset.x_test, np.ones(len(dataset.x_test))]) @ w


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("d", [1, 4, 90])
def test_any_subset_reaches_the_newton_optimum(n_classes: int, d: int) -> None:
    task, dataset = tasks.made(TIGHT, n_classes, d=d)
    subsets = tasks.subsets_of(40, 7)
    subsets[0] = True
    subsets[1] = np.arange(40) == 3  # one row
    subsets[2] = dataset.y_train == 1  # one class
    outputs = Trainer(task, dataset).raw_outputs(subsets, tasks.seeds_of(subsets))
    for subset, found in zip(subsets, outputs, strict=True):
        expected = tasks.margins(_newton_scores(dataset, subset, n_classes, 0.5), dataset.y_test)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)


def test_digits_margins_are_those_of_logistic_regression() -> None:
    task, dataset = tasks.digits(Logistic(l2=10.0, gradient_tolerance=1e-7), Scaling.STANDARD)
    subsets = tasks.subsets_of(1000, 2)
    outputs = Trainer(task, dataset).raw_outputs(subsets, tasks.seeds_of(subsets))
    x, x_test = (np.column_stack([a, np.ones(len(a))]) for a in (dataset.x_train, dataset.x_test))
    model = sklearn.linear_model.LogisticRegression(
        C=0.1, fit_intercept=False, tol=1e-9, max_iter=10_000, solver="newton-cg"
    )
    for subset, margins in zip(subsets, outputs, strict=True):
        scores = x_test @ model.fit(x[subset], dataset.y_train[subset]).coef_.T
        np.testing.assert_allclose(margins, tasks.margins(scores, dataset.y_test), rtol=0, atol=1e-5)


@pytest.mark.parametrize("l2", [1e-4, 1.0, 100.0])
@pytest.mark.parametrize("source", ["breast_cancer", "wine", "iris"])
def test_features_of_any_scale_converge_to_a_tight_tolerance(source: str, l2: float) -> None:
    table = read_table(f"sklearn:{source}")  # unscaled: breast_cancer's columns run from 0.001 to 4,000
    data = tasks.data_of(table, 100, 20, source=f"sklearn:{source}", target_column="")
    dataset = split(table, data, UnitKind.ROW)
    recipe = Logistic(l2=l2, gradient_tolerance=1e-8)
    subsets = tasks.subsets_of(100, 5)
    subsets[0] = np.arange(100) == 5
    weights = _weights(dataset, table.n_classes, recipe, subsets)
    assert (_gradient_norms(dataset, table.n_classes, l2, subsets, weights) <= 1.01e-8).all()


def _solver(dataset: Dataset, n_classes: int, recipe: Logistic, x_target: torch.Tensor) -> logistic.LogisticSolver:
    return logistic.LogisticSolver(
        recipe, torch.tensor(dataset.x_train), torch.tensor(dataset.y_train), n_classes,
        torch.tensor(dataset.unit_of_row), dataset.n_units, x_target, 0.5,
    )  # fmt: skip


def _weights(dataset: Dataset, n_classes: int, recipe: Logistic, subsets: np.ndarray) -> np.ndarray:
    """Return weights (m, D, C), read off the scores of the origin and of the unit vectors."""
    d = dataset.x_train.shape[1]
    corners = torch.cat([torch.zeros(1, d), torch.eye(d)]).to(torch.float64)
    scores = _solver(dataset, n_classes, recipe, corners).scores(torch.tensor(subsets)).numpy()
    return np.concatenate([scores[:, 1:] - scores[:, :1], scores[:, :1]], axis=1)


def _gradient_norms(
    dataset: Dataset, n_classes: int, l2: float, subsets: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    x, y = np.column_stack([dataset.x_train, np.ones(len(dataset.x_train))]), np.eye(n_classes)[dataset.y_train]
    norms = []
    for subset, w in zip(subsets, weights, strict=True):
        scores = x[subset] @ w
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        gradient = x[subset].T @ (powers / powers.sum(axis=1, keepdims=True) - y[subset]) + l2 * w
        norms.append(np.linalg.norm(gradient))
    return np.array(norms)


def test_training_stops_at_the_stated_gradient_and_not_long_before() -> None:
    _, dataset = tasks.made(TIGHT)
    subsets = tasks.subsets_of(40, 50)
    loose = _weights(dataset, 3, Logistic(l2=0.5, gradient_tolerance=0.5), subsets)
    norms = _gradient_norms(dataset, 3, 0.5, subsets, loose)
    assert (norms <= 0.5).all()
    assert (norms > 1e-4).any()


def test_the_empty_subset_scores_zero() -> None:
    task, dataset = tasks.made(TIGHT)
    outputs = Trainer(task, dataset).raw_outputs(np.zeros((1, 40), dtype=bool), np.zeros(1, dtype=np.int64))
    assert (outputs == 0).all()


def test_a_contributor_is_all_its_rows() -> None:
    table = tasks.table(contributors=tuple("abcde"[i * i % 5] for i in range(60)))
    data = tasks.data_of(table)
    by_row, by_who = split(table, data, UnitKind.ROW), split(table, data, UnitKind.CONTRIBUTOR)
    subsets = tasks.subsets_of(by_who.n_units, 6)
    few = Trainer(tasks.task_of(data, TIGHT, n_units=by_who.n_units), by_who).raw_outputs(
        subsets, tasks.seeds_of(subsets)
    )
    rows = subsets[:, by_who.unit_of_row]
    all_rows = Trainer(tasks.task_of(data, TIGHT), by_row).raw_outputs(rows, tasks.seeds_of(rows))
    np.testing.assert_allclose(few, all_rows, rtol=0, atol=1e-8)


def test_a_tolerance_below_rounding_is_an_error_that_names_the_subset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic, "MAX_PRECONDITIONERS", 3)
    task, dataset = tasks.made(Logistic(l2=0.5, gradient_tolerance=1e-30))
    subsets = tasks.subsets_of(40, 3)
    subsets[0] = False  # its gradient is 0 exactly
    with pytest.raises(
        TrainingError, match=r"recipe logistic: expected a number from subset 1 \(seed 9, .*raise recipe"
    ):
        Trainer(task, dataset).raw_outputs(subsets, np.full(3, 9, dtype=np.int64))


def test_loss_targets_are_the_cross_entropy() -> None:
    table = tasks.table()
    data = tasks.data_of(table)
    dataset = split(table, data, UnitKind.ROW)
    subsets = tasks.subsets_of(40, 3)
    probability, loss = (
        Trainer(tasks.task_of(data, TIGHT, kind), dataset).raw_outputs(subsets, tasks.seeds_of(subsets))
        for kind in (TargetKind.PROBABILITY, TargetKind.LOSS)
    )
    np.testing.assert_allclose(loss, -np.log(probability), rtol=1e-8)
