"""How likely a design is to accept a claim that is as good as its figures say (THEORY 2.9).

The probability that the certificate's bound (``families.upper_bound_of``) is at most epsilon, over
the distribution that its mean squares have. What is promised is "at least": all weight above
degree one is taken as of the least degree that the certificate cannot tell from it, and targets,
of whose joint distribution figures say nothing, as erring together across the mean and apart
across every. Residuals are taken as Gaussian, which is not a promise but the certificate's own
step. benchmarks/plans_keep_their_promise.py holds forecasts against what comes.

Letters: B families, s siblings, rho their correlation; T targets; g the relative gap expected of
the claim, v its odd residual's share of Var f; nu the residuals' effective rank over targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Float64
from scipy import special

from protocol.certificate import bounds
from protocol.certificate.families import RANK_FROM_FAMILIES, degrees_of_freedom
from protocol.claim import Figures

SPREAD = 0.5
"""Standard deviation over targets of the logarithm of a claim's error, of which figures give the mean.

Measured: 0.6 on digits, whose worst of 200 targets errs 3.1 times the mean (0.5 has it at 3.5); 0.3 on breast cancer.
"""

_WITHIN = (np.arange(12) + 0.5) / 12  # equally likely values of MSW ...
_VARIANCE = special.ndtri((np.arange(8) + 0.5) / 8)  # ... and of Var f's estimate

Values: TypeAlias = Float64[np.ndarray, "#r #w #v"]
"""By row, by value of MSW, by value of Var f's estimate."""


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What is expected of a claim; see ``claim.Figures`` for the first three numbers.

    rank : effective rank of the residuals over targets, from 1 (all err together, the least power across the mean)
        to T. Figures do not say it, so what is planned from them is planned for 1.
    spread : standard deviation over targets of the logarithm of gap and residual; matters across every only.
    """

    relative_gap: float
    residual: float
    r2: float
    rank: float = 1.0
    spread: float = SPREAD

    @staticmethod
    def of(figures: Figures | None) -> Outlook:
        """Return the outlook that figures give, kept within what is possible; a guess when there are none."""
        if figures is None:
            return Outlook(relative_gap=0.01, residual=0.05, r2=0.9)
        gap = min(figures.relative_gap, 1.0)
        return Outlook(
            relative_gap=gap, residual=min(max(figures.odd_residual, gap, 1e-9), 2.0), r2=max(figures.r2, 0.0)
        )


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What one design is expected to give.

    median_bound : of the upper bound on the relative gap; across every, of the largest.
    power : least probability that the claim is accepted, if it is as good as the outlook says.
    """

    median_bound: float
    power: float


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
    n_families: int, n_siblings: int, rho: float, p: float, alpha: float, outlook: Outlook, rows: Rows, n_checks: int,
    epsilon: float,
) -> float:  # fmt: skip
    """Return how many rows' bounds are expected to be above epsilon.

    For each of equally likely values of MSW and of Var f's estimate the tail of MSB above the largest that passes
    is exact, however small.
    """
    s = n_siblings
    worse, count = (np.array(column)[:, None, None] for column in zip(*rows, strict=True))
    v = np.minimum(outlook.residual * worse, 2.0)
    g = np.minimum(outlook.relative_gap * worse, v)
    rest = np.minimum((1 - min(outlook.r2, 1.0)) * worse, 1.0)
    above = rho**3 if p == 0.5 else rho**2  # what a sibling shares of the weight above degree one, at most
    between = rho * g + above * (v - g)
    n_b, n_w = degrees_of_freedom(n_families, s, p)
    used = outlook.rank**0.5 if p == 0.5 and n_families >= RANK_FROM_FAMILIES else 1.0
    msw = (v - between) * _quantiles(n_w * outlook.rank)[:, None]
    if n_checks:  # as families.certify has it: MSW is not taken off, and Var f comes from the checks
        msw, independent, error = np.zeros_like(msw[:, :1]), n_checks, np.sqrt(share_variance(rest, rest) / n_checks)
    else:  # siblings have rho of it in common
        independent = n_families
        error = np.sqrt(share_variance(v, rest) * (1 + (s - 1) * rho) / (s * n_families))
    spread = np.maximum(1 + error * _VARIANCE, 0.05)
    error = -bounds.t_quantile(alpha, independent - 1) * error
    expected = v + (s - 1) * between
    passing = spread * largest_passing(
        msw / spread, error / spread, epsilon * s * rho, n_b=n_b * used, n_w=n_w * used, alpha=alpha
    )
    degrees = n_b * outlook.rank / 2
    tails = np.where(passing > 0, special.gammaincc(degrees, degrees * passing / expected), 1.0)
    return float((count[:, 0, 0] * tails.mean(axis=(1, 2))).sum())


def largest_passing(w: Values, e: Values, most: float, *, n_b: float, n_w: float, alpha: float) -> Values:
    """Return the largest MSB m whose bound passes, given MSW w and Var f's error e; ``upper_bound_of`` turned round.

    In units of 1/(s rho) it asks for u - a <= sqrt((most + w - m)^2 - (most e)^2), where a = m - w, u = C (m - q w),
    C = n_b / chi2(alpha; n_b) and q = F(alpha; n_b, n_w): a quadratic in m. At m <= q w the bound is 0, at e >= 1
    infinite.
    """
    scale = n_b / bounds.chi2_quantile(alpha, n_b)
    within = bounds.f_quantile(alpha, n_b, n_w) * w
    rise, start = scale - 1, w - scale * within
    linear = rise * start + most + w
    constant = start**2 + (most * e) ** 2 - (most + w) ** 2
    root = -constant / (linear + np.sqrt(np.maximum(linear**2 - (rise**2 - 1) * constant, 0.0)))
    return np.where(e < 1, np.maximum(root, within), 0.0)


def share_variance(beside: Values, rest: Values) -> Values:
    """Return how much one reading's share in Var f varies, the claim being a control variate (THEORY 3.1).

    beside : what is read beside the claim, as a share of Var f: at p = 1/2 the odd residual, elsewhere and in a checked
        answer all that the claim leaves. rest : all that it leaves. For 2 g r + r^2 (and the even part's square)
        Gaussian, and no more than without a control variate.
    """
    return np.asarray(np.minimum(4 * beside + 2 * rest**2, 2.0))


@lru_cache(maxsize=1024)
def _quantiles(degrees: float) -> Float64[np.ndarray, " q"]:
    """Equally likely values of a chi-square over its mean."""
    return np.array([bounds.chi2_quantile(float(q), degrees) for q in _WITHIN]) / degrees
