"""By how much the claimed worth of contributors is wrong: unbiased estimates, one row a family (THEORY 9).

A contributor's worth is the sum of its units' best scores. With r the odd residual (an output less the claim, averaged
over targets) and S_j the centred count of contributor j's units that are in, for any f whatever

    E[r S_j] / (p(1-p)) = true worth of j less its claimed worth,                                              (9.1)

because the counts of different contributors are independent and each has mean 0 and variance n_j p(1-p). The same
identity makes the coefficient of S_j in the joint regression of r on all counts that error divided by n_j. So there are
two estimators. :func:`products` averages r S_j / (p(1-p)). :func:`regression` also removes what the errors of the other
contributors add to the noise. With single units in place of contributors it removes their unequal errors too, and a
contributor's values are the sums of its units'.

Both return one row a family: the column means are the estimates, and the rows scatter about them as independent
families do. The estimate of any linear functional L of the errors is therefore the mean of ``values @ L.T``, and its
error that of a mean over B independent families.

Which estimator is used depends on numbers of contributors, units, families and siblings alone, so no output chooses it.

Letters: B families of s siblings, J contributors, n_j units of contributor j, N units; "rows" are the B s odd
residuals.
"""

from __future__ import annotations

import enum

import numpy as np
from jaxtyping import Bool, Float64, Int64

from protocol.certificate.functionals.simultaneous import FEWEST_FAMILIES, FEWEST_ROWS
from protocol.errors import ArgumentError

__all__ = ["FEWEST_FAMILIES", "FEWEST_ROWS", "Estimator", "estimator_for", "products", "regression", "values_of"]

ROWS_PER_CONTRIBUTOR = 6
"""Regression needs this many rows a contributor. It wins if counts explain over (J+1)/rows of r^2; here that is 1/6."""

ROWS_PER_UNIT = 10
"""Likewise for units. At worst, where units explain nothing that counts do not, intervals are a tenth wider."""

_FEWEST_ROWS_PER_COLUMN = 2  # of a direct call: near 1 the families' leverages are near 1, too, and errors explode
_SMALLEST_EIGENVALUE = 1e-9  # over the largest; independent draws come nowhere near, and half of all digits are left
_LARGEST_LEVERAGE = 1 - 1e-9  # a family that alone determines a coefficient cannot be left out
_CHUNK_CELLS = 1 << 22  # of the design, held once more at a time; does not affect outputs


class Estimator(enum.Enum):
    """How the error of a worth is estimated: what the counts that are handed over belong to, and what is done to them.

    PRODUCTS : counts of contributors, multiplied with the residual.
    REGRESSION : counts of contributors, in a joint regression.
    UNITS : single units, in a joint regression, summed over contributors.
    """

    PRODUCTS = "products"
    REGRESSION = "regression"
    UNITS = "regression on units"


def estimator_for(*, n_contributors: int, n_families: int, n_siblings: int, n_units: int | None = None) -> Estimator:
    """Return the estimator for a design: units from 10 rows a unit on, contributors from 6 rows each on, else products.

    n_units : units that some contributor holds; None where units are not to be told apart.

    Raises
    ------
    ArgumentError
        Fewer than 100 families or fewer than 200 rows (a row is one odd residual: two retrainings at p = 1/2).
    """
    n_rows = n_families * n_siblings
    if n_families < FEWEST_FAMILIES or n_rows < FEWEST_ROWS:
        raise ArgumentError(
            f"payouts need at least {FEWEST_FAMILIES} families and {FEWEST_ROWS} subsets, complements not counted; "
            f"there are {n_families} and {n_rows}: allow more retrainings"
        )
    if n_units is not None and n_rows >= ROWS_PER_UNIT * n_units:
        return Estimator.UNITS
    return Estimator.REGRESSION if n_rows >= ROWS_PER_CONTRIBUTOR * n_contributors else Estimator.PRODUCTS


def values_of(
    residual: Float64[np.ndarray, "b s"],
    counts: Float64[np.ndarray, "b s j"],
    *,
    p: float,
    sizes: Int64[np.ndarray, " j"],
) -> Float64[np.ndarray, "b j"]:
    """Return the values of the estimator that :func:`estimator_for` names where units are not told apart.

    Arguments, result and errors are those of :func:`products` and :func:`regression`, and a design below the floors is
    an ArgumentError.
    """
    n_families, n_siblings, n_contributors = counts.shape
    chosen = estimator_for(n_contributors=n_contributors, n_families=n_families, n_siblings=n_siblings)
    estimate = products if chosen is Estimator.PRODUCTS else regression
    return estimate(residual, counts, p=p, sizes=sizes)


def products(
    residual: Float64[np.ndarray, "b s"],
    counts: Float64[np.ndarray, "b s j"],
    *,
    p: float,
    sizes: Int64[np.ndarray, " j"],
) -> Float64[np.ndarray, "b j"]:
    """Return each family's mean of r S_j / (p(1-p)); unbiased for every f (THEORY 9.1).

    Away from p = 1/2 the mean of r is unknown. The mean over the *other* families is subtracted: it is independent of
    the family's own counts, so no bias is left.

    Parameters
    ----------
    residual : shape (B, s); output less claim, averaged over targets. At p = 1/2 the odd part, whose mean is 0.
    counts : shape (B, s, J); for each subset, the sum of x_i - p over the units of a contributor.
    p : probability that a unit is in.
    sizes : shape (J,); units of each contributor, at least 1. That no unit has two holders is the caller's to check.

    Returns
    -------
    Shape (B, J), in the unit of the residual. Column means estimate true less claimed worth; rows are independent.

    Raises
    ------
    ArgumentError
        Shapes that do not agree, values that are not finite, a contributor without units, or fewer than 2 families.
    """
    _check(residual, counts, p, sizes)
    n_families, n_siblings = residual.shape
    if p != 0.5:
        totals = residual.sum(axis=1)
        others = (totals.sum() - totals) / ((n_families - 1) * n_siblings)
        residual = residual - others[:, None]
    return np.asarray(np.einsum("bs,bsj->bj", residual, counts) / (n_siblings * p * (1 - p)))


def regression(
    residual: Float64[np.ndarray, "b s"],
    counts: Float64[np.ndarray, "b s j"],
    *,
    p: float,
    sizes: Int64[np.ndarray, " j"],
    groups: Bool[np.ndarray, "k j"] | None = None,
) -> Float64[np.ndarray, "b _"]:
    """Return values whose means are n_j beta_j, beta from the joint least-squares fit of r to S_1 .. S_J.

    Family b's value is n_j (beta_j + (B-1)(d_bj - mean of d_j)), d_bj the change of beta_j when family b is left out.
    So the variance of the mean over families is the jackknife's (CR3 about its mean), for every linear functional too.
    Away from p = 1/2 there is an intercept. The bias is of order 1/B. There is none where r is linear in the units up
    to noise that is independent of the subset: units of one contributor are exchangeable given all counts.

    Parameters
    ----------
    residual, counts, p, sizes : as in :func:`products`. The columns may be single units, each of size 1.
    groups : columns to be summed for each of K results, here units of contributors; by default one result a column.

    Returns
    -------
    Shape (B, K), or (B, J) without groups; as in :func:`products`.

    Raises
    ------
    ArgumentError
        As :func:`products`; fewer than 2 rows a column; columns of which one family alone determines a coefficient.
    """
    _check(residual, counts, p, sizes)
    n_families, n_siblings, n_columns = counts.shape
    if n_families * n_siblings < _FEWEST_ROWS_PER_COLUMN * n_columns:
        raise ArgumentError(f"{n_families * n_siblings} subsets are too few for a regression on {n_columns} counts")
    scale = np.sqrt(sizes * p * (1 - p))  # makes the variance of every column 1, for the sake of conditioning
    weights = np.diag(sizes / scale) if groups is None else (groups * (sizes / scale)).T
    design = counts / scale
    if p != 0.5:
        design = np.concatenate([design, np.ones((n_families, n_siblings, 1))], axis=2)
        weights = np.concatenate([weights, np.zeros((1, weights.shape[1]))])
    rows = design.reshape(n_families * n_siblings, -1)
    gram = rows.T @ rows
    spectrum = np.linalg.eigvalsh(gram)
    try:
        if not spectrum[0] > _SMALLEST_EIGENVALUE * spectrum[-1]:
            raise np.linalg.LinAlgError
        inverse = np.linalg.inv(gram)
        beta = inverse @ (rows.T @ residual.ravel())
        unseen = _unseen(design, inverse, residual - design @ beta)
    except np.linalg.LinAlgError:
        raise ArgumentError("the regression cannot tell the counts apart: allow more retrainings") from None
    change = np.einsum("bsk,bs->bk", design @ (inverse @ weights), unseen)
    return np.asarray(beta @ weights + (n_families - 1) * (change - change.mean(axis=0)))


def _unseen(
    design: Float64[np.ndarray, "b s q"], inverse: Float64[np.ndarray, "q q"], remaining: Float64[np.ndarray, "b s"]
) -> Float64[np.ndarray, "b s"]:
    """What the fit without a family leaves of its residuals: (I - H_bb)^-1 times what the whole fit leaves."""
    unseen = np.empty_like(remaining)
    step = max(1, _CHUNK_CELLS // (design.shape[1] * design.shape[2]))
    for start in range(0, len(design), step):
        part = slice(start, start + step)
        leverage = (design[part] @ inverse) @ design[part].transpose(0, 2, 1)
        if not float(np.linalg.eigvalsh(leverage)[:, -1].max()) < _LARGEST_LEVERAGE:
            raise np.linalg.LinAlgError
        without = np.linalg.solve(np.eye(leverage.shape[1]) - leverage, remaining[part, :, None])
        unseen[part] = without[:, :, 0]
    return unseen


def _check(
    residual: Float64[np.ndarray, "b s"], counts: Float64[np.ndarray, "b s j"], p: float, sizes: Int64[np.ndarray, " j"]
) -> None:
    if not 0 < p < 1:
        raise ArgumentError(f"p must lie strictly between 0 and 1, not {p}")
    if counts.shape[:2] != residual.shape or sizes.shape != counts.shape[2:]:
        raise ArgumentError(
            f"expected shapes (B, s), (B, s, J), (J,), got {residual.shape}, {counts.shape}, {sizes.shape}"
        )
    if residual.shape[0] < 2 or residual.shape[1] < 1 or sizes.size < 1:
        raise ArgumentError(f"payouts need at least 2 families and 1 contributor, got counts of shape {counts.shape}")
    if bool((sizes < 1).any()):
        raise ArgumentError("every contributor must hold at least one unit")
    if not (bool(np.isfinite(residual).all()) and bool(np.isfinite(counts).all())):
        raise ArgumentError("residuals and counts must be finite")
