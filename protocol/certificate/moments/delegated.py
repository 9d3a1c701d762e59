"""Upper bounds on a mean of bounded kurtosis when some of the reported values are false (THEORY 7.2).

Y_1 .. Y_n are independent, not negative, with one mean mu > 0. ASSUMED: E Y^2 <= K mu^2; at most c of the n reported
values are false, any of them, to any degree, chosen with everything known; and the square root of every other reported
value is within ``shift`` of the true one. Nothing else is assumed of what is reported.

1. The cut-off u and the rate L are fixed before the values are drawn. S = sum_b min(Y_b / mu, u) has
   E exp(-L S) <= M^n with ln M = :func:`capped_log_moment`, so P(S <= y) <= exp(L y) M^n (Markov), which is alpha at
   y = :func:`threshold`. Because exp(-L S_n) / M^n is a supermartingale in n, a mixture over rates fixed beforehand
   gives thresholds that hold at every n at once, :func:`anytime_threshold`.
2. A true Y is at most R = (sqrt(reported) + shift)^2 unless the report is false. So S <= T(mu), where T(mu) is the sum
   of min(R_b / mu, u) with its c smallest terms replaced by u. A replacement adds u minus the term, which is most for
   the smallest terms, and the order of the terms is that of the R_b for every mu.
3. With probability 1 - alpha, T(mu) >= S > y at the true mu. So every mu with T(mu) <= y is excluded.
4. T(mu) is c u plus the sum over the n - c largest R_b of min(R_b / mu, u): it never rises with mu. So the excluded mu
   are all those from one point on; that point is the bound, :func:`upper_despite_lies`. Since T(mu) >= c u, there is no
   bound where y <= c u.

The event S > y is about the true values only. On it the bound holds for every choice of at most c false values, so lies
may depend on everything.

Letters: n values; c (``n_false``) the most that are false; u the cut-off, in units of mu; L a rate, in units of 1/mu; K
the kurtosis bound; alpha the probability that a bound fails. The probability that more than c values are false belongs
to the spot checks and is not part of alpha.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from jaxtyping import Float64
from scipy.special import gammainc

from protocol.certificate.moments.bound import check_count, check_level, mixture_rates, mixture_root
from protocol.errors import ArgumentError

_RATES = np.geomspace(1e-3, 30.0, 213)
"""Rates of the fixed-n threshold, in units of 1 / min(u, K). Neighbours are 5% apart; the best is flat over that."""

_CUTOFFS = np.geomspace(0.25, 64.0, 49)
"""Cut-offs that the planner compares, in units of K. The best is near K; below a quarter none was ever better."""

_TYPICAL = 1 << 12  # values that stand for more than as many; the planner's only

_BISECTIONS = 50  # the parabolas are valid at any point; their mean is flat about the best
_NEAREST = 1e-9  # how near 0, or relatively near the cut-off, a tangent point may be, lest a quotient be 0 / 0
_SLACK = 1e-14  # added to a moment: 45 roundings of a number of size 1
_OUTWARD = 1 + 1e-12  # a bound is rounded up


def capped_log_moment(rate: float, cutoff: float, kurtosis: float) -> float:
    """Return ln M, a bound on ln E exp(-rate min(Y, cutoff)) over all Y >= 0 with mean 1 and E Y^2 <= ``kurtosis``.

    rate, cutoff : above 0.

    M is the least mean of three parabolas q >= exp(-L min(y, u)), that is, q >= exp(-L y) and q >= e = exp(-L u):

    A. q(0) = 1, tangent to exp(-L y) at t, vertex value at least e. The first inequality is the error formula of
       interpolation (the lemma of THEORY 2), the second the condition on the vertex, which is t <= t*.
    B. Vertex (z, e), tangent at t from t* on: z = t + 2 (1 - e exp(L t)) / L. There A's parabola has its vertex below
       e, and B's, tangent at the same t with a higher vertex, is the same line plus a larger multiple of (y-t)^2: so
       it is at least A's, which is at least exp(-L y), and at 0 it is at least 1.
    C. q(0) = 1 and vertex (K, v), v >= e the vertex value of A's parabola at t* and z* <= K its place. Up to z*, q is
       at least that parabola; beyond, q >= v >= exp(-L z*).

    A at t = K is the two-point law of THEORY 2, C the same law cut off at u < K. M is the exact supremum but for
    rounding, attained by laws of two or three points; it is always on the safe side of it.

    Raises ArgumentError for a rate or cut-off that is not positive and finite, or a kurtosis below 1 or not finite.
    """
    if not (math.isfinite(rate) and rate > 0):
        raise ArgumentError(f"the rate must be a finite number above 0, not {rate}")
    _check_cutoff(cutoff)
    check_level(kurtosis, 0.5)
    return float(_log_moments(np.array([rate], dtype=np.float64), cutoff, kurtosis)[0])


def _log_moments(rates: Float64[np.ndarray, " r"], cutoff: float, kurtosis: float) -> Float64[np.ndarray, " r"]:
    """:func:`capped_log_moment` of every rate. The variable is x = L y: mean L, second moment K L^2, cut-off L u."""
    cut = rates * cutoff
    last = _last_tangent(cut)
    has_last = last > 0
    at = np.where(has_last, last, 1.0)
    weight = at * np.exp(-at) / gammainc(2, at)
    log_vertex = np.where(has_last, _log_vertex(at), -np.minimum(cut, math.log(2)))
    place = np.where(has_last, at * (1 + weight / 2), -2 * np.expm1(log_vertex))  # z*; at t* = 0, q'(0) = -1
    gone = np.where(has_last, _tangent_mean(np.minimum(kurtosis * rates, at), rates, kurtosis), 0.0)
    gone = np.minimum(gone, _vertex_mean(rates, cut, last, kurtosis))
    gone = np.minimum(gone, np.where(kurtosis * rates >= place, np.expm1(log_vertex) / kurtosis, 0.0))
    return np.asarray(np.log1p(np.minimum(gone + _SLACK, 0.0)))


def _log_vertex(t: Float64[np.ndarray, " r"]) -> Float64[np.ndarray, " r"]:
    """Log of A's vertex value, exp(-t) - (t exp(-t))^2 / (4 g), g = 1 - (1+t) exp(-t); falls from ln(1/2) at t = 0."""
    return np.asarray(np.log1p(-(t**2) * np.exp(-t) / (4 * gammainc(2, t))) - t)


def _last_tangent(cut: Float64[np.ndarray, " r"]) -> Float64[np.ndarray, " r"]:
    """L t*, the largest tangent point whose vertex value is at least exp(-cut), from below; 0 where there is none."""
    low, high = np.full_like(cut, _NEAREST), np.maximum(cut, _NEAREST)
    exists = _log_vertex(low) >= -cut
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        enough = _log_vertex(middle) >= -cut
        low, high = np.where(enough, middle, low), np.where(enough, high, middle)
    return np.asarray(np.where(exists, low, 0.0))


def _tangent_mean(
    t: Float64[np.ndarray, " r"], rates: Float64[np.ndarray, " r"], kurtosis: float
) -> Float64[np.ndarray, " r"]:
    """E q - 1 of A, tangent at L y = t: b L + a K L^2, a = g / t^2, b = -exp(-t) - 2 a t."""
    a = gammainc(2, t) / t**2
    return np.asarray(rates * (a * (kurtosis * rates - 2 * t) - np.exp(-t)))


def _vertex_mean(
    rates: Float64[np.ndarray, " r"],
    cut: Float64[np.ndarray, " r"],
    last: Float64[np.ndarray, " r"],
    kurtosis: float,
) -> Float64[np.ndarray, " r"]:
    """E q - 1 of B at the t from t* on where a law on t and z has the moments, (1-t)(z-1) = K-1 in the unit of Y.

    With w = 1 - e exp(t): z = t + 2 w, a = exp(-t) / (4 w), E q = e + a ((K-1) L^2 + (z-L)^2) + max(0, 1 - q(0)).
    """
    most = (1 - _NEAREST) * cut
    low = np.minimum(np.maximum(last, _NEAREST * rates), most)
    high = np.maximum(np.minimum(rates, most), low)
    for _ in range(_BISECTIONS):
        t = (low + high) / 2
        early = (rates - t) * (t - 2 * np.expm1(t - cut) - rates) > rates**2 * (kurtosis - 1)
        low, high = np.where(early, t, low), np.where(early, high, t)
    t, w = low, -np.expm1(low - cut)
    z, a = t + 2 * w, np.exp(-t) / (4 * w)
    short = np.maximum(-np.expm1(-cut) - a * z**2, 0.0)
    return np.asarray(np.expm1(-cut) + a * ((kurtosis - 1) * rates**2 + (z - rates) ** 2) + short)


@lru_cache(maxsize=1024)
def _table(cutoff: float, kurtosis: float) -> tuple[Float64[np.ndarray, " r"], Float64[np.ndarray, " r"]]:
    """Rates of the fixed-n threshold, and their -ln M."""
    rates = _RATES / min(cutoff, kurtosis)
    return rates, -_log_moments(rates, cutoff, kurtosis)


@lru_cache(maxsize=1024)
def _mixture(cutoff: float, kurtosis: float) -> tuple[Float64[np.ndarray, " r"], Float64[np.ndarray, " r"]]:
    """Rates of the anytime threshold, and their -ln M: those of THEORY 2, faster where the cut-off is below K."""
    rates = mixture_rates(kurtosis)[0] * max(1.0, kurtosis / cutoff)
    return rates, -_log_moments(rates, cutoff, kurtosis)


@lru_cache(maxsize=1 << 14)
def threshold(n: int, cutoff: float, kurtosis: float, alpha: float) -> float:
    """Return y with P(sum_b min(Y_b / mu, cutoff) <= y) <= alpha: max over rates L of (ln alpha - n ln M) / L, or 0.

    n : how many values, fixed beforehand, as ``cutoff`` is.

    Assumes E Y^2 <= kurtosis mu^2 and independent Y (step 1 above). Raises ArgumentError for a count, cut-off, kurtosis
    or alpha that is out of range.
    """
    check_count(n)
    _check_cutoff(cutoff)
    check_level(kurtosis, alpha)
    rates, gains = _table(cutoff, kurtosis)
    return max(0.0, float(((math.log(alpha) + n * gains) / rates).max()))


@lru_cache(maxsize=1 << 14)
def anytime_threshold(n: int, cutoff: float, kurtosis: float, alpha: float) -> float:
    """Return y_n with sum_b min(Y_b / mu, cutoff) > y_n at every n at once where y_n > 0, but for probability alpha.

    The root of mean_i exp(-L_i y - n ln M(L_i)) = 1/alpha, or 0; the rates L_i depend on the cut-off and K alone.
    ``cutoff`` is fixed beforehand and the same for every n.

    Assumes what :func:`threshold` does; it is enough that the assumption holds given the past. Raises as it does.
    """
    check_count(n)
    _check_cutoff(cutoff)
    check_level(kurtosis, alpha)
    rates, gains = _mixture(cutoff, kurtosis)
    return max(0.0, float(mixture_root(n * gains[None, :], rates, alpha)[0]))


def upper_despite_lies(
    reported: Float64[np.ndarray, " n"],
    n_false: int,
    kurtosis: float,
    alpha: float,
    shift: float,
    *,
    cutoff: float,
    anytime: bool = False,
) -> float:
    """Return u with E Y <= u but for probability alpha, whichever ``n_false`` of the reported values are false.

    reported : the Y_b as the other party reports them, at least 0, in the unit of Y.
    n_false : the most that are false; infinite bound from n on.
    shift : at least 0, in the unit of sqrt(Y): how far the square root of an honest report may be from the truth.
        With Y_b a weighted mean over targets of squared means of residuals, and answers off by tau_t at most,
        shift^2 is the same weighted mean of tau_t^2 (Minkowski).
    cutoff : in units of E Y; fixed before the values were drawn, see :func:`best_cutoff`.
    anytime : whether the bound holds at every n at once (with :func:`anytime_threshold`) or at one fixed n only.

    Infinite where the threshold is at most n_false * cutoff. Proof and assumptions: the head of this file. Raises
    ArgumentError for reports or a shift that are negative or not finite, and as :func:`threshold` does.
    """
    check_count(n_false)
    if not (math.isfinite(shift) and shift >= 0):
        raise ArgumentError(f"the shift must be a finite number of at least 0, not {shift}")
    if not (reported >= 0).all() or not np.isfinite(reported).all():
        raise ArgumentError("the reported values must be finite numbers of at least 0")
    with np.errstate(over="ignore"):
        values = (np.sqrt(reported) + shift) ** 2
    y = (anytime_threshold if anytime else threshold)(len(reported), cutoff, kurtosis, alpha)
    return _first_excluded(values, n_false, cutoff, y) if np.isfinite(values).all() else math.inf


def _first_excluded(values: Float64[np.ndarray, " n"], n_false: int, cutoff: float, y: float) -> float:
    """Return the smallest mu with T(mu) <= y, rounded up; T as in step 2."""
    room = y - n_false * cutoff
    if n_false >= len(values) or room <= 0:
        return math.inf
    kept = np.sort(values)[n_false:][::-1]
    unit = float(kept[0])
    if unit == 0:
        return 0.0
    kept = kept / unit
    below = np.append(np.cumsum(kept[::-1])[::-1], 0.0)  # [k]: the sum of all but the k largest
    # At mu = kept[k] / cutoff the k largest are cut; the sum there rises with k, so those that fit come first.
    cut = np.arange(len(kept)) * cutoff
    k = int(np.count_nonzero((cut * kept + cutoff * below[:-1] <= room * kept) & (kept > 0)))
    if below[k] == 0:
        return 0.0  # so few values are above 0 that the sum fits at every mu > 0: the assumption itself is excluded
    left = room - k * cutoff
    bound = float(below[k]) / left if left > 0 else math.inf
    return unit * (min(bound, float(kept[k - 1]) / cutoff) if k > 0 else bound) * _OUTWARD


def best_cutoff(
    n: int,
    n_false: int,
    kurtosis: float,
    alpha: float,
    expected: Float64[np.ndarray, " k"] | None = None,
    *,
    anytime: bool = False,
) -> float:
    """Return the cut-off under which :func:`upper_despite_lies` is expected to be smallest; for planning, beforehand.

    expected : equally likely values of an honest Y, in any unit; None for a law that stays below the cut-off. Then the
        bound is the sum of what was reported over y - n_false * cutoff, and the cut-off depends on nothing else. It is
        best near K, so most laws agree with that.

    The choice must not depend on anything that was reported. It affects the width of the bound, never its validity.
    Ties go to the largest cut-off. Raises ArgumentError for arguments out of range.
    """
    check_count(n_false)
    find = anytime_threshold if anytime else threshold
    cutoffs = [float(c) for c in kurtosis * _CUTOFFS]
    thresholds = [find(n, cutoff, kurtosis, alpha) for cutoff in cutoffs]
    if expected is None:
        scores = [n_false * cutoff - y for cutoff, y in zip(cutoffs, thresholds, strict=True)]
    else:
        if not (len(expected) and np.isfinite(expected).all() and (expected >= 0).all()):
            raise ArgumentError("the expected values must be finite numbers of at least 0, and there must be some")
        kept = min(n, _TYPICAL)
        typical = np.quantile(expected, (np.arange(kept) + 0.5) / kept) if n else np.zeros(0)
        each = n / kept if n else 1.0  # so many values are one of the typical ones, and the false among them likewise
        few = n_false if each == 1 else int(n_false / each)
        scores = [
            _first_excluded(typical, few, c, (y - n_false * c) / each + few * c)
            for c, y in zip(cutoffs, thresholds, strict=True)
        ]
    least = min(scores)
    return max(c for c, score in zip(cutoffs, scores, strict=True) if score <= least + 1e-9 * abs(least))


def _check_cutoff(cutoff: float) -> None:
    if not (math.isfinite(cutoff) and cutoff > 0):
        raise ArgumentError(f"the cut-off must be a finite number above 0, not {cutoff}")
