"""Multinomial logistic regression of many subsets at once, by truncated Newton steps.

Minimises, for each subset, sum over its rows of cross-entropy + l2/2 |W|^2. The last feature is
the constant 1. The optimum exists and is unique, so the path to it is nobody's business but
speed's: a model is done when the Euclidean norm of its float64 gradient is at most the task's
``gradient_tolerance``, which puts its weights within gradient_tolerance / l2 of the optimum.

The path: start at the optimum where every row weighs p, which is where the subsets' optima lie
around. Solve each Newton equation by conjugate gradients, preconditioned by the inverse Hessian of
that same problem (``preconditioner``), only as far as the step deserves; then search along the
step. The loss is strictly convex and the step goes downhill however early conjugate gradients
stop, so the search cannot fail until rounding hides the descent.

Layout: weights (C, m, D), scores (C, m, n). Then every product is one matrix product for the
whole batch, and every sum over classes runs along memory. Models that are done leave the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from protocol.task import Logistic
from protocol.training.features import in_row_space
from protocol.training.preconditioner import Preconditioner
from protocol.training.targets import one_hot

MAX_NEWTON_STEPS = 100
MAX_CG_STEPS = 250
MAX_SEARCH_STEPS = 40

ADVICE = (
    "raise recipe.gradient_tolerance or recipe.l2, or scale the features: "
    f"the gradient was still above the tolerance after {MAX_NEWTON_STEPS} Newton steps, or at its rounding floor"
)

_SUFFICIENT_DECREASE = 1e-4
_CURVATURE = 0.5
# Share of the loss that its own summation may lose: a rise below it is no rise (Hager and Zhang 2005, section 4).
_ROUNDING = 1e-13


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
        return 8 * self._n_classes * (4 * n + 12 * d + 2 * len(self._x_target)) + 16 * n + self._n_units

    def scores(self, subsets: Bool[Tensor, "m n"]) -> Float64[Tensor, "m q c"]:
        """Return the scores at the target rows of a model per subset; NaN where training did not end."""
        inside = subsets[:, self._unit_of_row].to(torch.float64)
        start = self._start.expand(-1, len(subsets), -1) * (inside.sum(dim=1) > 0)[:, None]
        weights = self._minimise(inside, start, self._preconditioner)
        return (weights @ self._x_target.T).permute(1, 2, 0)

    def _prepare(self, p: float) -> tuple[Float64[Tensor, "c 1 d"], Preconditioner]:
        """Return the optimum where every row weighs p, and the preconditioner made there."""
        everywhere = torch.full_like(self._x[:, 0], p).unsqueeze(0)
        zero = self._x.new_zeros(self._n_classes, 1, self._x.shape[1])
        at_zero = self._evaluate(everywhere, self._linear(everywhere), zero).probabilities[:, 0]
        start = self._minimise(everywhere, zero, Preconditioner(self._x, at_zero, self._recipe.l2))
        start = torch.where(torch.isfinite(start), start, 0.0)  # a poor start only costs steps
        at_start = self._evaluate(everywhere, self._linear(everywhere), start).probabilities[:, 0]
        return start, Preconditioner(self._x, at_start, self._recipe.l2)

    def _linear(self, inside: Float64[Tensor, "m n"]) -> Float64[Tensor, "c m d"]:
        """Return sum over rows of weight * one-hot(y) x^T: the part of the gradient that no model changes."""
        by_class = one_hot(self._labels, self._n_classes).T.unsqueeze(1) * inside
        return by_class @ self._x

    def _minimise(
        self, inside: Float64[Tensor, "m n"], start: Float64[Tensor, "c m d"], preconditioner: Preconditioner
    ) -> Float64[Tensor, "c m d"]:
        """Return the optima for rows weighted by ``inside``; NaN for a model that did not get there."""
        found = torch.full_like(start, torch.nan)
        place = torch.arange(start.shape[1], device=start.device)
        batch = self._evaluate(inside, self._linear(inside), start)
        for _ in range(MAX_NEWTON_STEPS):
            done = batch.gradient_norm <= self._recipe.gradient_tolerance
            if done.any():
                found[:, place[done]] = batch.weights[:, done]
                place, batch = place[~done], batch.take(~done)
            if not len(place):
                break
            direction = self._direction(batch, preconditioner)
            batch, moved = self._search(batch, direction)
            if not moved.all():
                place, batch = place[moved], batch.take(moved)
        return found

    def _evaluate(
        self, inside: Float64[Tensor, "m n"], linear: Float64[Tensor, "c m d"], weights: Float64[Tensor, "c m d"]
    ) -> _Batch:
        l2 = self._recipe.l2
        scores = weights @ self._x.T
        largest = scores.amax(dim=0)
        total = scores.sub_(largest).exp_().sum(dim=0)
        loss = (inside * (total.log() + largest)).sum(dim=1) - _dot(weights, linear - 0.5 * l2 * weights)
        probabilities = scores.mul_(inside / total)
        gradient = probabilities @ self._x - linear + l2 * weights
        return _Batch(
            inside=inside, linear=linear, weights=weights, loss=loss, gradient=gradient, probabilities=probabilities
        )

    def _curvature(self, batch: _Batch, v: Float64[Tensor, "c m d"]) -> Float64[Tensor, "c m d"]:
        """Return the Hessian times v: X^T (diag(P) - P P^T) X v + l2 v, the rows outside at P = 0."""
        along = v @ self._x.T
        along -= (batch.probabilities * along).sum(dim=0)
        return along.mul_(batch.probabilities) @ self._x + self._recipe.l2 * v

    def _direction(self, batch: _Batch, preconditioner: Preconditioner) -> Float64[Tensor, "c m d"]:
        """Return an approximate Newton step by preconditioned conjugate gradients."""
        norm = batch.gradient_norm
        # Nothing is gained below half the tolerance, nor far below what the quadratic model itself misses.
        enough = torch.maximum(0.5 * self._recipe.gradient_tolerance / norm, (norm / (1 + norm)).clamp(max=0.1)) * norm
        residual = -batch.gradient
        step = torch.zeros_like(residual)
        search = z = preconditioner(residual)
        rz = _dot(residual, z)
        going = torch.ones_like(norm, dtype=torch.bool)
        for _ in range(MAX_CG_STEPS):
            curved = self._curvature(batch, search)
            alpha = torch.where(going, rz / _dot(search, curved), 0.0)[:, None]
            step, residual = step + alpha * search, residual - alpha * curved
            going = going & (_dot(residual, residual).sqrt() > enough)
            if not going.any():
                break
            z = preconditioner(residual)
            before, rz = rz, _dot(residual, z)
            search = z + torch.where(going, rz / before, 0.0)[:, None] * search
        return step

    def _search(self, batch: _Batch, direction: Float64[Tensor, "c m d"]) -> tuple[_Batch, Bool[Tensor, " m"]]:
        """Return the batch moved along ``direction``, and which models found a point to move to."""
        slope = _dot(batch.gradient, direction)
        length = torch.ones_like(slope)
        moved = torch.zeros_like(slope, dtype=torch.bool)
        left = torch.arange(len(slope), device=slope.device)
        result = batch
        for attempt in range(MAX_SEARCH_STEPS):
            old = batch if attempt == 0 else batch.take(left)
            t, d, down = length[left], direction[:, left], slope[left]
            new = self._evaluate(old.inside, old.linear, old.weights + t[:, None] * d)
            slope_new = _dot(new.gradient, d)
            decreased = new.loss <= old.loss + _SUFFICIENT_DECREASE * t * down
            # Near the optimum the loss is flat to rounding, and only its slope can be trusted.
            flat = (new.loss <= old.loss + _ROUNDING * old.loss.abs()) & (slope_new.abs() <= _CURVATURE * down.abs())
            good = decreased | flat | (new.gradient_norm <= self._recipe.gradient_tolerance)
            if attempt == 0:
                result = new
            else:
                result.put(left[good], new.take(good))
            moved[left[good]] = True
            if good.all():
                break
            shrink = (down / (down - slope_new)).nan_to_num(0.1).clamp(0.1, 0.5)
            length[left] = t * shrink
            left = left[~good]
        return result, moved


@dataclass(frozen=True, kw_only=True, eq=False)
class _Batch:
    """m models on their way.

    probabilities : shape (C, m, n), of each class at each training row, times the row's weight.
    """

    inside: Float64[Tensor, "m n"]
    linear: Float64[Tensor, "c m d"]
    weights: Float64[Tensor, "c m d"]
    loss: Float64[Tensor, " m"]
    gradient: Float64[Tensor, "c m d"]
    probabilities: Float64[Tensor, "c m n"]

    @property
    def gradient_norm(self) -> Float64[Tensor, " m"]:
        return _dot(self.gradient, self.gradient).sqrt()

    def take(self, models: Tensor) -> _Batch:
        """Return the models at ``models``, an index or a mask."""
        return _Batch(
            inside=self.inside[models],
            linear=self.linear[:, models],
            weights=self.weights[:, models],
            loss=self.loss[models],
            gradient=self.gradient[:, models],
            probabilities=self.probabilities[:, models],
        )

    def put(self, models: Int64[Tensor, " k"], other: _Batch) -> None:
        """Overwrite what moves (not ``inside`` and ``linear``) of the models at ``models``."""
        self.loss[models] = other.loss
        for mine, others in (
            (self.weights, other.weights), (self.gradient, other.gradient), (self.probabilities, other.probabilities)
        ):  # fmt: skip
            mine[:, models] = others


def _dot(a: Float64[Tensor, "c m d"], b: Float64[Tensor, "c m d"]) -> Float64[Tensor, " m"]:
    return (a * b).sum(dim=(0, 2))


def _with_one(x: Float64[Tensor, "n d"]) -> Float64[Tensor, "n d1"]:
    return torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
