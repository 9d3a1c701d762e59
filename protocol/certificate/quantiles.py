"""Quantiles and confidence bounds that the Gaussian certificate is made of.

Letters: MSB and MSW, the mean squares between and within families; n_b and n_w their degrees
of freedom; alpha the probability that a bound fails. "Lower quantile" means the alpha quantile.

Each bound is exact when the residuals of a family are jointly Gaussian with equal correlation,
which is the one asymptotic assumption of THEORY 10.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from jaxtyping import Float64
from scipy import special

Degrees: TypeAlias = float | Float64[np.ndarray, " r"]
"""Degrees of freedom, above 0: one number, or one a row."""


def chi2_quantile(alpha: float, degrees: Degrees) -> Float64[np.ndarray, "*r"]:
    """Return the lower alpha quantile of chi-square, in the shape of ``degrees``."""
    return np.asarray(2 * special.gammaincinv(np.asarray(degrees) / 2, alpha))


def f_quantile(alpha: float, numerator: Degrees, denominator: Degrees) -> Float64[np.ndarray, "*r"]:
    """Return the lower alpha quantile of Fisher's F, in the shape of its degrees of freedom."""
    return np.asarray(special.fdtri(numerator, denominator, alpha))


def t_quantile(alpha: float, degrees: float) -> float:
    """Return the lower alpha quantile of Student's t."""
    return float(special.stdtrit(degrees, alpha))


def contrast_upper(
    msb: Float64[np.ndarray, " r"],
    msw: Float64[np.ndarray, " r"],
    *,
    between: float,
    within: float,
    n_b: Degrees,
    n_w: Degrees,
    alpha: float,
) -> Float64[np.ndarray, " r"]:
    """Return upper bounds on between * E[MSB] - within * E[MSW], not below 0 (Tukey-Williams).

    With between = within = 1/s this is Williams' 1962 bound on a variance component:
    n_b MSB / chi2(alpha; n_b) * max(0, 1 - F(alpha; n_b, n_w) MSW / MSB) / s.
    """
    return _contrast(msb, msw, between, within, n_b, n_w, alpha)


def contrast_lower(
    msb: Float64[np.ndarray, " r"],
    msw: Float64[np.ndarray, " r"],
    *,
    between: float,
    within: float,
    n_b: Degrees,
    n_w: Degrees,
    alpha: float,
) -> Float64[np.ndarray, " r"]:
    """Return lower bounds on between * E[MSB] - within * E[MSW], not below 0: the same, from the upper quantiles."""
    return _contrast(msb, msw, between, within, n_b, n_w, 1 - alpha)


def _contrast(
    msb: Float64[np.ndarray, " r"],
    msw: Float64[np.ndarray, " r"],
    between: float,
    within: float,
    n_b: Degrees,
    n_w: Degrees,
    tail: float,
) -> Float64[np.ndarray, " r"]:
    scale = n_b / chi2_quantile(tail, n_b)
    return np.asarray(scale * np.maximum(0.0, between * msb - within * f_quantile(tail, n_b, n_w) * msw))


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
