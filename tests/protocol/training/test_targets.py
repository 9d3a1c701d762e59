"""Each target kind against its definition, row by row."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from protocol.task import Logistic, Recipe, Ridge, TargetKind, Targets
from protocol.training.targets import outputs_from_scores
from tests.protocol.training import tasks

RIDGE, LOGISTIC = Ridge(l2=1.0), Logistic(l2=1.0, gradient_tolerance=1e-6)
SCORES = np.random.default_rng(0).normal(size=(5, 7, 3)) * 3
LABELS = np.random.default_rng(1).integers(3, size=7)


def _read(
    kind: TargetKind, recipe: Recipe, scores: np.ndarray, labels: np.ndarray, *, average: bool = False
) -> np.ndarray:
    t = 1 if average else len(labels)
    targets = Targets(kind=kind, rows=tuple(range(len(labels))), average=average, lo=np.zeros(t), hi=np.ones(t))
    return outputs_from_scores(torch.tensor(scores), torch.tensor(labels), targets, recipe).numpy()


def _probability(row: np.ndarray, label: int) -> float:
    return math.exp(row[label]) / sum(math.exp(score) for score in row)


def _ridge_loss(row: np.ndarray, label: int) -> float:
    return sum((score - (1 if c == label else -1)) ** 2 for c, score in enumerate(row))


@pytest.mark.parametrize(
    ("kind", "recipe", "naive"),
    [
        (TargetKind.MARGIN, RIDGE, lambda row, y: tasks.margins(row[None], [y])[0]),
        (TargetKind.PROBABILITY, LOGISTIC, _probability),
        (TargetKind.LOSS, LOGISTIC, lambda row, y: -math.log(_probability(row, y))),
        (TargetKind.LOSS, RIDGE, _ridge_loss),
    ],
)
def test_a_class_target_is_what_its_definition_says(kind, recipe, naive) -> None:
    expected = [[naive(row, y) for row, y in zip(model, LABELS, strict=True)] for model in SCORES]
    np.testing.assert_allclose(_read(kind, recipe, SCORES, LABELS), expected, rtol=1e-12)
    mean = _read(kind, recipe, SCORES, LABELS, average=True)
    np.testing.assert_allclose(mean, np.mean(expected, axis=1, keepdims=True), rtol=1e-12)


@pytest.mark.parametrize(
    ("kind", "naive"),
    [(TargetKind.PREDICTION, lambda score, _: score), (TargetKind.SQUARED_ERROR, lambda score, y: (score - y) ** 2)],
)
def test_a_regression_target_is_what_its_definition_says(kind, naive) -> None:
    scores, values = SCORES[:, :, :1], SCORES[0, :, 1]
    expected = [[naive(row[0], y) for row, y in zip(model, values, strict=True)] for model in scores]
    np.testing.assert_allclose(_read(kind, RIDGE, scores, values), expected, rtol=1e-12)


def test_probabilities_and_losses_of_enormous_scores_are_finite() -> None:
    scores = np.array([[[2000.0, -2000.0]]])
    assert _read(TargetKind.PROBABILITY, LOGISTIC, scores, np.array([1])).item() == 0.0
    assert _read(TargetKind.LOSS, LOGISTIC, scores, np.array([1])).item() == 4000.0
