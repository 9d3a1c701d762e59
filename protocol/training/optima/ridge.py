"""Ridge regression of many subsets at once, in closed form.

A subset's normal equations are sums over its units, so one product of the subsets' 0/1 matrix
with per-unit sums gives those of a whole batch; a batched Cholesky solve does the rest.

With Z = [x, y, 1] of a row, the K numbers summed are the products Z_i Z_j for: x with x (upper
triangle), x with y, x with 1, y with 1, and 1 with 1. Features and targets are centred on all
training rows first: the intercept absorbs it, and the subset's own centring, sum(x x^T) less
n mean mean^T, then subtracts what is small.

Memory: N K numbers of 8 bytes, K about (d + C)^2 / 2, while that is at most ``MAX_SUMS_BYTES``.
Beyond, each subset's sums are one product of its own rows, which at such sizes runs as fast and
keeps nothing. d is at most the number of training rows (``features``).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from protocol.task import Ridge
from protocol.training.optima.features import in_row_space

MAX_SUMS_BYTES = 1 << 28
_BLOCK_BYTES = 1 << 26

ADVICE = "raise recipe.l2: the normal equations are singular to working precision"


class RidgeSolver:
    """Ridge on any subset of units: min over (W, b) of sum |y - xW - b|^2 + l2 |W|^2.

    The intercept b is not penalised; without ``has_intercept`` it is 0 (recipe ``kernel``). The empty
    subset's model has W = 0 and b = 0.

    Parameters
    ----------
    recipe : the penalty.
    x_train, y_train : shapes (n, d) and (n, C), float64; y is +-1 per class, or the value.
    unit_of_row : shape (n,), int64, from 0 to ``n_units`` - 1.
    x_target : shape (q, d), float64: the rows that are scored.
    """

    advice = ADVICE

    def __init__(
        self,
        recipe: Ridge,
        x_train: Float64[Tensor, "n d"],
        y_train: Float64[Tensor, "n c"],
        unit_of_row: Int64[Tensor, " n"],
        n_units: int,
        x_target: Float64[Tensor, "q d"],
        *,
        has_intercept: bool = True,
    ) -> None:
        self._centring = 1.0 if has_intercept else 0.0
        x_mean, self._y_mean = x_train.mean(dim=0) * self._centring, y_train.mean(dim=0) * self._centring
        x, self._x_target = in_row_space(x_train - x_mean, x_target - x_mean)
        self._l2, self._d, self._c, self._n_units = recipe.l2, x.shape[1], y_train.shape[1], n_units
        self._z = torch.cat([x, y_train - self._y_mean, torch.ones_like(x[:, :1])], dim=1)
        self._unit_of_row = unit_of_row
        self._left, self._right, self._square = _products(self._d, self._c, x.device)
        self._unit_sums = self._summed_by_unit() if 8 * n_units * len(self._left) <= MAX_SUMS_BYTES else None

    @property
    def bytes_per_subset(self) -> int:
        """Working memory that one more subset in a batch takes, about."""
        d, c = self._d, self._c
        return 8 * (self._n_units + len(self._left) + 4 * d * d + 4 * d * c + 4 * c * len(self._x_target))

    def scores(self, subsets: Bool[Tensor, "m n"]) -> Float64[Tensor, "m q c"]:
        """Return the scores at the target rows of a model per subset; NaN where it cannot be solved."""
        d, c = self._d, self._c
        sums = self._subset_sums(subsets)
        n_tri = d * (d + 1) // 2
        xy = sums[:, n_tri : n_tri + d * c].reshape(-1, d, c)
        x, y, n = sums[:, -(d + c + 1) :].split([d, c, 1], dim=1)
        x_mean, y_mean = self._centring * x / n.clamp(min=1), self._centring * y / n.clamp(min=1)
        covariance = torch.baddbmm(
            sums.index_select(1, self._square).reshape(-1, d, d), x.unsqueeze(2), x_mean.unsqueeze(1), alpha=-1
        )
        covariance.diagonal(dim1=1, dim2=2).add_(self._l2)
        factor, failed = torch.linalg.cholesky_ex(covariance)
        weights = torch.cholesky_solve(torch.baddbmm(xy, x.unsqueeze(2), y_mean.unsqueeze(1), alpha=-1), factor)
        intercepts = y_mean + self._y_mean - torch.bmm(x_mean.unsqueeze(1), weights).squeeze(1)
        flat = self._x_target @ weights.permute(1, 0, 2).reshape(d, -1)
        scores: Tensor = flat.reshape(-1, len(subsets), c).permute(1, 0, 2) + intercepts.unsqueeze(1)
        scores[n[:, 0] == 0] = 0.0
        scores[failed != 0] = torch.nan
        return scores

    def _subset_sums(self, subsets: Bool[Tensor, "m n"]) -> Float64[Tensor, "m k"]:
        if self._unit_sums is not None:
            return subsets.to(torch.float64) @ self._unit_sums
        sums = torch.empty(len(subsets), len(self._left), dtype=torch.float64, device=subsets.device)
        for i, inside in enumerate(subsets[:, self._unit_of_row]):
            rows = self._z[inside]
            sums[i] = (rows.T @ rows)[self._left, self._right]
        return sums

    def _summed_by_unit(self) -> Float64[Tensor, "n k"]:
        k = len(self._left)
        sums = self._z.new_zeros(self._n_units, k)
        step = max(1, _BLOCK_BYTES // (8 * k))
        for start in range(0, len(self._z), step):
            rows = self._z[start : start + step]
            products = rows[:, self._left] * rows[:, self._right]
            sums.index_add_(0, self._unit_of_row[start : start + step], products)
        return sums


def _products(d: int, c: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return the K pairs of columns of Z, and where each entry of a (d, d) square stands among them."""
    upper = torch.triu_indices(d, d, device=device)
    features = torch.arange(d, device=device)
    targets = torch.arange(d, d + c, device=device)
    one = torch.tensor([d + c], device=device)
    left = torch.cat([upper[0], features.repeat_interleave(c), features, targets, one])
    right = torch.cat([upper[1], targets.repeat(d), one.expand(d + c + 1)])
    square = torch.empty(d, d, dtype=torch.int64, device=device)
    square[upper[0], upper[1]] = square[upper[1], upper[0]] = torch.arange(upper.shape[1], device=device)
    return left, right, square.flatten()
