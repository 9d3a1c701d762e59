"""Products across independent pairs: the gap itself without the higher degrees, for few units (THEORY 10).

With z_j = r_j phi(x_j), one for each independent subset x_j, E z_j is w, the residual's coefficients of degree one, and
for two subsets E <z_j, z_k> = |w|^2 = W_1. So

    U = sum over j != k of <z_j, z_k> / (m (m-1)) = ( |sum z_j|^2 - sum |z_j|^2 ) / (m (m-1))

is unbiased for the gap. Families of siblings estimate A/rho, which charges rho^2 W_3 and more on top of it. The price
is noise: U has standard deviation sqrt(2 N) v / m even where the gap is 0. So products pay for few units, such as
contributors.

:func:`quick_upper` takes U for Gaussian and estimates its spread: a quick look. :func:`upper_by_moments` is
finite-sample. Neither divides by Var f: for a relative gap that step is the caller's.

Letters: m pairs, N units, T targets; r the odd residual, v = E |r|^2; w its coefficients of degree one (N T numbers),
W_1 = |w|^2; h = <z_j, z_k> of one pair of pairs; K >= E |r|^4 / v^2 the kurtosis; M = E z z^T.

Moments of U at p = 1/2, where phi_i^2 = 1. U has variance (4 (m-2) (w'Mw - W_1^2) + 2 (E h^2 - W_1^2)) / (m (m-1)).

(1) E h^2 = tr M^2 <= (N + 2 (K-1)) v^2. For one target M_ii = v. For i != j the M_ij = E r^2 phi_i phi_j are the
    coefficients of degree two of E[r^2 | x], whose squares add up to 2 W_2 <= 2 Var r^2 <= 2 (K-1) v^2. For more
    targets, with R = E r r^T, the sum is at most (N-2) |R|^2 + 2 E |r|^4, and |R| <= v.
(2) w'Mw <= (1 + sqrt(2 (K-1))) v W_1. For a unit vector u in the direction of w, u'Mu = E (sum_t r_t <u_t, phi>)^2
    <= E |r|^2 a^2, where a^2 = sum_t <u_t, phi>^2 has mean 1 and variance at most 2; Cauchy and Schwarz bound the
    covariance of |r|^2 and a^2. A Gaussian r that is all of degree one has 3 v W_1, which is this with K = 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy import special
from scipy.optimize import brentq

from protocol.errors import ArgumentError

ASSUMES_GAUSSIAN = "products across pairs are Gaussian, their spread as observed"
"""What a verdict by :func:`quick_upper` shows beside its word; one by the other shows its kurtosis."""

_LARGEST = 1e100  # of squares that are squared again; beyond it the mean square alone is the bound
SCALE_SHARE = 0.1
"""Of alpha, spent on v from above by :func:`upper_by_moments`: the number of pairs hardly depends on it."""

_CHUNK = 1 << 10  # rows of the Gram matrix held at once; does not affect outputs beyond rounding
_GRID = np.geomspace(1.0, 1e-6, 1400)  # shares of v at which W_1 is tried; no bound is below the last


def gap_estimate(residual: Float64[np.ndarray, "m t"], characters: Float64[np.ndarray, "m n"]) -> float:
    """Return U, an unbiased estimate of W_1 summed over targets; it may come out below 0.

    Parameters
    ----------
    residual : shape (m, T); odd residuals of independent pairs, each target scaled by the root of its weight.
    characters : shape (m, N); phi of the subsets (``harmonic.characters``), +1 or -1 at p = 1/2.

    Raises
    ------
    ArgumentError
        Fewer than 2 pairs.
    """
    m = len(residual)
    if m < 2:
        raise ArgumentError(f"products: expected at least 2 pairs, got {m}")
    total = ((residual.T @ characters) ** 2).sum()
    own = ((residual**2).sum(axis=1) * (characters**2).sum(axis=1)).sum()
    return float((total - own) / (m * (m - 1)))


def product_square(residual: Float64[np.ndarray, "m t"], characters: Float64[np.ndarray, "m n"]) -> float:
    """Return the mean of h^2 over all j != k, an unbiased estimate of E h^2, from the m x m Gram matrix in chunks."""
    m, total, own = len(residual), 0.0, 0.0
    if not (residual**2).sum(axis=1).max() < _LARGEST:
        return float("inf")
    for start in range(0, m, _CHUNK):
        rows = slice(start, start + _CHUNK)
        gram = (residual[rows] @ residual.T) * (characters[rows] @ characters.T)
        total += float((gram**2).sum())
        own += float((np.diagonal(gram, offset=start) ** 2).sum())
    return (total - own) / (m * (m - 1))


def standard_error(residual: Float64[np.ndarray, "m t"], characters: Float64[np.ndarray, "m n"]) -> float:
    """Return the standard error that U has where the gap is 0: sqrt(2 E h^2 / (m (m-1))), about sqrt(2 N) v / m."""
    m = len(residual)
    return float(np.sqrt(2 * product_square(residual, characters) / (m * (m - 1))))


def quick_upper(residual: Float64[np.ndarray, "m t"], characters: Float64[np.ndarray, "m n"], alpha: float) -> float:
    """Return W_1 from above, U being taken for Gaussian: a quick look, asymptotic in m.

    The largest W with W - U <= z sqrt( 4 c v W / m + 2 E h^2 / (m (m-1)) ), z the Gaussian quantile, v and E h^2 as
    observed, and c = 1 + sqrt(2 (kurtosis - 1)) with the kurtosis observed: (2) above. c = 1 would need fewer pairs
    and would not hold its level, not even for a Gaussian residual of degree one, nor for conjunctions of three and four
    units (tests/protocol/certificate/gaussian/test_products.py). Rare events that never showed are in no observed
    number.

    Assumption: U is Gaussian. p = 1/2, independent uniform pairs drawn after the claim was committed.
    """
    m, square = len(residual), (residual**2).sum(axis=1)
    v = float(square.mean())
    if v == 0.0:
        return 0.0
    if v >= _LARGEST:
        return float("inf")
    z = float(special.ndtri(1 - alpha))
    along = 4 * along_factor(float(((square / v) ** 2).mean())) * v / m
    return upper_root(gap_estimate(residual, characters), z, along, standard_error(residual, characters) ** 2)


def along_factor(kurtosis: float) -> float:
    """Return 1 + sqrt(2 (K-1)), what w'Mw is of v W_1 at most: (2) above."""
    return float(1 + np.sqrt(2 * max(kurtosis - 1, 0.0)))


def upper_root(estimate: float, z: float, along: float, across: float) -> float:
    """Return the largest W with W - estimate <= z sqrt(along W + across), not below 0."""
    half = z**2 * along / 2
    return max(estimate + half + float(np.sqrt(max(half**2 + z**2 * (along * estimate + across), 0.0))), 0.0)


def upper_by_moments(
    residual: Float64[np.ndarray, "m t"],
    characters: Float64[np.ndarray, "m n"],
    *,
    alpha: float,
    kurtosis: float,
    n_groups: int,
    cap: float,
) -> float:
    """Return u with P(W_1 > u) <= alpha: finite-sample, under the kurtosis alone.

    The pairs fall into G groups in their order. A group of n pairs gives

        X = ( |sum z|^2 - N min(sum |r|^2, n cap) ) / (n (n-1)) ,

    which is U, or more where the group's own squares are above the cap. So X >= -b with b = N cap / (n-1), whatever
    the residuals are, and X >= U, which has mean W_1 and variance at most s^2 by (1) and (2). Write c = W_1 + b and
    k = 1 + s^2 / c^2. For every lambda > 0, E exp(-lambda (X + b)) is at most its value for the law on {0, k c} with
    mean c and second moment c^2 + s^2. *Proof.* Let q be the parabola with q(0) = 1 that touches exp(-lambda y) at
    y = k c. It is above the exponential for y >= 0 (the lemma of the moment certificate), and falls up to its vertex,
    beyond k c. Let p be q up to the vertex and constant from there on: p falls everywhere and is above the exponential
    for y >= 0. Then E exp(-lambda (X + b)) <= E p(X + b) <= E p(max(U + b, 0)) <= E q(U + b), which is at most the
    value for the two-point law since q is convex. Hence, with kl of two Bernoulli laws and y < 1,

        P( mean of X over the groups + b <= y c ) <= exp( -G kl(y/k, 1/k) ) ,

    and every W_1 for which what came has a probability below its share of alpha is excluded. s^2 needs v from above.
    The m squares |r|^2 are not negative and have second moment at most K v^2, so the same inequality bounds their
    mean, with K for k. Since W_1 <= v, no more than that bound of v is returned.

    Assumptions: p = 1/2; pairs independent and uniform, drawn after the claim was committed; E |r|^4 <= K (E |r|^2)^2
    for the residual of the claim that is judged, whichever it is, seed noise included.

    Parameters
    ----------
    residual, characters : as for :func:`gap_estimate`; every entry of ``characters`` is +1 or -1.
    alpha : probability that the bound fails.
    kurtosis : K, at least 1.
    n_groups : G, at least 1, with 2 pairs or more in each; fixed before the draw.
    cap : largest mean of |r|^2 that is taken off in a group, above 0, in the residual's unit squared; fixed before the
        draw. Any value holds. About 1.2 v costs least (``products_plan.plan_by_moments``).

    Raises
    ------
    ArgumentError
        A number out of range, or too few pairs.
    """
    m, n_units = len(residual), characters.shape[1]
    if not (kurtosis >= 1 and cap > 0 and 0 < alpha < 1 and n_groups >= 1):
        raise ArgumentError(
            "products: expected a kurtosis of at least 1, a cap above 0, alpha between 0 and 1 and at least one group, "
            f"got {kurtosis}, {cap}, {alpha} and {n_groups}"
        )
    if m < 2 * n_groups:
        raise ArgumentError(f"products: expected at least {2 * n_groups} pairs for {n_groups} groups, got {m}")
    floor = fraction_left(m, kurtosis, SCALE_SHARE * alpha)
    if floor == 0:
        return float("inf")
    v_most = float((residual**2).sum(axis=1).mean()) / floor
    if not max(v_most, cap) < _LARGEST:
        return v_most
    groups = np.array_split(np.arange(m), n_groups)
    mean = float(np.mean([_capped(residual[group], characters[group], cap) for group in groups]))
    smallest = min(len(group) for group in groups)
    law = GroupLaw(n_units=n_units, n_groups=n_groups, size=smallest, cap=cap, kurtosis=kurtosis)
    return law.upper(mean, v_most, (1 - SCALE_SHARE) * alpha)


def fraction_left(n: int, kurtosis: float, alpha: float) -> float:
    """Return y with P(mean of Y < y E Y) <= alpha for n independent Y >= 0 with E Y^2 <= kurtosis (E Y)^2; 0 if none.

    The root of n kl(y/K, 1/K) = ln(1/alpha) below 1.
    """
    goal = -np.log(alpha) / n
    if kurtosis == 1:
        return 1.0
    if -np.log1p(-1 / kurtosis) <= goal:
        return 0.0
    return float(brentq(lambda y: _kl(y / kurtosis, 1 / kurtosis) - goal, 0.0, 1.0, xtol=1e-12))


def _kl(a: float, b: float) -> float:
    """Divergence of the Bernoulli law of mean a from that of mean b."""
    return float(special.rel_entr(a, b) + special.rel_entr(1 - a, 1 - b))


def _capped(residual: Float64[np.ndarray, "n t"], characters: Float64[np.ndarray, "n u"], cap: float) -> float:
    """X of one group."""
    n, n_units = characters.shape
    total = ((residual.T @ characters) ** 2).sum()
    return float((total - n_units * min((residual**2).sum(), n * cap)) / (n * (n - 1)))


@dataclass(frozen=True, kw_only=True)
class GroupLaw:
    """What the mean of X over the groups can be, given W_1 and v."""

    n_units: int
    n_groups: int
    size: int
    cap: float
    kurtosis: float

    @property
    def floor(self) -> float:
        """b: no X is below -b."""
        return self.n_units * self.cap / (self.size - 1)

    def variance(self, gap: float, v: float) -> float:
        """s^2: Var U of one group at most; (m-2) / (m (m-1)) <= 1 / (m+1), and so it falls with the group's size."""
        along = max(along_factor(self.kurtosis) * v * gap - gap**2, 0.0)
        across = max((self.n_units + 2 * (self.kurtosis - 1)) * v**2 - gap**2, 0.0)
        return 4 * along / (self.size + 1) + 2 * across / (self.size * (self.size - 1))

    def excludes(self, gap: float, mean: float, v: float, alpha: float) -> bool:
        """Whether a mean as small as this one has probability at most alpha when W_1 is ``gap``."""
        below = (mean + self.floor) / (gap + self.floor)
        if below >= 1:
            return False
        k = 1 + self.variance(gap, v) / (gap + self.floor) ** 2
        return bool(self.n_groups * _kl(max(below, 0.0) / k, 1 / k) >= -np.log(alpha))

    def upper(self, mean: float, v: float, alpha: float) -> float:
        """The largest W_1 up to v that is not excluded; on a grid in steps of 1%, of which the next point is taken."""
        above = v
        for gap in v * _GRID:
            if not self.excludes(float(gap), mean, v, alpha):
                return above
            above = float(gap)
        return above
