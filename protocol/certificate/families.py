"""The families certificate: bounds on the relative gap from rho-correlated families (THEORY 2, 3).

The claim's residual r splits by degree: two siblings of a family have
E[r(x) r(x')] = sum_k rho^k W_k[r], every term at least 0. So the between-family variance
component A bounds the gap W_1 from above by A/rho whatever f is, and from below once the higher
degrees are bounded by what the families' inner spread leaves for them.

Letters: B families, s siblings, T targets, R rows (1 across the mean, T across every target);
MSB, MSW mean squares between and within families; V = Var f; alpha the probability of failure.

Assumptions, stated in every verdict: families are independent and uniform (the challenge was
drawn after the claim was committed), and a family's residuals are jointly Gaussian. The first
is the protocol's to enforce; the second is asymptotic and is tested by
benchmarks/families_hold_their_level.py. proved/asymptotic means exactly this.

At p other than 1/2 a claim may put its whole error on one unit that is rarely in (or out), and
then its residual is anything but Gaussian: phi_i has excess kurtosis kappa(p). A claim controls
nothing but degree one, where no sum of characters has more, so the degrees of freedom there are
divided by 1 + kappa/2, which is what kappa does to the variance of a mean square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from protocol import harmonic
from protocol.certificate import bounds
from protocol.certificate.readings import Readings
from protocol.certificate.terms import Across
from protocol.errors import ArgumentError
from protocol.sampling import Design

RANK_FROM_FAMILIES = 15
"""From this many families on, targets that err apart count for more than one: B sqrt(nu) degrees of freedom across
the mean, nu the effective rank. Satterthwaite's own B nu fails too often at every B, and B sqrt(nu) below 15:
benchmarks/effective_degrees_hold_their_level.py."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Checked:
    """What the verifier found when it retrained some of the prover's answers, all right (THEORY 7).

    outputs, linear : shape (k, T); its own outputs, and the claim's sum_i theta_i (x_i - p) of the same subsets.
    n_false : most answers, over all looks, that can be false all the same.
    """

    outputs: Float64[np.ndarray, "k t"]
    linear: Float64[np.ndarray, "k t"]
    n_false: int


def joined_checks(parts: Sequence[Checked]) -> Checked:
    """Return the checks of several looks as one."""
    return Checked(
        outputs=np.concatenate([part.outputs for part in parts]),
        linear=np.concatenate([part.linear for part in parts]),
        n_false=sum(part.n_false for part in parts),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class FamiliesCertificate:
    """Bounds on the relative gap, with every part that makes them up.

    Arrays are of shape (R,): one row across the mean, or one a target. Everything but
    ``variance`` and ``intercept_error`` is relative to Var f.

    relative_gap : point estimate, may be below 0.
    upper : with probability 1 - delta, over all rows at once, no relative gap is above it; infinite
        where Var f cannot be told from 0.
    upper_despite_lies : the same when as many answers are false as the checks leave possible, wherever they are;
        equal to ``upper`` when all was retrained.
    lower : likewise from below; the larger of ``families_lower`` and ``projection_lower``.
    mean_square_between, mean_square_within : MSB and MSW.
    variance : shape (T,); Var f, in the target's unit squared.
    variance_error : one-sided error of Var f at delta (delta / T across every), relative.
    allowance : what every answer may be off without being caught (tolerance / sd f); 0 when proved.
    intercept_error : shape (T,); (E[f - g])^2, in the target's unit squared, its own noise removed.
    constant_targets : numbers of the targets whose outputs do not vary beyond the tolerance.
    """

    across: Across
    delta: float
    n_families: int
    n_siblings: int
    rho: float
    degrees_between: float
    degrees_within: float
    relative_gap: Float64[np.ndarray, " r"]
    upper: Float64[np.ndarray, " r"]
    upper_despite_lies: Float64[np.ndarray, " r"]
    lower: Float64[np.ndarray, " r"]
    families_lower: Float64[np.ndarray, " r"]
    projection_lower: Float64[np.ndarray, " r"]
    mean_square_between: Float64[np.ndarray, " r"]
    mean_square_within: Float64[np.ndarray, " r"]
    variance: Float64[np.ndarray, " t"]
    variance_error: Float64[np.ndarray, " r"]
    allowance: Float64[np.ndarray, " r"]
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
    readings: Readings, *, delta: float, across: Across, tolerance: float = 0.0, checked: Checked | None = None
) -> FamiliesCertificate:
    """Return the certificate of a claim's readings.

    Parameters
    ----------
    readings : of a challenge drawn after the claim was committed; at least 3 families of 2.
    delta : probability that the upper bound fails, and likewise the lower, over all rows.
    across : one row for the mean over targets, or one row a target at delta / T each.
    tolerance : by how much any answer may be off, in the targets' unit; 0 when the verifier
        did every training itself.
    checked : given when the outputs are a prover's answers. Var f is then estimated from the
        verifier's own outputs, and MSW, which a few false answers could raise at will, is not
        taken off MSB; what is left to a liar is to lower MSB, family by family.

    Raises
    ------
    ArgumentError
        Fewer than 3 families or 2 siblings, or siblings without correlation, which leave a variance unknown.
    """
    n_b, n_s = readings.n_families, readings.n_siblings
    _check_design(n_b, n_s, readings.rho)
    alpha = delta / (readings.n_targets if across is Across.EVERY else 1)
    spread = (
        _spread_of_all(readings, tolerance) if checked is None else _spread_of_checked(readings, checked, tolerance)
    )
    rows = _Rows(readings, spread, across)
    variance_error = bounds.mean_error(rows.variance_share, alpha)
    hidden = 0 if checked is None else checked.n_false
    upper, despite = (
        upper_bound_of(
            rows.msb, rows.msw if checked is None else np.zeros_like(rows.msw), variance_error, rows.allowance,
            s=n_s, rho=readings.rho, n_b=n, n_w=rows.n_w, alpha=alpha, n_hidden=lost,
        )
        for n, lost in ((rows.n_b, 0), (rows.n_b if hidden == 0 else float(n_b), hidden))
    )  # fmt: skip
    families_lower = _families_lower(rows, alpha / 2)
    projection_lower = _projection_lower(rows, alpha / 2)
    undefined = rows.undefined
    return FamiliesCertificate(
        across=across,
        delta=delta,
        n_families=n_b,
        n_siblings=n_s,
        rho=readings.rho,
        degrees_between=rows.n_b,
        degrees_within=rows.n_w,
        relative_gap=rows.factor * (rows.msb - rows.msw),
        upper=np.where(undefined, np.inf, upper),
        upper_despite_lies=np.where(undefined, np.inf, despite),
        lower=np.where(undefined, 0.0, np.maximum(families_lower, projection_lower)),
        families_lower=families_lower,
        projection_lower=projection_lower,
        mean_square_between=rows.msb,
        mean_square_within=rows.msw,
        variance=spread.variance,
        variance_error=variance_error,
        allowance=rows.allowance,
        intercept_error=_intercept_error(readings),
        constant_targets=tuple(int(t) for t in np.flatnonzero(spread.constant)),
    )


def check_design(design: Design) -> None:
    """Raise :class:`ArgumentError` unless :func:`certify` can judge what comes of ``design``, before it is paid for."""
    _check_design(design.n_families, design.n_siblings, design.rho)


def _check_design(n_families: int, n_siblings: int, rho: float) -> None:
    if n_families < 3 or n_siblings < 2:
        got = f"{n_families} of {n_siblings}"
        raise ArgumentError(f"expected at least 3 families of 2 siblings, got {got}: ask for more retrainings")
    if not rho > 0:
        raise ArgumentError("expected siblings with a correlation above 0, got 0: choose a larger rho")


_ROUNDING = 2.0**-40
"""Outputs that vary by less than this, relative to their size, are constant: double precision keeps 52 bits."""


def degrees_of_freedom(n_families: int, n_siblings: int, p: float) -> tuple[float, float]:
    """Return n_b and n_w, those of MSB and MSW; for p other than 1/2 less one for the mean, and for kurtosis."""
    fewer = 1 + max(harmonic.excess_kurtosis(p), 0.0) / 2
    return (n_families - (p != 0.5)) / fewer, n_families * (n_siblings - 1) / fewer


class _Spread:
    """Var f of each target, with the claim as a control variate (THEORY 3).

    Var g is known exactly. With f~ the centred output (its odd part at p = 1/2), the estimate
    is the mean of f~^2 - beta (g~^2 - Var g), plus the even part's variance: unbiased for a
    fixed beta, and for a good claim (beta near 1) several times less noisy than the plain
    variance. beta is the regression of f~^2 on g~^2 over samples, kept in [0, 1]; it is 0 where
    characters have heavy tails, since there a claim on one rare unit has g~^2 below Var g nearly
    always, and would inflate Var f.

    ours, claims, evens : shape (n, T), one row an independent sample (a family, or a checked
        answer): means of f~^2 and g~^2, and of the even part's square.
    size : shape (T,), mean square of the outputs, for rounding.
    """

    def __init__(
        self,
        readings: Readings,
        ours: Float64[np.ndarray, "n t"],
        claims: Float64[np.ndarray, "n t"],
        evens: Float64[np.ndarray, "n t"] | float,
        size: Float64[np.ndarray, " t"],
        tolerance: float,
    ) -> None:
        centred = claims - claims.mean(axis=0)
        square = (centred**2).sum(axis=0)
        beta = np.clip((centred * ours).sum(axis=0) / np.where(square > 0, square, 1.0), 0.0, 1.0)
        if harmonic.excess_kurtosis(readings.p) > 0:
            beta = np.zeros_like(beta)
        samples = ours - beta * (claims - readings.claim_variance) + evens
        variance = samples.mean(axis=0)
        self.constant = ~(variance > np.maximum(tolerance**2, _ROUNDING**2 * size))
        self.variance = np.where(self.constant, 0.0, variance)
        self.scale = np.sqrt(np.where(self.constant, 1.0, variance))
        self.samples = samples / self.scale**2
        self.tolerance = tolerance


def _spread_of_all(readings: Readings, tolerance: float) -> _Spread:
    output = readings.output
    size = (output**2).mean(axis=(0, 1))
    evens: Float64[np.ndarray, "b t"] | float = 0.0
    if readings.even is None:
        output = output - output.mean(axis=(0, 1))
    else:
        evens = ((readings.even - readings.even.mean(axis=(0, 1))) ** 2).mean(axis=1)
        size = size + (readings.even**2).mean(axis=(0, 1))
    ours, claims = (output**2).mean(axis=1), (readings.linear**2).mean(axis=1)
    return _Spread(readings, ours, claims, evens, size, tolerance)


def _spread_of_checked(readings: Readings, checked: Checked, tolerance: float) -> _Spread:
    """From the verifier's own outputs, one sample each: siblings and complements among them are few."""
    ours = (checked.outputs - checked.outputs.mean(axis=0)) ** 2
    size = (checked.outputs**2).mean(axis=0)
    return _Spread(readings, ours, checked.linear**2, 0.0, size, tolerance)


class _Rows:
    """Mean squares of the relative residual, gathered into rows."""

    def __init__(self, readings: Readings, spread: _Spread, across: Across) -> None:
        self.n_s, self.rho = readings.n_siblings, readings.rho
        self.factor = 1 / (self.n_s * self.rho)
        n_families = readings.n_families
        known_mean = readings.even is not None
        relative = readings.residual / spread.scale
        means = relative.mean(axis=1)
        inner = ((relative - means[:, None]) ** 2).sum(axis=(0, 1)) / (n_families * (self.n_s - 1))
        if not known_mean:
            means = means - means.mean(axis=0)
        self.n_b, self.n_w = degrees_of_freedom(n_families, self.n_s, readings.p)
        outer = self.n_s * (means**2).sum(axis=0) / (n_families - (not known_mean))
        self.known_mean = known_mean
        along = self._along_claim(readings, relative)
        allowance = spread.tolerance / spread.scale
        if not known_mean:
            allowance = allowance * np.sqrt(n_families / (n_families - 1))  # MSB's divisor is B - 1, the shift's B
        if across is Across.EVERY:
            self.msb, self.msw, self.undefined = outer, inner, spread.constant
            self.variance_share, self.along, self.allowance = spread.samples, along, allowance
        else:
            weight = outer / outer.sum() if outer.sum() > 0 else np.full(len(outer), 1 / len(outer))
            self.msb, self.msw = outer.mean(keepdims=True), inner.mean(keepdims=True)
            if known_mean and n_families >= RANK_FROM_FAMILIES:
                self.n_b *= effective_rank(means) ** 0.5
                self.n_w *= effective_rank((relative - relative.mean(axis=1, keepdims=True))[:, 0]) ** 0.5
            self.undefined = np.array([bool(spread.constant.any())])
            self.variance_share = (spread.samples @ weight)[:, None]
            self.along = along.mean(axis=1, keepdims=True)
            self.allowance = allowance.max(keepdims=True)  # the least varying target's sd suffers most

    def _along_claim(self, readings: Readings, relative: Float64[np.ndarray, "b s t"]) -> Float64[np.ndarray, "b t"]:
        """Per family, the residual times the claim's own direction: its mean is <c/|c|, w> / sd f."""
        norm = np.sqrt(readings.claim_variance)
        direction = readings.linear / np.where(norm > 0, norm, 1.0)
        if not self.known_mean:
            relative = relative - relative.mean(axis=(0, 1))
        return np.asarray((relative * direction).mean(axis=1))


def effective_rank(vectors: Float64[np.ndarray, "b t"]) -> float:
    """Return nu = (tr S)^2 / tr(S^2) for the covariance S of independent rows, each trace estimated across rows.

    Sum over b != b' of |m_b|^2 |m_b'|^2 over that of <m_b, m_b'>^2: at least 1, and exactly 1 when
    the rows lie along one direction, however few there are.
    """
    products = vectors @ vectors.T
    squares = np.diag(products)
    across = float(squares.sum() ** 2 - (squares**2).sum())
    shared = float((products**2).sum() - (squares**2).sum())
    return max(across / shared, 1.0) if shared > 0 else 1.0


def upper_bound_of(
    msb: Float64[np.ndarray, " r"],
    msw: Float64[np.ndarray, " r"],
    variance_error: Float64[np.ndarray, " r"],
    allowance: Float64[np.ndarray, " r"],
    *,
    s: int,
    rho: float,
    n_b: float,
    n_w: float,
    alpha: float,
    n_hidden: int = 0,
) -> Float64[np.ndarray, " r"]:
    """Return A/rho over Var f from above, after the worst that answers within the tolerance can have done to it.

    A shift of every residual by at most ``allowance`` a changes the norm of the family means by
    sqrt(s) a in sqrt(MSB), and that of the deviations by sqrt(s/(s-1)) a in sqrt(MSW); the sd of
    f by a. All arguments are relative to Var f, as in :class:`FamiliesCertificate`. ``n_hidden``
    families may have been made to vanish, the largest ones at worst; MSW must then be 0.
    """
    a, factor = allowance, 1 / (s * rho)
    msb = (np.sqrt(msb) + np.sqrt(s) * a) ** 2
    msw = np.maximum(np.sqrt(msw) - np.sqrt(s / (s - 1)) * a, 0.0) ** 2
    if n_hidden == 0:
        upper = bounds.contrast_upper(msb, msw, between=factor, within=factor, n_b=n_b, n_w=n_w, alpha=alpha)
    else:
        kept = bounds.trimmed_chi2_quantile(alpha, int(n_b), n_hidden)
        upper = factor * msb * n_b / kept if kept > 0 else np.full_like(msb, np.inf)
    return bounds.ratio_upper(
        over=factor * (msb - msw),
        over_upper=upper,
        under=np.maximum(1 - a, 0.0) ** 2,
        under_lower=np.maximum(np.sqrt(np.maximum(1 - variance_error, 0.0)) - a, 0.0) ** 2,
    )


def _families_lower(rows: _Rows, alpha: float) -> Float64[np.ndarray, " r"]:
    """W_1 from below. Let h be the least degree above 1 in the residual: 3 at p = 1/2, else 2.

    A <= rho W_1 + rho^h W_h+ and E[MSW] >= (1 - rho) W_1 + (1 - rho^h) W_h+, since rho^k falls
    with k. Eliminating W_h+, the weight above degree one, with c = rho^(h-1) / (1 - rho^h):
    W_1 (1 - c (1 - rho)) >= A/rho - c E[MSW], a contrast of E[MSB] and E[MSW].
    """
    rho = rows.rho
    h = 3 if rows.known_mean else 2
    c = rho ** (h - 1) / (1 - rho**h)
    within, scale = rows.factor + c, 1 - c * (1 - rho)
    lower = bounds.contrast_lower(
        rows.msb, rows.msw, between=rows.factor, within=within, n_b=rows.n_b, n_w=rows.n_w, alpha=alpha
    )
    estimate = (rows.factor * rows.msb - within * rows.msw) / scale
    return _over_variance(rows, estimate, lower / scale, alpha)


def _projection_lower(rows: _Rows, alpha: float) -> Float64[np.ndarray, " r"]:
    """W_1 = |w|^2 >= <u, w>^2 for the direction u = c/|c| fixed when the claim was committed.

    What a scaled claim leaves out lies along itself, so this finds scaling with few families.
    Over the mean of targets, mean <u, w>^2 >= (mean <u, w>)^2.
    """
    mean = rows.along.mean(axis=0)
    error = bounds.mean_error(rows.along, alpha / 2)  # two-sided: the claim may be too small or too large
    return _over_variance(rows, mean**2, np.maximum(np.abs(mean) - error, 0.0) ** 2, alpha)


def _over_variance(
    rows: _Rows, estimate: Float64[np.ndarray, " r"], lower: Float64[np.ndarray, " r"], alpha: float
) -> Float64[np.ndarray, " r"]:
    one = np.ones_like(estimate)
    error = bounds.mean_error(rows.variance_share, alpha)
    return bounds.ratio_lower(over=estimate, over_lower=lower, under=one, under_upper=one + error)


def _intercept_error(readings: Readings) -> Float64[np.ndarray, " t"]:
    """(E[f - g])^2 without bias: the squared mean over families less the mean's own variance."""
    whole = readings.residual if readings.even is None else readings.even
    means = whole.mean(axis=1)
    error = means.mean(axis=0) - readings.claim_mean
    return np.asarray(error**2 - means.var(axis=0, ddof=1) / len(means))
