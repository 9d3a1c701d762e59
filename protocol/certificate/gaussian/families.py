"""The Gaussian certificate: a quick look at the relative gap from rho-correlated families (THEORY 10).

The claim's residual r splits by degree: two siblings of a family have
E[r(x) r(x')] = sum_k rho^k W_k[r], every term at least 0. So the between-family variance
component A bounds the gap W_1 from above by A/rho whatever f is, and from below once the higher
degrees are bounded by what the families' inner spread leaves for them.

**A quick look, not a proof.** The bounds take a family's residuals for jointly Gaussian, which ordinary interactions
between a few units are not. What follows ASSUMES exactly this, and a verdict that rests on it says so. The steps
against the worst of it: no certificate of fewer than MIN_FAMILIES families, and degrees of freedom that follow the
spread of the family values. They do not make it a bound for every f: see :func:`spread_degrees`.
Families are trained by the verifier itself: with a prover's answers nothing here holds.

Letters: B families, s siblings, T targets, R rows (1 across the mean, T across every target); m_b the mean residual of
a family; MSB, MSW mean squares between and within families; nu the effective rank of residuals over targets; V = Var f;
alpha the probability of failure.

Assumptions: families are independent and uniform (the challenge was drawn after the claim was committed), and a
family's residuals are jointly Gaussian. The first is the protocol's to enforce. The second enters the upper bound and
the lower bound's numerator; that Var f is no larger than the lower bound takes it to be is finite-sample.

At p other than 1/2 a claim may put its whole error on one unit that is rarely in (or out), and
then its residual is anything but Gaussian: phi_i has excess kurtosis kappa(p). A claim controls
nothing but degree one, where no sum of characters has more, so the degrees of freedom there are
at most those divided by 1 + kappa/2, which is what kappa does to the variance of a mean square.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from protocol.certificate import quantiles
from protocol.certificate.gaussian import output_variance
from protocol.certificate.gaussian.looks import shared_level
from protocol.certificate.gaussian.output_variance import Estimate
from protocol.certificate.readings import Readings
from protocol.certificate.terms import Across
from protocol.errors import ArgumentError
from protocol.game import harmonic
from protocol.game.sampling import Design

ASSUMES = "residuals of a family are Gaussian"
"""What a verdict shows beside its word."""

MIN_FAMILIES = 25
"""Fewer make the Gaussian step worse than a quick look may be: the mean of a few family values that are mostly small
and rarely large is too often too small, and their spread with it."""

VARIANCE_SHARE = 1 / 3
"""Of the lower bound's delta, spent on Var f from above; each of the two numerators spends half of the rest."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FamiliesCertificate:
    """Bounds on the relative gap, with every part that makes them up.

    Arrays are of shape (R,): one row across the mean, or one a target. Everything but
    ``variance``, ``variance_upper`` and ``intercept_error`` is relative to Var f.

    delta : of the whole session, for the upper bound and again for the lower.
    level : what each row's upper bound spends at this look.
    degrees_between, degrees_within : degrees of freedom of MSB and MSW, after :func:`spread_degrees`.
    relative_gap : point estimate, may be below 0.
    upper : with probability 1 - delta, over all rows and looks at once, no relative gap is above it; infinite
        where Var f cannot be told from 0.
    lower : likewise from below; the larger of ``families_lower`` and ``projection_lower``.
    mean_square_between, mean_square_within : MSB and MSW.
    variance : shape (T,); Var f as estimated, in the target's unit squared.
    variance_error : one-sided error of Var f at the level, relative.
    variance_upper : shape (T,); what Var f is at most, in the target's unit squared; the lower bound rests on it.
    intercept_error : shape (T,); (E[f - g])^2, in the target's unit squared, its own noise removed. It is in no bound.
    constant_targets : numbers of the targets whose outputs do not vary.
    """

    across: Across
    delta: float
    level: float
    n_families: int
    n_siblings: int
    rho: float
    degrees_between: Float64[np.ndarray, " r"]
    degrees_within: Float64[np.ndarray, " r"]
    relative_gap: Float64[np.ndarray, " r"]
    upper: Float64[np.ndarray, " r"]
    lower: Float64[np.ndarray, " r"]
    families_lower: Float64[np.ndarray, " r"]
    projection_lower: Float64[np.ndarray, " r"]
    mean_square_between: Float64[np.ndarray, " r"]
    mean_square_within: Float64[np.ndarray, " r"]
    variance: Float64[np.ndarray, " t"]
    variance_error: Float64[np.ndarray, " r"]
    variance_upper: Float64[np.ndarray, " t"]
    intercept_error: Float64[np.ndarray, " t"]
    constant_targets: tuple[int, ...]

    @property
    def upper_bound(self) -> float:
        """No row's relative gap is above this."""
        return float(self.upper.max())

    @property
    def lower_bound(self) -> float:
        """Some row's relative gap is at least this."""
        return float(self.lower.max())


def certify(
    readings: Readings,
    *,
    delta: float,
    across: Across,
    lo: Float64[np.ndarray, " t"],
    hi: Float64[np.ndarray, " t"],
    looks: tuple[int, ...] = (),
) -> FamiliesCertificate:
    """Return the certificate of a claim's readings.

    Parameters
    ----------
    readings : of a challenge drawn after the claim was committed, every training done by the verifier; of all looks so
        far, joined.
    delta : probability that the upper bound fails at any look of the session, and likewise the lower, over all rows.
    across : one row for the mean over targets, which is the pooled gap with weights 1 / Var f_t; or one row a target at
        delta / T each.
    lo, hi : shape (T,), the ranges that outputs are clipped into, in the targets' unit.
    looks : families in all up to each look that the session may take, fixed before the first; () for a single look.

    Raises
    ------
    ArgumentError
        Fewer than MIN_FAMILIES families or 2 siblings, siblings without correlation, or readings that end at none of
        the looks.
    """
    n_b, n_s = readings.n_families, readings.n_siblings
    _check_design(n_b, n_s, readings.rho)
    looks = looks or (n_b,)
    if n_b not in looks:
        raise ArgumentError(f"looks: {n_b} families are none of the looks planned, {looks}: judge at a planned look")
    share = delta / (readings.n_targets if across is Across.EVERY else 1)
    level = shared_level(looks, share)
    spread = output_variance.estimate(readings)
    rows = _rows(readings, spread.sd, across)
    variance_error = quantiles.mean_error(_variance_share(rows, spread, across), level)
    upper = upper_bound_of(
        rows.msb, rows.msw, variance_error, s=n_s, rho=readings.rho, n_b=rows.n_b, n_w=rows.n_w, alpha=level
    )
    most = output_variance.upper(readings, lo, hi, VARIANCE_SHARE * delta / (readings.n_targets * len(looks)))
    families_lower, projection_lower = _lower_bounds_of(
        readings, most, across, shared_level(looks, (1 - VARIANCE_SHARE) / 2 * share)
    )
    undefined = spread.constant if across is Across.EVERY else np.array([bool(spread.constant.any())])
    return FamiliesCertificate(
        across=across,
        delta=delta,
        level=level,
        n_families=n_b,
        n_siblings=n_s,
        rho=readings.rho,
        degrees_between=rows.n_b,
        degrees_within=rows.n_w,
        relative_gap=(rows.msb - rows.msw) / (n_s * readings.rho),
        upper=np.where(undefined, np.inf, upper),
        lower=np.where(undefined, 0.0, np.maximum(families_lower, projection_lower)),
        families_lower=families_lower,
        projection_lower=projection_lower,
        mean_square_between=rows.msb,
        mean_square_within=rows.msw,
        variance=spread.variance,
        variance_error=variance_error,
        variance_upper=most,
        intercept_error=_intercept_error(readings),
        constant_targets=tuple(int(t) for t in np.flatnonzero(spread.constant)),
    )


def check_design(design: Design) -> None:
    """Raise :class:`ArgumentError` unless :func:`certify` can judge what comes of ``design``, before it is paid for."""
    _check_design(design.n_families, design.n_siblings, design.rho)


def _check_design(n_families: int, n_siblings: int, rho: float) -> None:
    if n_families < MIN_FAMILIES or n_siblings < 2:
        raise ArgumentError(
            f"gaussian: expected at least {MIN_FAMILIES} families of 2 siblings, got {n_families} of {n_siblings}: ask "
            "for more retrainings"
        )
    if not rho > 0:
        raise ArgumentError("gaussian: expected siblings with a correlation above 0, got 0: choose a larger rho")


def degrees_of_freedom(n_families: int, n_siblings: int, p: float) -> tuple[float, float]:
    """Return the most that n_b and n_w can be; for p other than 1/2 less one for the mean, and for kurtosis."""
    fewer = 1 + max(harmonic.excess_kurtosis(p), 0.0) / 2
    return (n_families - (p != 0.5)) / fewer, n_families * (n_siblings - 1) / fewer


def spread_degrees(values: Float64[np.ndarray, "b r"], most: float) -> Float64[np.ndarray, " r"]:
    """Return degrees of freedom that match the variance of the family values: min(most, 2 B / cv^2), row by row.

    A mean of B values with coefficient of variation cv varies like a chi-square with 2 B / cv^2 degrees over its mean.
    For Gaussian residuals of one target that is B; for heavier tails, or targets that share an amplitude, it is less.
    It matches a variance, not a quantile, and takes it from the sample itself: a repair, not a bound. It keeps the
    level where a claim is right but for a conjunction of a few units, or where targets share an amplitude. It cannot
    where most samples meet nothing of what is wrong, such as an event of at least 10 of 11 units: what never showed is
    in no spread (tests/protocol/certificate/gaussian/test_families_coverage.py has both kinds).

    values : shape (B, R), not negative: squares of family means, or spreads within families, averaged over a row's
        targets.
    most : degrees of freedom that are never exceeded.
    """
    means = values.mean(axis=0)
    square = values.var(axis=0, ddof=1) / np.where(means > 0, means, 1.0) ** 2
    return np.asarray(np.minimum(most, 2 * len(values) / np.maximum(square, 1e-300)))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Rows:
    """Mean squares of the residual relative to ``sd``, gathered into rows.

    weights : shape (T,), the share of each target in MSB; across every target they are not used.
    along : shape (B, R), family by family the residual times the claim's own direction.
    """

    msb: Float64[np.ndarray, " r"]
    msw: Float64[np.ndarray, " r"]
    n_b: Float64[np.ndarray, " r"]
    n_w: Float64[np.ndarray, " r"]
    weights: Float64[np.ndarray, " t"]
    along: Float64[np.ndarray, "b r"]


def _rows(readings: Readings, sd: Float64[np.ndarray, " t"], across: Across) -> _Rows:
    n_b, n_s = readings.n_families, readings.n_siblings
    known_mean = readings.even is not None
    relative = readings.residual / sd
    means = relative.mean(axis=1)
    deviations = relative - means[:, None]
    if not known_mean:
        means = means - means.mean(axis=0)
    between, within = n_s * means**2, (deviations**2).sum(axis=1) / (n_s - 1)
    along, weights = _along_claim(readings, relative), between.mean(axis=0)
    most_b, most_w = degrees_of_freedom(n_b, n_s, readings.p)
    if across is not Across.EVERY:
        between, within, along = (part.mean(axis=1, keepdims=True) for part in (between, within, along))
        if known_mean:
            most_b, most_w = most_b * effective_rank(means[:, None]) ** 0.5, most_w * effective_rank(deviations) ** 0.5
    divisor = n_b - (not known_mean)
    return _Rows(
        msb=between.sum(axis=0) / divisor,
        msw=within.mean(axis=0),
        n_b=spread_degrees(between, most_b),
        n_w=spread_degrees(within, most_w),
        weights=weights / weights.sum() if weights.sum() > 0 else np.full(len(weights), 1 / len(weights)),
        along=along,
    )


def _along_claim(readings: Readings, relative: Float64[np.ndarray, "b s t"]) -> Float64[np.ndarray, "b t"]:
    """Per family, the residual times the claim's own direction: its mean is <c/|c|, w> / sd."""
    norm = np.sqrt(readings.claim_variance)
    direction = readings.linear / np.where(norm > 0, norm, 1.0)
    if readings.even is None:
        relative = relative - relative.mean(axis=(0, 1))
    return np.asarray((relative * direction).mean(axis=1))


def _variance_share(rows: _Rows, spread: Estimate, across: Across) -> Float64[np.ndarray, "b r"]:
    """What each family says of Var f; across the mean with the weights that its targets have in MSB (THEORY 10)."""
    return spread.samples if across is Across.EVERY else np.asarray((spread.samples @ rows.weights)[:, None])


_CHUNK_ROWS = 1 << 11  # of the products of families held at once; does not affect outputs


def effective_rank(vectors: Float64[np.ndarray, "b s t"]) -> float:
    """Return nu = (tr S)^2 / tr(S^2) for the covariance S over targets, from vectors that are independent over b only.

    Each trace is estimated without bias across families: the sum over b != b' of |D_b|^2 |D_b'|^2 over that of
    |D_b D_b'^T|^2, D_b the s vectors of a family. At least 1, and exactly 1 when all vectors lie along one direction,
    however few there are.
    """
    squares = (vectors**2).sum(axis=(1, 2))
    across = float(squares.sum() ** 2 - (squares**2).sum())
    own = float(sum(_squared_products(family) for family in vectors))
    shared = _squared_products(vectors.reshape(-1, vectors.shape[2])) - own
    return max(across / shared, 1.0) if shared > 0 else 1.0


def _squared_products(vectors: Float64[np.ndarray, "n t"]) -> float:
    """The sum of <x, y>^2 over all pairs of rows, from the smaller of the two Gram matrices."""
    one = vectors if len(vectors) <= vectors.shape[1] else vectors.T
    chunks = (one[start : start + _CHUNK_ROWS] @ one.T for start in range(0, len(one), _CHUNK_ROWS))
    return float(sum((chunk**2).sum() for chunk in chunks))


def upper_bound_of(
    msb: Float64[np.ndarray, " r"],
    msw: Float64[np.ndarray, " r"],
    variance_error: Float64[np.ndarray, " r"],
    *,
    s: int,
    rho: float,
    n_b: quantiles.Degrees,
    n_w: quantiles.Degrees,
    alpha: float,
) -> Float64[np.ndarray, " r"]:
    """Return A/rho over Var f from above (THEORY 10.2); all arguments are relative to Var f."""
    factor, one = 1 / (s * rho), np.ones_like(msb)
    return quantiles.ratio_upper(
        over=factor * (msb - msw),
        over_upper=quantiles.contrast_upper(msb, msw, between=factor, within=factor, n_b=n_b, n_w=n_w, alpha=alpha),
        under=one,
        under_lower=np.maximum(1 - variance_error, 0.0),
    )


def _lower_bounds_of(
    readings: Readings, variance_upper: Float64[np.ndarray, " t"], across: Across, alpha: float
) -> tuple[Float64[np.ndarray, " r"], Float64[np.ndarray, " r"]]:
    """From the families and by projection, each at alpha, relative to what Var f is at most."""
    rows = _rows(readings, np.sqrt(variance_upper), across)
    return _families_lower(rows, readings, alpha), _projection_lower(rows, alpha)


def _families_lower(rows: _Rows, readings: Readings, alpha: float) -> Float64[np.ndarray, " r"]:
    """W_1 from below. Let h be the least degree above 1 in the residual: 3 at p = 1/2, else 2.

    A <= rho W_1 + rho^h W_h+ and E[MSW] >= (1 - rho) W_1 + (1 - rho^h) W_h+, since rho^k falls
    with k. Eliminating W_h+, the weight above degree one, with c = rho^(h-1) / (1 - rho^h):
    W_1 (1 - c (1 - rho)) >= A/rho - c E[MSW], a contrast of E[MSB] and E[MSW].
    """
    rho, factor = readings.rho, 1 / (readings.n_siblings * readings.rho)
    h = 2 if readings.even is None else 3
    c = rho ** (h - 1) / (1 - rho**h)
    lower = quantiles.contrast_lower(
        rows.msb, rows.msw, between=factor, within=factor + c, n_b=rows.n_b, n_w=rows.n_w, alpha=alpha
    )
    return lower / (1 - c * (1 - rho))


def _projection_lower(rows: _Rows, alpha: float) -> Float64[np.ndarray, " r"]:
    """W_1 = |w|^2 >= <u, w>^2 for the direction u = c/|c| fixed when the claim was committed.

    What a scaled claim leaves out lies along itself, so this finds scaling with few families.
    Over the mean of targets, mean <u, w>^2 >= (mean <u, w>)^2.
    """
    mean = rows.along.mean(axis=0)
    error = quantiles.mean_error(rows.along, alpha / 2)  # two-sided: the claim may be too small or too large
    return np.asarray(np.maximum(np.abs(mean) - error, 0.0) ** 2)


def _intercept_error(readings: Readings) -> Float64[np.ndarray, " t"]:
    """(E[f - g])^2 without bias: the squared mean over families less the mean's own variance."""
    whole = readings.residual if readings.even is None else readings.even
    means = whole.mean(axis=1)
    error = means.mean(axis=0) - readings.claim_mean
    return np.asarray(error**2 - means.var(axis=0, ddof=1) / len(means))
