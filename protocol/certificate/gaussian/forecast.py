"""How likely a design is to accept a claim that is as good as its figures say (THEORY 10).

The probability that the Gaussian certificate's bound (``families.upper_bound_of``) is at most epsilon, over
the distribution that its mean squares have. What is promised is "at least": all weight above
degree one that is not known to be seed noise is taken as of the least degree that the certificate cannot tell from it,
and targets, of whose joint distribution figures say nothing, as erring together across the mean and apart
across every. Residuals are taken as Gaussian, which is not a promise but the certificate's own
step. benchmarks/plans_keep_their_promise.py holds forecasts against what comes.

Letters: B families, s siblings, rho their correlation; T targets; g the relative gap expected of
the claim, v its odd residual's share of Var f; nu the residuals' effective rank over targets.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Float64
from scipy import special

from protocol.certificate import quantiles
from protocol.certificate.gaussian.families import MIN_FAMILIES, degrees_of_freedom
from protocol.certificate.planning import Outlook

_WITHIN = (np.arange(12) + 0.5) / 12  # equally likely values of MSW ...
_VARIANCE = special.ndtri((np.arange(8) + 0.5) / 8)  # ... and of Var f's estimate

Values: TypeAlias = Float64[np.ndarray, "#r #w #v"]
"""By row, by value of MSW, by value of Var f's estimate."""


Rows: TypeAlias = tuple[tuple[float, float], ...]
"""(how many times the mean a row's errors are, how many rows are no worse)."""


def rows_of(n_rows: int, spread: float) -> Rows:
    """Return log-normal errors of mean 1 in groups from the worst row down, each group as bad as its worst row."""
    if n_rows == 1:
        return ((1.0, 1.0),)
    found, start = [], 1
    while start <= n_rows:
        size = min(max(1, start // 2), n_rows + 1 - start)
        z = -special.ndtri((start - 0.375) / (n_rows + 0.25))  # Blom's score of the start-th largest
        found.append((float(np.exp(spread * z - spread**2 / 2)), float(size)))
        start += size
    return tuple(found)


@lru_cache(maxsize=8192)
def missed(
    n_families: int, n_siblings: int, rho: float, p: float, alpha: float, outlook: Outlook, rows: Rows, epsilon: float
) -> float:  # fmt: skip
    """Return how many rows' bounds are expected to be above epsilon.

    For each of equally likely values of MSW and of Var f's estimate the tail of MSB above the largest that passes
    is exact, however small.
    """
    s = n_siblings
    worse, count = (np.array(column)[:, None, None] for column in zip(*rows, strict=True))
    v = np.minimum(outlook.residual * worse, 2.0)
    g = np.minimum(outlook.relative_gap * worse, v)
    noise = np.minimum(outlook.noise * worse, v - g)
    rest = np.minimum((1 - min(outlook.r2, 1.0)) * worse, 1.0)
    above = rho**3 if p == 0.5 else rho**2  # what a sibling shares of the weight above degree one, at most
    between = rho * g + above * (v - g - noise)
    n_b, n_w = degrees_of_freedom(n_families, s, p)
    used = _used(n_families, outlook.rank if p == 0.5 else 1.0)
    msw = (v - between) * _quantiles(n_w * outlook.rank)[:, None]
    error = np.sqrt(share_variance(v, rest) * (1 + (s - 1) * rho) / (s * n_families))  # siblings have rho in common
    spread = np.maximum(1 + error * _VARIANCE, 0.05)
    error = -quantiles.t_quantile(alpha, n_families - 1) * error
    expected = v + (s - 1) * between
    passing = spread * largest_passing(
        msw / spread, error / spread, epsilon * s * rho, n_b=n_b * used, n_w=n_w * used, alpha=alpha
    )
    degrees = n_b * outlook.rank / 2
    tails = np.where(passing > 0, special.gammaincc(degrees, degrees * passing / expected), 1.0)
    return float((count[:, 0, 0] * tails.mean(axis=(1, 2))).sum())


def _used(n_families: int, rank: float) -> float:
    """What the certificate makes of a family's degree of freedom: min(sqrt(nu), 2/cv^2), at its usual low.

    For Gaussian residuals 2/cv^2 is nu on average, and below it by chance. The factor is such that nine of ten bounds
    from 25 to 4,000 simulated families are below those with this many degrees of freedom.
    """
    return float(min(rank**0.5, rank * (1 - 0.14 * (MIN_FAMILIES / n_families) ** 0.4)))


def largest_passing(w: Values, e: Values, most: float, *, n_b: float, n_w: float, alpha: float) -> Values:
    """Return the largest MSB m whose bound passes, given MSW w and Var f's error e; ``upper_bound_of`` turned round.

    In units of 1/(s rho) it asks for u - a <= sqrt((most + w - m)^2 - (most e)^2), where a = m - w, u = C (m - q w),
    C = n_b / chi2(alpha; n_b) and q = F(alpha; n_b, n_w): a quadratic in m. At m <= q w the bound is 0, at e >= 1
    infinite.
    """
    scale = n_b / float(quantiles.chi2_quantile(alpha, n_b))
    within = float(quantiles.f_quantile(alpha, n_b, n_w)) * w
    rise, start = scale - 1, w - scale * within
    linear = rise * start + most + w
    constant = start**2 + (most * e) ** 2 - (most + w) ** 2
    root = -constant / (linear + np.sqrt(np.maximum(linear**2 - (rise**2 - 1) * constant, 0.0)))
    return np.where(e < 1, np.maximum(root, within), 0.0)


def share_variance(beside: Values, rest: Values) -> Values:
    """Return how much one reading's share in Var f varies, the claim being a control variate (THEORY 10).

    beside : what is read beside the claim, as a share of Var f: at p = 1/2 the odd residual, elsewhere all that the
        claim leaves. rest : all that it leaves. For 2 g r + r^2 (and the even part's square) Gaussian, and no more than
        without a control variate.
    """
    return np.asarray(np.minimum(4 * beside + 2 * rest**2, 2.0))


@lru_cache(maxsize=1024)
def _quantiles(degrees: float) -> Float64[np.ndarray, " q"]:
    """Equally likely values of a chi-square over its mean."""
    return np.array([float(quantiles.chi2_quantile(float(q), degrees)) for q in _WITHIN]) / degrees
