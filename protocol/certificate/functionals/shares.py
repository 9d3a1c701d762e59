"""Shares of a total in proportion to positive worth, with intervals (THEORY 9).

A share c of contributor k satisfies w_k - c S = 0, S the sum of the positive worths: a linear functional of the worths.
The interval is the set of c for which 0 lies in the interval of that functional (Fieller 1954), so nothing of second
order is left out, and a claim may be as wrong as it likes. What is assumed is what simultaneous.py assumes.

Letters: B families, J contributors, w corrected worths (claimed worth plus the estimated error), S as above.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from protocol.certificate.functionals.simultaneous import Intervals, margins
from protocol.errors import ArgumentError

_SIGN_SHARE = 0.1  # of delta, for the total and for the signs of contributors whose worth is near 0
_POOL_KNOWN = 0.5  # the total worth's own margin over its estimate; above, shares are not resolved at all
_FIXED_POINT_STEPS = 60  # each one divides the distance by 1/_POOL_KNOWN or more, so it ends below _ROUNDING
_ROUNDING = 1e-10  # of the total


def share_values(
    worth: Float64[np.ndarray, " j"], values: Float64[np.ndarray, "b j"], *, total: float
) -> Float64[np.ndarray, "b j"]:
    """Return each family's first-order effect on the shares of ``total``; shape (B, J), means 0. For planning.

    With w the corrected worths, S the sum of the positive ones: (total/S) (dw_k - (w_k/S) dS), at w and not at the
    claim, so that the claim's own error enters no expansion. Arguments and errors as :func:`share_intervals`.
    """
    corrected = worth + values.mean(axis=0)
    positive = corrected > 0
    pool = _pool(corrected)
    centred = values - values.mean(axis=0)
    return np.asarray(total / pool * (centred - np.outer(centred[:, positive].sum(axis=1), corrected / pool)))


def share_intervals(
    worth: Float64[np.ndarray, " j"], values: Float64[np.ndarray, "b j"], *, total: float, delta: float
) -> Intervals:
    """Return intervals of the true shares of ``total``, in proportion to positive worth; all hold at once.

    With S the sum of the worths that are estimated above 0, a share c of the total satisfies w_k - c S = 0. That is a
    linear functional, so the interval holds every c for which 0 lies in the interval of w_k - c S (Fieller): no term of
    second order is left out, however wrong the claim is. A tenth of delta bounds what S misses because a contributor
    near 0 has the other sign than estimated, which can only make shares smaller.

    Parameters
    ----------
    worth : claimed worth, larger is better.
    values : the families' values of true less claimed worth, with the same sign.
    total : what is shared, at least 0.

    Raises
    ------
    ArgumentError
        Corrected worths that add up to nothing positive, or as :func:`intervals`.
    """
    corrected = worth + values.mean(axis=0)
    positive = corrected > 0
    pool, n = _pool(corrected), len(worth)
    pooled = values[:, positive].sum(axis=1, keepdims=True)
    sure = _SIGN_SHARE * delta / (n + 1)
    pool_below, pool_above = (float(side[0]) for side in margins(pooled, sure))
    estimate = np.where(positive, corrected, 0.0) * total / pool
    if max(pool_below, pool_above) > _POOL_KNOWN * pool:
        return Intervals(delta=delta, estimate=estimate, lower=np.zeros(n), upper=np.full(n, total))
    alpha = (1 - _SIGN_SHARE) * delta / (2 * n)
    low, high = (_share_end(corrected, values, pooled, pool, alpha, upper=upper) for upper in (False, True))
    below, above = margins(values, sure)
    other_sign = np.where(positive, below - corrected, corrected + above)  # the most that a worth adds to S
    hidden = float(np.maximum(other_sign, 0.0).sum())
    least = pool - pool_below
    lower = np.maximum(low, 0.0) * least / (least + hidden)
    return Intervals(delta=delta, estimate=estimate, lower=lower * total, upper=np.clip(high, 0.0, 1.0) * total)


def _pool(corrected: Float64[np.ndarray, " j"]) -> float:
    pool = float(np.maximum(corrected, 0.0).sum())
    if not pool > 0:
        raise ArgumentError("no contributor's corrected worth is above 0, so nobody is due anything")
    return pool


def _share_end(
    corrected: Float64[np.ndarray, " j"],
    values: Float64[np.ndarray, "b j"],
    pooled: Float64[np.ndarray, "b 1"],
    pool: float,
    alpha: float,
    *,
    upper: bool,
) -> Float64[np.ndarray, " j"]:
    """Solve c = (w_k +- margin of w_k - c S) / S for every contributor at once."""
    share = corrected / pool
    for _ in range(_FIXED_POINT_STEPS):
        below, above = margins(values - share * pooled, alpha)
        moved = (corrected + (above if upper else -below)) / pool
        if bool(np.abs(moved - share).max() <= _ROUNDING):
            break
        share = moved
    return np.asarray(moved)
