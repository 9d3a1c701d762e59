"""Multinomial logistic regression of many subsets at once.

Minimises, for each subset, sum over its rows of cross-entropy + l2/2 |W|^2. The last feature is
the constant 1. The optimum exists and is unique, so the path to it is nobody's business but
speed's: a model is done when the Euclidean norm of its gradient is at most the task's
``gradient_tolerance``, which puts its weights within gradient_tolerance / l2 of the optimum.

The path (``minimiser``) starts at the optimum where every row weighs p, which is where the
subsets' optima lie around, and is preconditioned by the inverse Hessian there
(``preconditioner``). On digits that takes about 30 gradients a model, where plain steps take 55 to
140. A model that is not done after ``SHARED_ROUNDS`` goes on alone, with a preconditioner made
where it stands and anew every ``OWN_ROUNDS``: Newton's method, which ends.

Layout: weights (m, C, D), scores (m, C, n), so that every product with the data is one matrix
product for the whole batch. A row that is out has weight 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from protocol.task import Logistic
from protocol.training.features import in_row_space
from protocol.training.minimiser import minimise
from protocol.training.preconditioner import Preconditioner
from protocol.training.targets import one_hot

SHARED_ROUNDS = 150
OWN_ROUNDS = 12
MAX_PRECONDITIONERS = 60

ADVICE = "raise recipe.gradient_tolerance or recipe.l2, or scale the features: rounding keeps the gradient above it"


class LogisticSolver:
    """Multinomial logistic regression on any subset of units.

    The empty subset's model has W = 0.

    Parameters
    ----------
    recipe : the penalty and the gradient's tolerance.
    x_train : shape (n, d), float64, without the constant.
    labels : shape (n,), int64, from 0 to ``n_classes`` - 1.
    unit_of_row : shape (n,), int64, from 0 to ``n_units`` - 1.
    x_target : shape (q, d), float64: the rows that are scored.
    p : probability that a unit is in; only sets where training starts.
    """

    advice = ADVICE

    def __init__(
        self,
        recipe: Logistic,
        x_train: Float64[Tensor, "n d"],
        labels: Int64[Tensor, " n"],
        n_classes: int,
        unit_of_row: Int64[Tensor, " n"],
        n_units: int,
        x_target: Float64[Tensor, "q d"],
        p: float,
    ) -> None:
        self._recipe, self._n_classes, self._n_units, self._unit_of_row = recipe, n_classes, n_units, unit_of_row
        self._x, self._x_target = in_row_space(_with_one(x_train), _with_one(x_target))
        self._labels = labels
        self._start, self._preconditioner = self._prepare(p)

    @property
    def bytes_per_subset(self) -> int:
        """Working memory that one more subset in a batch takes, about."""
        n, d = self._x.shape
        return 8 * self._n_classes * (3 * n + 24 * d + 2 * len(self._x_target)) + 24 * n + self._n_units

    def scores(self, subsets: Bool[Tensor, "m n"]) -> Float64[Tensor, "m q c"]:
        """Return the scores at the target rows of a model per subset; NaN where training did not end."""
        inside = subsets[:, self._unit_of_row].to(torch.float64)
        start = self._start * (inside.sum(dim=1) > 0)[:, None]
        objective, tolerance = self._objective(inside), self._recipe.gradient_tolerance
        weights, done = minimise(objective, start, self._preconditioner, tolerance, SHARED_ROUNDS)
        for model in torch.nonzero(~done).flatten():
            alone = objective.take(model.unsqueeze(0))
            weights[model] = self._minimise_alone(alone, weights[model].unsqueeze(0))[0]
        return (weights.reshape(len(subsets), self._n_classes, -1) @ self._x_target.T).mT

    def _prepare(self, p: float) -> tuple[Float64[Tensor, "1 k"], Preconditioner]:
        """Return the optimum where every row weighs p, and the preconditioner made there."""
        weighted = self._objective(torch.full_like(self._x[:, 0], p).unsqueeze(0))
        zero = self._x.new_zeros(1, self._n_classes * self._x.shape[1])
        there = torch.nan_to_num(self._minimise_alone(weighted, zero))  # a poor start only costs rounds
        return there, self._preconditioner_at(weighted, there)

    def _minimise_alone(self, objective: _Losses, point: Float64[Tensor, "1 k"]) -> Float64[Tensor, "1 k"]:
        """Return one model's optimum, or NaN."""
        for _ in range(MAX_PRECONDITIONERS):
            preconditioner = self._preconditioner_at(objective, point)
            point, done = minimise(objective, point, preconditioner, self._recipe.gradient_tolerance, OWN_ROUNDS)
            if done:
                return point
        return torch.full_like(point, torch.nan)

    def _preconditioner_at(self, objective: _Losses, point: Float64[Tensor, "1 k"]) -> Preconditioner:
        return Preconditioner(self._x, objective.probabilities(point)[0], self._recipe.l2)

    def _objective(self, inside: Float64[Tensor, "m n"]) -> _Losses:
        of_class = one_hot(self._labels, self._n_classes).T * inside.unsqueeze(1)
        return _Losses(x=self._x, labels=self._labels, inside=inside, linear=of_class @ self._x, l2=self._recipe.l2)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Losses:
    """m penalised losses of weights, as ``minimiser.Objective``.

    inside : shape (m, n), each row's weight.
    linear : shape (m, C, D), sum over rows of weight * one-hot(y) x^T: what of the gradient no model changes.
    """

    x: Float64[Tensor, "n d"]
    labels: Int64[Tensor, " n"]
    inside: Float64[Tensor, "m n"]
    linear: Float64[Tensor, "m c d"]
    l2: float

    def __call__(self, points: Float64[Tensor, "m k"]) -> tuple[Float64[Tensor, " m"], Float64[Tensor, "m k"]]:
        exponentials, total, loss = self._exponentials(points)
        gradient = exponentials.mul_((self.inside / total).unsqueeze(1)) @ self.x
        gradient -= self.linear
        return loss, gradient.flatten(1).add_(points, alpha=self.l2)

    def take(self, models: Tensor) -> _Losses:
        """Return the losses at ``models``, an index or a mask."""
        return _Losses(x=self.x, labels=self.labels, inside=self.inside[models], linear=self.linear[models], l2=self.l2)

    def probabilities(self, points: Float64[Tensor, "m k"]) -> Float64[Tensor, "m c n"]:
        """Return each class's probability at each training row, times the row's weight."""
        exponentials, total, _ = self._exponentials(points)
        return exponentials * (self.inside / total).unsqueeze(1)

    def _exponentials(self, points: Float64[Tensor, "m k"]) -> tuple[Tensor, Tensor, Float64[Tensor, " m"]]:
        """Return exp(score - largest), their sums over classes, and the losses."""
        m, c, _ = self.linear.shape
        scores = points.reshape(m, c, -1) @ self.x.T
        scores -= scores.amax(dim=1, keepdim=True)
        true = scores.gather(1, self.labels.expand(m, 1, -1)).squeeze(1)
        exponentials = scores.exp_()
        total = exponentials.sum(dim=1)
        # Row by row, so that no large sums cancel.
        loss = torch.linalg.vecdot(self.inside, total.log() - true) + 0.5 * self.l2 * points.square().sum(dim=1)
        return exponentials, total, loss


def _with_one(x: Float64[Tensor, "n d"]) -> Float64[Tensor, "n d1"]:
    return torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
