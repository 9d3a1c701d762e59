"""Multinomial logistic regression of many subsets at once.

Minimises, for each subset, sum over its rows of cross-entropy + l2/2 |W|^2. The last feature is
the constant 1. The optimum exists and is unique, so the path to it is nobody's business but
speed's: a model is done when the Euclidean norm of its gradient is at most the task's
``gradient_tolerance``, which puts its weights within gradient_tolerance / l2 of the optimum.

The path (``minimiser``) starts at the optimum where every row weighs p, which is where the
subsets' optima lie around, and is preconditioned by the inverse of the mean Hessian at the optima
of ``N_PILOTS`` subsets (``preconditioner``): a model fits the rows it has better than the mean
model does, so its Hessian is another. It is walked in single precision between anchors in double
(``cross_entropy``). On digits that takes about 30 gradients a model, plain steps 55 to 140. A
model that is not done after ``SHARED_ROUNDS`` begins again alone in double precision, with a
preconditioner made where it stands and anew every ``OWN_ROUNDS``: Newton's method, which ends.

Layout: weights (m, C, D), scores (m, C, n), so that every product with the data is one matrix
product for the whole batch. A row that is out has probability 0 of every class.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from protocol.game.sampling import permutation, seed_from_integer
from protocol.task import Logistic
from protocol.training.optima.cross_entropy import CrossEntropy
from protocol.training.optima.features import in_row_space
from protocol.training.optima.minimiser import minimise
from protocol.training.optima.preconditioner import Preconditioner

N_PILOTS = 32
PILOT_TOLERANCE = 1e-2
SHARED_ROUNDS = 300
OWN_ROUNDS = 12
MAX_PRECONDITIONERS = 60

ADVICE = "raise recipe.gradient_tolerance or recipe.l2, or scale the features: rounding keeps the gradient above it"

_ALIGNMENT = 8  # matrix products are up to half as fast again with rows of whole vectors


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
        x, target = in_row_space(_with_one(x_train), _with_one(x_target))
        self._x, self._x_target, self._labels = _aligned(x), _aligned(target), labels
        self._start, self._preconditioner = self._prepare(p)

    @property
    def bytes_per_subset(self) -> int:
        """Working memory that one more subset in a batch takes, about."""
        n, d = self._x.shape
        return self._n_classes * (8 * n + 120 * d + 16 * len(self._x_target)) + 24 * n + self._n_units

    def scores(self, subsets: Bool[Tensor, "m n"]) -> Float64[Tensor, "m q c"]:
        """Return the scores at the target rows of a model per subset; NaN where training did not end."""
        inside = subsets[:, self._unit_of_row]
        with torch.inference_mode():  # a tenth faster: nothing here is differentiated
            weights = self._optima(inside)
            weights[~inside.any(dim=1)] = 0.0
            return (weights.reshape(len(subsets), self._n_classes, -1) @ self._x_target.T).mT

    def _optima(self, inside: Bool[Tensor, "m n"]) -> Float64[Tensor, "m k"]:
        l2, tolerance = self._recipe.l2, self._recipe.gradient_tolerance
        losses = self._losses(inside, l2, self._start, torch.float32)
        weights, done = minimise(losses, self._preconditioner, tolerance, SHARED_ROUNDS, torch.float32)
        for model in torch.nonzero(~done).flatten().tolist():
            one = slice(model, model + 1)
            weights[one] = self._alone(inside[one], l2, tolerance)
        return weights

    def _prepare(self, p: float) -> tuple[Float64[Tensor, "1 k"], Preconditioner]:
        """Return the optimum where every row weighs p, and the mean Hessian's inverse at pilot subsets' optima."""
        everyone = torch.ones_like(self._labels, dtype=torch.bool).unsqueeze(0)
        l2, tolerance = self._recipe.l2, self._recipe.gradient_tolerance
        # p * sum + l2/2 |W|^2 has the optimum of sum + l2/(2p) |W|^2.
        start = torch.nan_to_num(self._alone(everyone, l2 / p, tolerance / p))  # a poor start only costs rounds
        there = self._losses(everyone, l2 / p, start, torch.float64).probabilities
        first = Preconditioner(self._x, p * there, l2, torch.float32)
        inside = _pilots(self._n_units, p).to(self._x.device)[:, self._unit_of_row]
        pilots = self._losses(inside, l2, start, torch.float32)
        near = max(tolerance, PILOT_TOLERANCE * float(pilots.gradients.norm(dim=1).mean()))
        points, _ = minimise(pilots, first, near, SHARED_ROUNDS, torch.float32)
        there = self._losses(inside, l2, points, torch.float64).probabilities
        return start, Preconditioner(self._x, there, l2, torch.float32)

    def _alone(self, inside: Bool[Tensor, "1 n"], l2: float, tolerance: float) -> Float64[Tensor, "1 k"]:
        """Return one model's optimum, or NaN.

        From zero, where every row still bends the loss: from beyond the optimum, where most rows are
        saturated, Newton's steps are long and all but the first hundredth of each is refused.
        """
        point = self._x.new_zeros(1, self._n_classes * self._x.shape[1])
        for _ in range(MAX_PRECONDITIONERS):
            losses = self._losses(inside, l2, point, torch.float64)
            preconditioner = Preconditioner(self._x, losses.probabilities, l2, torch.float64)
            point, done = minimise(losses, preconditioner, tolerance, OWN_ROUNDS, torch.float64)
            if done:
                return point
        return torch.full_like(point, torch.nan)

    def _losses(
        self, inside: Bool[Tensor, "m n"], l2: float, anchors: Float64[Tensor, "a k"], working: torch.dtype
    ) -> CrossEntropy:
        return CrossEntropy(self._x, self._labels, self._n_classes, inside, l2, anchors, working)


def _pilots(n_units: int, p: float) -> Bool[Tensor, "b n"]:
    """Return ``N_PILOTS`` subsets of about p N units, the same on every machine."""
    inside = torch.zeros(N_PILOTS, n_units, dtype=torch.bool)
    for pilot in range(N_PILOTS):
        order = permutation(seed_from_integer("pilot", pilot), n_units)
        inside[pilot, torch.tensor(order[: max(round(p * n_units), 1)])] = True
    return inside


def _with_one(x: Float64[Tensor, "n d"]) -> Float64[Tensor, "n d1"]:
    return torch.cat([x, torch.ones_like(x[:, :1])], dim=1)


def _aligned(x: Float64[Tensor, "n d"]) -> Float64[Tensor, "n d1"]:
    """Return ``x`` with columns of zeros, whose weights stay 0, up to a whole number of vectors."""
    return torch.nn.functional.pad(x, (0, -x.shape[1] % _ALIGNMENT))
