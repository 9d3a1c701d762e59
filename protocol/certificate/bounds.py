"""Quantiles and confidence bounds that the certificates are made of.

Letters: MSB and MSW, the mean squares between and within families; n_b and n_w their degrees
of freedom; alpha the probability that a bound fails. "Lower quantile" means the alpha quantile.

Each bound is exact when the residuals of a family are jointly Gaussian with equal correlation,
which is the one asymptotic assumption of THEORY 2.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float64
from scipy import special


def chi2_quantile(alpha: float, degrees: float) -> float:
    """Return the lower alpha quantile of chi-square."""
    return float(2 * special.gammaincinv(degrees / 2, alpha))


def f_quantile(alpha: float, numerator: float, denominator: float) -> float:
    """Return the lower alpha quantile of Fisher's F."""
    return float(special.fdtri(numerator, denominator, alpha))


def t_quantile(alpha: float, degrees: float) -> float:
    """Return the lower alpha quantile of Student's t."""
    return float(special.stdtrit(degrees, alpha))


def trimmed_chi2_quantile(alpha: float, n: int, n_hidden: int) -> float:
    """Return q with P(sum of the smallest n - c of n chi-squares of 1 degree < q) <= alpha; 0 when c >= n.

    For every u the sum is at least sum_i min(X_i, u) - c u, and Chernoff's bound of the lower tail
    of a sum of independent min(X_i, u) is exact in form; the best u and exponent of a grid are
    taken. With c = 0 it is below the chi-square quantile by Chernoff's slack, about a tenth at n = 50.
    """
    if n_hidden >= n:
        return 0.0
    caps, rates, log_moments = _capped_moments()
    bounds = ((np.log(alpha) - n * log_moments) / rates).max(axis=1) - n_hidden * caps
    return max(0.0, float(bounds.max()))


@lru_cache(maxsize=1)
def _capped_moments() -> tuple[Float64[np.ndarray, " u"], Float64[np.ndarray, " l"], Float64[np.ndarray, "u l"]]:
    """Caps u, rates l, and log E exp(-l min(Z^2, u)) for Z standard normal."""
    grid = np.linspace(0, 8, 2001)
    squares, weights = grid**2, np.exp(-(grid**2) / 2)
    weights[0] /= 2  # the trapezoid's end; the other weighs nothing
    caps, rates = np.array([*np.linspace(0.5, 8.0, 31), 64.0]), np.geomspace(0.02, 20.0, 60)
    moments = [np.exp(-rates[:, None] * np.minimum(squares, cap)) @ weights for cap in caps]
    return caps, rates, np.log(np.array(moments) / weights.sum())


def contrast_upper(
    msb: Float64[np.ndarray, " r"],
    msw: Float64[np.ndarray, " r"],
    *,
    between: float,
    within: float,
    n_b: float,
    n_w: float,
    alpha: float,
) -> Float64[np.ndarray, " r"]:
    """Return upper bounds on between * E[MSB] - within * E[MSW], not below 0 (Tukey-Williams).

    With between = within = 1/s this is Williams' 1962 bound on a variance component:
    n_b MSB / chi2(alpha; n_b) * max(0, 1 - F(alpha; n_b, n_w) MSW / MSB) / s.
    """
    return _contrast(msb, msw, between, within, n_b / chi2_quantile(alpha, n_b), f_quantile(alpha, n_b, n_w))


def contrast_lower(
    msb: Float64[np.ndarray, " r"],
    msw: Float64[np.ndarray, " r"],
    *,
    between: float,
    within: float,
    n_b: float,
    n_w: float,
    alpha: float,
) -> Float64[np.ndarray, " r"]:
    """Return lower bounds on between * E[MSB] - within * E[MSW], not below 0: the same, from the upper quantiles."""
    return _contrast(msb, msw, between, within, n_b / chi2_quantile(1 - alpha, n_b), f_quantile(1 - alpha, n_b, n_w))


def _contrast(
    msb: Float64[np.ndarray, " r"],
    msw: Float64[np.ndarray, " r"],
    between: float,
    within: float,
    scale: float,
    ratio: float,
) -> Float64[np.ndarray, " r"]:
    return np.asarray(scale * np.maximum(0.0, between * msb - within * ratio * msw))


def mean_error(per_family: Float64[np.ndarray, b * r], alpha: float) -> Float64[np.ndarray, "*r"]:
    """Return Student's one-sided error of the mean over independent families: t(1-alpha; B-1) sd / sqrt(B).

    For a statistic skewed to the right (every one used here), the mean less this error covers
    more often than 1 - alpha, and the mean plus it less often.
    """
    n = len(per_family)
    if n < 2:
        return np.full(per_family.shape[1:], np.inf)
    return np.asarray(-t_quantile(alpha, n - 1) * per_family.std(axis=0, ddof=1) / np.sqrt(n))


def ratio_upper(
    *,
    over: Float64[np.ndarray, " r"],
    over_upper: Float64[np.ndarray, " r"],
    under: Float64[np.ndarray, " r"],
    under_lower: Float64[np.ndarray, " r"],
) -> Float64[np.ndarray, " r"]:
    """Return upper bounds on a ratio from an upper bound above and a lower bound below, each at level alpha.

    The method of variance estimates recovery (Donner and Zou 2012, Stat. Methods Med. Res. 21,
    347): the two one-sided errors are joined as independent ones are, not stacked, and may be
    skewed. With estimates a, b and bounds u, l: (ab + sqrt((ab)^2 - u(2a-u) l(2b-l))) / (l(2b-l)).
    Errors that rise and fall together, as those of a poor claim do, make it conservative.
    Infinite where l <= 0: the denominator cannot be told from 0.
    """
    known = under_lower > 0
    square = np.where(known, under_lower * (2 * under - under_lower), 1.0)
    product = over * under
    root = np.sqrt(np.maximum(product**2 - over_upper * (2 * over - over_upper) * square, 0.0))
    return np.where(known, np.maximum((product + root) / square, 0.0), np.inf)


def ratio_lower(
    *,
    over: Float64[np.ndarray, " r"],
    over_lower: Float64[np.ndarray, " r"],
    under: Float64[np.ndarray, " r"],
    under_upper: Float64[np.ndarray, " r"],
) -> Float64[np.ndarray, " r"]:
    """Return lower bounds on a ratio, not below 0; the mirror of :func:`ratio_upper`.

    0 where the denominator's upper bound is twice its estimate or more, or the numerator's lower bound is 0.
    """
    known = (under_upper < 2 * under) & (over_lower > 0)
    square = np.where(known, under_upper * (2 * under - under_upper), 1.0)
    product = over * under
    root = np.sqrt(np.maximum(product**2 - over_lower * (2 * over - over_lower) * square, 0.0))
    return np.where(known, np.maximum((product - root) / square, 0.0), 0.0)
