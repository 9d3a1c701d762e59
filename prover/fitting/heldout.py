"""How good a claim is, from evaluations that it was not fitted to.

Owns the estimator of the gap and the figures made of it. Refuses to know how the claim was made.

Letters: r_j the residual of held-out evaluation j, phi_j its characters (THEORY 1), W_1 the
residual's weight at degree one, which is the gap.

E[r phi] is the vector of the residual's coefficients at degree one, so for two independent
evaluations E[r_j r_k phi_j . phi_k] = W_1, and the mean over all pairs j != k is unbiased:

    U = ( |sum_j r_j phi_j|^2 - sum_j r_j^2 |phi_j|^2 ) / (n (n - 1)).

A constant added to r changes no expectation here, so the intercept need not be right.
Its standard error is the jackknife's, which for a claim of small gap is up to sqrt(2) too large.

Characters are asked for products only, so that n x N of them need never be held (``prover.fitting.design``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from protocol.claim import Figures
from protocol.errors import InternalError


@runtime_checkable  # which checks of shapes under pytest ask for
class Characters(Protocol):
    """The characters of n subsets, or their image under an isometry: what the gap's estimate needs of them."""

    def __len__(self) -> int:
        """Return n."""
        ...

    def times(self, v: Float[Tensor, "d t"]) -> Float[Tensor, "n t"]:
        """Return Phi V."""
        ...

    def transposed_times(self, r: Float[Tensor, "n t"]) -> Float[Tensor, "d t"]:
        """Return Phi^T R."""
        ...

    def squared_lengths(self) -> Float64[Tensor, " n"]:
        """Return |phi_j|^2 of each subset."""
        ...


@dataclass(frozen=True, eq=False)
class Dense:
    """:class:`Characters` that are held as they are, for small problems.

    values : shape (n, d).
    """

    values: Float64[Tensor, "n d"]

    def __len__(self) -> int:
        return len(self.values)

    def times(self, v: Float[Tensor, "d t"]) -> Float64[Tensor, "n t"]:
        """Return Phi V."""
        return self.values @ v

    def transposed_times(self, r: Float[Tensor, "n t"]) -> Float64[Tensor, "d t"]:
        """Return Phi^T R."""
        return self.values.T @ r

    def squared_lengths(self) -> Float64[Tensor, " n"]:
        """Return |phi_j|^2 of each subset."""
        return self.values.square().sum(dim=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Spread:
    """How the outputs themselves vary, over all evaluations; each of shape (T,), in the target's unit squared.

    variance : Var f. even : variance of (f(x) + f(1-x))/2, 0 without complements.
    fitted : mean square of what scores are fitted to, the odd part or the centred whole.
    varies : whether Var f is more than the task's tolerance squared; where it is not, the target is a constant.
    """

    variance: Float64[np.ndarray, " t"]
    even: Float64[np.ndarray, " t"]
    fitted: Float64[np.ndarray, " t"]
    varies: Bool[np.ndarray, " t"]

    def relative(self, values: Float64[np.ndarray, "*b t"]) -> Float64[np.ndarray, "*b t"]:
        """Return ``values`` as shares of Var f; 0 for a target that is a constant."""
        return np.where(self.varies, values / np.where(self.varies, self.variance, 1.0), 0.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Quality:
    """A claim's figures per target, each of shape (T,), as shares of Var f.

    relative_gap : unbiased for a claim made elsewhere, so it may fall below 0. Where a penalty was chosen by it, it is
        the least of several estimates, so too low as a rule, by less than its error.
    relative_gap_error : its standard error, which knows nothing of that choice.
    odd_residual : mean square of the residual's odd part (of the whole residual for p other than 1/2).
    r2 : 1 - (odd residual + even part), the share of Var f explained. varies : False for a constant target.
    mean_gap_error : standard error of the mean of ``relative_gap`` over targets.
    n_heldout : independent evaluations behind the figures.
    """

    relative_gap: Float64[np.ndarray, " t"]
    relative_gap_error: Float64[np.ndarray, " t"]
    odd_residual: Float64[np.ndarray, " t"]
    r2: Float64[np.ndarray, " t"]
    varies: Bool[np.ndarray, " t"]
    mean_gap_error: float
    n_heldout: int

    def mean(self, values: Float64[np.ndarray, " t"]) -> float:
        """Return the mean over the targets that vary; 0 if none does."""
        return float(values[self.varies].mean()) if self.varies.any() else 0.0

    @property
    def mean_gap(self) -> float:
        """Mean over targets of the relative gap; may fall below 0."""
        return self.mean(self.relative_gap)

    def figures(self, n_retrainings: int) -> Figures:
        """Return the means over targets that a claim is published with.

        The gap is stated as its estimate, where that is above 0, plus its standard error: chance and the choice of a
        penalty would flatter it, most where least is known. It is at most the odd residual, which no gap exceeds and
        which is known better. In simulations of one target that was below the true gap in 0 to 28% of fits (46% where
        there is no noise, so that the odd residual is the gap), and below half of it in 1%.
        """
        odd_residual = self.mean(self.odd_residual)
        return Figures(
            relative_gap=min(max(self.mean_gap, 0.0) + self.mean_gap_error, odd_residual),
            odd_residual=odd_residual,
            r2=min(self.mean(self.r2), 1.0),
            n_retrainings=n_retrainings,
        )


def spread(outputs: Float64[np.ndarray, "n s t"], tolerance: float) -> Spread:
    """Return how outputs vary.

    Parameters
    ----------
    outputs : shape (n, s, T), of n independent subsets; s is 2 with complements, the subset first, else 1.
    tolerance : the task's, in the targets' unit.
    """
    n, sides, _ = outputs.shape
    variance = outputs.reshape(n * sides, -1).var(axis=0)
    if sides == 2:
        even, fitted = outputs.mean(axis=1).var(axis=0), (fitted_part(outputs) ** 2).mean(axis=0)
    else:
        even, fitted = np.zeros_like(variance), variance
    return Spread(variance=variance, even=even, fitted=fitted, varies=variance > tolerance**2)


def fitted_part(outputs: Float64[np.ndarray, "n s t"]) -> Float64[np.ndarray, "n t"]:
    """Return what scores are fitted to: (f(x) - f(1-x))/2 with complements (THEORY 2), else f less its mean."""
    if outputs.shape[1] == 2:
        return np.asarray((outputs[:, 0] - outputs[:, 1]) / 2)
    return np.asarray(outputs[:, 0] - outputs[:, 0].mean(axis=0))


def gap_estimate(features: Characters, residuals: Float64[Tensor, "n t"]) -> Float64[Tensor, " t"]:
    """Return U, shape (T,), in the target's unit squared; it may fall below 0.

    Parameters
    ----------
    features : of n subsets, at least 2.
    residuals : shape (n, T), of evaluations independent of each other and of the claim.
    """
    n = _enough(len(features))
    own = features.squared_lengths() @ residuals.square()
    return (features.transposed_times(residuals).double().square().sum(dim=0) - own) / (n * (n - 1))


def gap_shares(features: Characters, residuals: Float64[Tensor, "n t"]) -> Float64[Tensor, "n t"]:
    """Return each evaluation's share in U: its mean with all others, shape (n, T); their mean over n is U."""
    n = _enough(len(features))
    own = residuals.square() * features.squared_lengths()[:, None]
    return (residuals * features.times(features.transposed_times(residuals)) - own) / (n - 1)


def _enough(n: int) -> int:
    if n < 2:
        raise InternalError(f"the gap's estimate needs 2 evaluations, got {n}")
    return n


def quality(folds: Sequence[tuple[Characters, Float64[Tensor, "_ t"]]], spread_: Spread, n_targets: int) -> Quality:
    """Return the figures of claims, one a fold, from held-out features and residuals.

    With several folds (cross-validation) the figures are means over folds: those of the claims
    fitted to the other folds, not of one fitted to all.
    """
    gap, mse, n = np.zeros(n_targets), np.zeros(n_targets), sum(len(residuals) for _, residuals in folds)
    squares, mean_squares = np.zeros(n_targets), 0.0
    for features, residuals in folds:
        shares = gap_shares(features, residuals)
        estimate = shares.mean(dim=0)
        weight = len(residuals) / n
        gap += weight * estimate.cpu().numpy()
        mse += weight * residuals.square().mean(dim=0).cpu().numpy()
        relative = spread_.relative((shares - estimate).cpu().numpy())
        squares += (relative**2).sum(axis=0)
        mean_squares += float((relative.sum(axis=1) ** 2).sum())
    odd_residual = spread_.relative(mse)
    return Quality(
        relative_gap=spread_.relative(gap),
        relative_gap_error=2 * np.sqrt(squares) / n,  # jackknife of a U-statistic of degree 2
        odd_residual=odd_residual,
        r2=np.where(spread_.varies, 1.0 - odd_residual - spread_.relative(spread_.even), 0.0),
        varies=spread_.varies,
        mean_gap_error=2 * mean_squares**0.5 / (n * max(int(spread_.varies.sum()), 1)),
        n_heldout=n,
    )
