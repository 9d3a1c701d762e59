"""The inverse of a mean of multinomial logistic Hessians, applied to many vectors at once.

A model's Hessian is, for classes c and k, sum_i P_ic ([c = k] - P_ik) x_i x_i^T + l2 [c = k], with
P its probabilities. How much of it is inverted depends on its
size alone, so that it cannot change with the batch: all of it up to ``MAX_FULL`` numbers a side;
else one block a class up to ``MAX_BLOCK``; else its diagonal.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from torch import Tensor

MAX_FULL = 2048
"""Up to here a product with the inverse costs no more than a few with the data."""

MAX_BLOCK = 4096
"""C inverses of this side take C 128 MiB."""


class Preconditioner:
    """The (partial) inverse of the mean of some models' Hessians of cross-entropy + l2/2 |W|^2.

    Parameters
    ----------
    x : shape (n, D), float64.
    probabilities : shape (b, C, n), of each class at each row, times the row's weight in the model.
    l2 : the penalty, above 0.
    working : the precision of the vectors that it is applied to.
    """

    def __init__(
        self, x: Float64[Tensor, "n d"], probabilities: Float64[Tensor, "b c n"], l2: float, working: torch.dtype
    ) -> None:
        n_classes, d = probabilities.shape[1], x.shape[1]
        # A row that is out weighs 0, and so does its share of any class.
        shares = probabilities / probabilities.sum(dim=1, keepdim=True).clamp(min=1e-300)
        if n_classes * d <= MAX_FULL:
            self._blocks = _inverse(_full(x, probabilities, shares), l2).unsqueeze(0)
        else:
            curvature = (probabilities * (1 - shares)).mean(dim=0)
            if d <= MAX_BLOCK:
                self._blocks = torch.stack([_inverse((x.T * row) @ x, l2) for row in curvature])
            else:
                self._blocks = 1 / (curvature @ x.square() + l2).unsqueeze(1)
        self._blocks = self._blocks.to(working)
        self._diagonal = d > MAX_BLOCK and n_classes * d > MAX_FULL

    def __call__(self, v: Float[Tensor, "m k"]) -> Float[Tensor, "m k"]:
        """Return the inverse times each of the m vectors of ``v``, whose k = C D numbers run class by class."""
        if self._diagonal:
            return v * self._blocks.flatten()
        if len(self._blocks) == 1:
            return v @ self._blocks[0]
        by_class = v.reshape(len(v), len(self._blocks), -1).permute(1, 0, 2)
        return torch.bmm(by_class, self._blocks).permute(1, 0, 2).reshape(v.shape)


def _full(
    x: Float64[Tensor, "n d"], probabilities: Float64[Tensor, "b c n"], shares: Float64[Tensor, "b c n"]
) -> Float64[Tensor, "cd cd"]:
    n_classes, d = probabilities.shape[1], x.shape[1]
    hessian = x.new_zeros(n_classes, d, n_classes, d)
    for c in range(n_classes):
        for k in range(c + 1):
            row = probabilities[:, c] * ((1.0 if c == k else 0.0) - shares[:, k])
            block = (x.T * row.mean(dim=0)) @ x
            hessian[c, :, k], hessian[k, :, c] = block, block.T
    return hessian.reshape(n_classes * d, n_classes * d)


def _inverse(hessian: Float64[Tensor, "k k"], l2: float) -> Float64[Tensor, "k k"]:
    hessian.diagonal().add_(l2)
    factor, failed = torch.linalg.cholesky_ex(hessian)
    if failed:  # singular to rounding: the diagonal alone still preconditions
        return torch.diag(1 / hessian.diagonal())
    return torch.cholesky_inverse(factor)
