"""Bounds on means of variables whose kurtosis is bounded, at every sample size at once (THEORY 2).

Y_1 .. Y_n are independent, not negative, and have one mean; each is what one family (or one pair) says about the gap.
The one ASSUMPTION is E Y^2 <= K (E Y)^2. Nothing is asymptotic and nothing is Gaussian.

Lemma. For a > 0, among all laws on [0, inf) with mean 1 and second moment at most K, E exp(-a Y) is largest for the
two-point law with mass 1/K at K and the rest at 0; :func:`largest_laplace` is that largest value, M(a).
Proof. Let q be the parabola with q(0) = 1, q(K) = exp(-aK), q'(K) = -a exp(-aK). By the error formula of
interpolation q(y) - exp(-a y) = y (y-K)^2 a^3 exp(-a xi) / 6 >= 0, and the leading coefficient of q is half a second
derivative of exp(-a y), so it is not negative. Hence E exp(-a Y) <= E q(Y) <= E q(two-point law) = M(a).

Fixed n: Chernoff's bound with M gives :func:`fixed_quantile`. Every n at once: exp(-a (Y_1 + .. + Y_n) / mu) / M(a)^n
is a non-negative supermartingale when mu <= E Y, for each fixed a, so a mixture of ten of them stays below 1/alpha at
every n with probability 1 - alpha (Ville); :func:`anytime_quantile` inverts that mixture. Independence is not needed:
given the past, E Y_b >= mu and E Y_b^2 <= K (E Y_b)^2 suffice, because M(a mean) falls as the mean rises. So the
design may change from one family to the next as long as it depends on the past alone.

Letters: K the kurtosis bound; alpha the probability that a bound fails; q (or y, a mean) a lower quantile in units of
E Y; gap, share: a gap as a share of a variance.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from jaxtyping import Float64, Int64

from protocol.errors import ArgumentError

TILTS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""The means, in units of E Y, that the ten rates of the mixture are best for; equal weights (THEORY 2)."""

_SMALLEST_KURTOSIS = 1 + 1e-9  # K = 1 is a constant Y, and its rates are infinite; a larger K is a weaker assumption
_NEWTON_STEPS = 100  # an exit: convergence is quadratic and takes about 6
_CELLS = 1 << 22  # of numbers in memory at once
_BISECTIONS = 60  # halves an interval of length 1 to below the spacing of doubles near its middle
RATES = tuple(2.0**i for i in range(-7, 4))
"""The lower bound's rates, in units of 1 / scale: they suit n from 10 to 10^4, and a scale that is off tenfold."""

_SHARE_OF_SPREAD = 0.25  # of alpha, for the upper bound on E (Z - z0)^2; it enters to the fourth order only
_LARGEST_DEVIATION = 1e60  # in units of scale: there is no bound beyond it, where a fourth power could overflow
_ROUNDING = 32 * float(np.finfo(np.float64).eps)  # relative error of a sum of ten exponents, with room to spare


def check_level(kurtosis: float, alpha: float) -> None:
    """Raise ArgumentError unless ``kurtosis`` is a finite number from 1 on and ``alpha`` lies in (0, 1)."""
    if not (math.isfinite(kurtosis) and kurtosis >= 1):
        raise ArgumentError(f"the kurtosis bound must be a finite number of at least 1, not {kurtosis}")
    if not 0 < alpha < 1:
        raise ArgumentError(f"the probability of failure must lie between 0 and 1, not {alpha}")


def check_count(n: int) -> None:
    """Raise ArgumentError unless ``n`` is a count."""
    if not (math.isfinite(n) and n >= 0 and n == int(n)):
        raise ArgumentError(f"the number of values must be a whole number of at least 0, not {n}")


def largest_laplace(a: float, kurtosis: float) -> float:
    """Return M(a), the largest E exp(-a Y) over Y >= 0 with mean 1 and E Y^2 <= ``kurtosis`` (the lemma above).

    a : at least 0. Raises ArgumentError where it is not, or where ``kurtosis`` is below 1 or not finite.
    """
    check_level(kurtosis, 0.5)
    if not a >= 0:
        raise ArgumentError(f"the rate must be at least 0, not {a}")
    return 1 + math.expm1(-a * kurtosis) / kurtosis


@lru_cache(maxsize=4096)
def fixed_quantile(n: int, kurtosis: float, alpha: float) -> float:
    """Return y with P(mean(Y) < y E Y) <= alpha for n values: the root of n kl(y/K, 1/K) = ln(1/alpha) in [0, 1).

    kl is the divergence of two Bernoulli laws. So E Y <= mean(Y) / y with probability 1 - alpha, at one n that was
    fixed beforehand. 0 where there is no root: then there is no bound. The root is approached from below.

    Assumes E Y^2 <= kurtosis (E Y)^2 and independent Y (THEORY 2). Raises ArgumentError for a kurtosis below 1, an
    alpha outside (0, 1), or an n that is not a count.
    """
    check_level(kurtosis, alpha)
    check_count(n)
    k = max(kurtosis, _SMALLEST_KURTOSIS)
    if n == 0:
        return 0.0
    needed = k * -math.log(alpha) / n

    def enough(y: float) -> bool:  # K kl(y/K, 1/K), written so that nothing cancels for a large K
        scaled = (y * math.log(y) if y > 0 else 0.0) + (k - y) * math.log1p((1 - y) / (k - 1))
        return bool(scaled * (1 - _ROUNDING) - _ROUNDING >= needed)

    if not enough(0.0):
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if enough(middle) else (low, middle)
    return low


def mixture_root(
    growth: Float64[np.ndarray, "b r"], rates: Float64[np.ndarray, " r"], alpha: float
) -> Float64[np.ndarray, " b"]:
    """Return the root in q of mean_i exp(growth_i - rates_i q) = 1/alpha for each row of ``growth``, from below.

    rates : above 0. The result may be negative; it is below the root by rounding only.

    The logarithm of the mean is convex and falls in q, and q starts where one term alone reaches the goal, at or below
    the root: Newton's steps climb to the root and never pass it. What rounding can add is taken off at the end.
    """
    goal = -math.log(alpha)
    q = ((growth - goal - math.log(len(rates))) / rates).max(axis=1)
    for _ in range(_NEWTON_STEPS):
        exponents = growth - rates * q[:, None]
        top = exponents.max(axis=1)
        terms = np.exp(exponents - top[:, None])
        value = top + np.log(terms.mean(axis=1)) - goal
        steps = np.maximum(value, 0.0) * terms.sum(axis=1) / (terms * rates).sum(axis=1)
        q = q + steps
        if (steps <= 1e-14 * np.abs(q)).all():
            break
    return np.asarray(q - _ROUNDING * ((np.abs(growth) + goal) / rates).max(axis=1))


def anytime_quantiles(n: Int64[np.ndarray, " b"], kurtosis: float, alpha: float) -> Float64[np.ndarray, " b"]:
    """Return :func:`anytime_quantile` of every count in ``n``."""
    check_level(kurtosis, alpha)
    if (n < 0).any():
        raise ArgumentError(f"the number of values must be at least 0, not {n.min()}")
    rates, gains = mixture_rates(kurtosis)
    return np.asarray(np.maximum(mixture_root(n[:, None] * gains, rates, alpha), 0.0))


@lru_cache(maxsize=1 << 16)
def anytime_quantile(n: int, kurtosis: float, alpha: float) -> float:
    """Return q_n: for every n at once, Y_1 + .. + Y_n >= q_n E Y, but for probability alpha.

    With a_i = ln[(K - r_i) / (r_i (K-1))] / K for r_i in TILTS, q_n is the root of
    mean_i exp(-a_i q - n ln M(a_i)) = 1/alpha, approached from below. 0 where that root is not positive (n <= 14 for
    K = 4 and alpha = .05): then there is no bound. Usable after any number of looks, at a moment chosen by anyone.

    Assumes what the module says. Raises ArgumentError for a kurtosis below 1, an alpha outside (0, 1), or an n that is
    not a count.
    """
    check_count(n)
    return float(anytime_quantiles(np.array([n], dtype=np.int64), kurtosis, alpha)[0])


@lru_cache(maxsize=64)
def mixture_rates(kurtosis: float) -> tuple[Float64[np.ndarray, " r"], Float64[np.ndarray, " r"]]:
    """Return the rates a_i of :func:`anytime_quantile` and -ln M(a_i), both read-only.

    exp(-a_i K) = r_i (K-1) / (K-r_i), so M(a_i) = (K-1) / (K-r_i).
    """
    k, r = max(kurtosis, _SMALLEST_KURTOSIS), np.array(TILTS)
    gains = np.log1p((1 - r) / (k - 1))  # ln (K-r)/(K-1)
    rates = (gains - np.log(r)) / k
    rates.setflags(write=False)
    gains.setflags(write=False)
    return rates, gains


def upper_of_mean(sum_y: float, n: int, kurtosis: float, alpha: float) -> float:
    """Return u with E Y <= u for every n at once, but for probability alpha: sum_y / q_n, infinite where q_n is 0.

    sum_y : Y_1 + .. + Y_n, at least 0, in the unit of Y; infinity gives infinity.

    The sum may also be that of Y_b / rho_b, each with a conditional mean of at least the gap; u then bounds the gap.
    Assumes what the module says. Raises ArgumentError for a sum that is negative or not a number, and as
    :func:`anytime_quantile` does.
    """
    if not sum_y >= 0:
        raise ArgumentError(f"a sum of squares must be at least 0, not {sum_y}")
    q = anytime_quantile(n, kurtosis, alpha)
    return sum_y / q if q > 0 else math.inf


def lower_of_mean(z: Float64[np.ndarray, " n"], z0: float, scale: float, kurtosis: float, alpha: float) -> float:
    """Return l with l <= E Z for every n at once, but for probability alpha; -inf while there is no bound.

    z0 : a guess at the mean, and ``scale`` > 0 one at the standard deviation, both in the unit of Z and both fixed
        before the first Z was drawn (a pilot's). Poor guesses cost width, never validity.

    ASSUMES independent Z of one law with E (Z-z0)^4 <= kurtosis (E (Z-z0)^2)^2, and nothing else.

    Proof. Let D = Z - z0, d = E D, v = E D^2, L = a rate > 0, h(x) = 1 + x + x^4/8, which is at least
    1 - .75 2^(1/3) > .055. Then E h(L D) = 1 + L d + L^4 E D^4 / 8 <= g(d, v) := 1 + L d + K L^4 v^2 / 8, so
    prod_i h(L D_i) / g(d, v) is a non-negative supermartingale in n, and so is the mean of it over the RATES: it stays
    below 1 / (.75 alpha) at every n, but for probability .75 alpha (Ville). The squares D^2 obey the module's lemma, so
    v <= V_n := sum D_i^2 / q_n at every n, but for probability .25 alpha. The mixture falls in v and, where all g are
    positive, in d; so where neither event happens, d is at least the point at which the mixture with V_n for v comes
    down to 1 / (.75 alpha). A d for which some g(d, V_n) <= 0 is below that point, and impossible.

    This is narrower than Catoni's bound, whose exponent is 1 + x + x^2/2 in place of h: there v, which is known up to a
    factor only, enters to the second order, here to the fourth (1.5 times fewer values at K = 4 and n = 100).
    Because the bound holds at every n at once, the largest over the n looked at holds, too.

    Raises ArgumentError for a Z that is not finite, a scale that is not positive, and as :func:`anytime_quantile`.
    """
    return float(lowers_of_means(z[:, None], np.array([z0]), np.array([scale]), kurtosis, alpha)[0])


def lowers_of_means(
    z: Float64[np.ndarray, "n a"],
    z0: Float64[np.ndarray, " a"],
    scale: Float64[np.ndarray, " a"],
    kurtosis: float,
    alpha: float,
    *,
    once: bool = False,
) -> Float64[np.ndarray, " a"]:
    """Return :func:`lower_of_mean` of every column, each at ``alpha``.

    once : whether n was fixed before the first value and this is the only look. The squares are then bounded by
        :func:`fixed_quantile`, which is narrower; the bound holds at that n alone.
    """
    check_level(kurtosis, alpha)
    deviations = _deviations(z.T, z0[:, None], scale[:, None])
    spread = _spread(deviations, kurtosis, alpha, once=once)
    return np.asarray(z0 + scale * _lower(deviations, spread, kurtosis, (1 - _SHARE_OF_SPREAD) * alpha))


def lower_of_absolute_mean(
    z: Float64[np.ndarray, " n"], z0: float, scale: float, kurtosis: float, alpha: float
) -> float:
    """Return l >= 0 with l <= |E Z| for every n at once, but for probability alpha; 0 while there is no bound.

    The bound of :func:`lower_of_mean` for Z and for -Z, each at half of what is left of alpha after the bound on
    E (Z-z0)^2, which both share. Arguments, assumption and errors are the same.
    """
    return float(lower_of_absolute_means(z[:, None], np.array([z0]), np.array([scale]), kurtosis, alpha)[0])


def lower_of_absolute_means(
    z: Float64[np.ndarray, "n a"],
    z0: Float64[np.ndarray, " a"],
    scale: Float64[np.ndarray, " a"],
    kurtosis: float,
    alpha: float,
) -> Float64[np.ndarray, " a"]:
    """Return :func:`lower_of_absolute_mean` of every column, each at ``alpha``."""
    check_level(kurtosis, alpha)
    deviations = _deviations(z.T, z0[:, None], scale[:, None])
    spread = _spread(deviations, kurtosis, alpha)
    level = (1 - _SHARE_OF_SPREAD) * alpha / 2
    above, below = (_lower(sign * deviations, spread, kurtosis, level) for sign in (1, -1))
    return np.asarray(np.maximum(0.0, np.maximum(z0 + scale * above, -z0 + scale * below)))


def _deviations(
    z: Float64[np.ndarray, "k n"], z0: Float64[np.ndarray, "k 1"], scale: Float64[np.ndarray, "k 1"]
) -> Float64[np.ndarray, "k n"]:
    """(Z - z0) / scale, checked."""
    if not (np.isfinite(z).all() and np.isfinite(z0).all()):
        raise ArgumentError("the values and the guess at their mean must be finite numbers")
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise ArgumentError(f"the scale must be a finite number above 0, not {scale.ravel()}")
    with np.errstate(over="ignore"):
        return np.asarray((z - z0) / scale)


def _spread(
    deviations: Float64[np.ndarray, "k n"], kurtosis: float, alpha: float, *, once: bool = False
) -> Float64[np.ndarray, " k"]:
    """Each row's V_n in units of scale^2; infinite where there is no bound."""
    far = (np.abs(deviations) > _LARGEST_DEVIATION).any(axis=1)
    squares, n = (np.where(far[:, None], 0.0, deviations) ** 2).sum(axis=1), deviations.shape[1]
    q = n_over_quantile(n, kurtosis, _SHARE_OF_SPREAD * alpha, once=once)
    return np.asarray(np.where(far, math.inf, squares / n * q if math.isfinite(q) else math.inf))


def n_over_quantile(n: int, kurtosis: float, alpha: float, *, once: bool = False) -> float:
    """Return how many times the mean of n values E Y may be, at every n or at one fixed beforehand; maybe infinite."""
    q = n * fixed_quantile(n, kurtosis, alpha) if once else anytime_quantile(n, kurtosis, alpha)
    return n / q if q > 0 else math.inf


def _lower(
    deviations: Float64[np.ndarray, "k n"], spread: Float64[np.ndarray, " k"], kurtosis: float, alpha: float
) -> Float64[np.ndarray, " k"]:
    """Return the d at which each row's mixture comes down to 1/alpha, from below, in units of scale."""
    found = np.full(len(deviations), -math.inf)
    known = np.flatnonzero(np.isfinite(spread))
    step = max(1, _CELLS // (len(RATES) * max(deviations.shape[1], 1)))
    for start in range(0, len(known), step):
        rows = known[start : start + step]
        found[rows] = _mixture_lower(deviations[rows], spread[rows], kurtosis, alpha)
    return found


def _mixture_lower(
    deviations: Float64[np.ndarray, "k n"], spread: Float64[np.ndarray, " k"], kurtosis: float, alpha: float
) -> Float64[np.ndarray, " k"]:
    """:func:`_lower` where the spread is finite."""
    n, goal, rates = deviations.shape[1], -math.log(alpha), np.array(RATES)
    x = rates[:, None] * deviations[:, None, :]
    squares = x * x
    capital = np.log(1 + x + squares * squares / 8).sum(axis=2)  # what this rounds is within what is taken off below
    quartic = kurtosis * (rates**2 * spread[:, None]) ** 2 / 8
    d = ((np.expm1((capital - goal - math.log(len(rates))) / n) - quartic) / rates).max(axis=1)  # one term alone
    # Convex and falling in d, as in mixture_root. Every g is positive here, because each term's own root is lower;
    # where rounding says otherwise, the spread is so large that there is no bound.
    for _ in range(_NEWTON_STEPS):
        growth = 1 + rates * d[:, None] + quartic
        vague = (growth <= 0).any(axis=1)
        growth = np.where(growth > 0, growth, 1.0)
        exponents = capital - n * np.log(growth)
        top = exponents.max(axis=1)
        terms = np.exp(exponents - top[:, None])
        value = top + np.log(terms.mean(axis=1)) - goal
        slopes = n * terms * rates / growth
        step = np.maximum(value, 0.0) * terms.sum(axis=1) / slopes.sum(axis=1)
        d = d + step
        if ((step <= 1e-14 * np.abs(d)) | vague).all():
            break
    rounded = terms * (np.abs(capital) + goal + n * (1 + rates * np.abs(d)[:, None] + quartic) / growth)
    return np.asarray(np.where(vague, -math.inf, d - _ROUNDING * rounded.sum(axis=1) / slopes.sum(axis=1)))


def minkowski_ratio(x: float) -> float:
    """Return the largest gap / W_1[f] for gap = x Var g: x / (1 - sqrt x)^2, infinite from x = 1 on.

    W_1[f] is the variance of the best linear predictor of f, Var g that of the claim, which is known exactly. In L2 the
    two differ by sqrt(gap), so sqrt(W_1[f]) >= sqrt(Var g) - sqrt(gap): no sampling is needed, and since
    Var f >= W_1[f] the relative gap is at most the same (THEORY 2). It is attained, and it rises with x, so an upper
    bound on x may take its place.

    x : at least 0; ArgumentError where it is not.
    """
    if not x >= 0:
        raise ArgumentError(f"a gap's share must be at least 0, not {x}")
    return x / (1 - math.sqrt(x)) ** 2 if x < 1 else math.inf


def largest_share(epsilon: float) -> float:
    """Return the largest x = gap / Var g with minkowski_ratio(x) <= epsilon: epsilon / (1 + sqrt epsilon)^2.

    epsilon : at least 0; ArgumentError where it is not. .0334 for .05.
    """
    if not (epsilon >= 0 and math.isfinite(epsilon)):
        raise ArgumentError(f"epsilon must be a finite number of at least 0, not {epsilon}")
    return epsilon / (1 + math.sqrt(epsilon)) ** 2
