"""One level for every look at the same growing sample of families (THEORY 10).

A session that looks L times at nested samples of n_1 < ... < n_L families and stops at the first decision has L
chances to be wrong. A union bound would spend delta / L on each look; but the looks share families, so their errors
come together, and one common level well above delta / L keeps the whole session at delta.

The level is that of the simplest bound of this kind: S_j, a chi-square with n_j degrees of freedom, grows from look to
look by independent chi-squares, and a look errs when S_j is below its own lower quantile at the level. The probability
that some look errs is an integral over n_1, n_2 - n_1, ..., evaluated by quadrature: nothing is simulated, so every
machine finds the same number.

What the level is used for, and why it serves there. (a) A contrast of two mean squares, MSB - F MSW: both are nested
sums, and the rate at which some look errs was never above that of MSB alone, at which the level is set
(tests/protocol/certificate/gaussian/test_looks.py). (b) Upper quantiles and means with Student's error: there looks
hang together more than in the lower tail of a chi-square, so the level errs less often. (c) Fewer degrees of freedom
than families (kurtosis): at half of them some look errs with probability 1.03 delta at most.
Assumption: residuals are Gaussian, as in the certificate that looks.

Letters: n_j families up to look j; m = n_(j+1) - n_j; c_j the lower quantile at the level; L looks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import lru_cache
from math import floor, log10

import numpy as np
from jaxtyping import Float64
from scipy import special
from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq

from protocol.errors import ArgumentError

MIN_GROWTH = 1.05
"""Each look has at least this many times the families of the one before: closer looks gain nothing, and the quadrature
is accurate to 1% of the level (0.1% where looks grow by 1.2) for these only."""

_LEAST, _MOST = 1e-10, 0.999  # of delta, for which the level is found by quadrature
_TAIL = 1e-13  # probability beyond which the range of an integral is cut off
_NODES = 200  # of the interpolation in S_j, on either side of the next quantile
_QUADRATURE = np.polynomial.legendre.leggauss(60)
_SAFETY = 0.99  # for the quadrature's error; the level is then rounded down to three digits
_DIGITS = 3

_Curve = Callable[[Float64[np.ndarray, "*x"]], Float64[np.ndarray, "*x"]]


def check_growth(n_families: tuple[int, ...]) -> None:
    """Raise :class:`ArgumentError` unless there is a look and each has MIN_GROWTH times the families before it."""
    if not n_families or n_families[0] < 1:
        raise ArgumentError(f"looks: expected at least one look of at least one family, got {n_families}")
    for before, after in itertools.pairwise(n_families):
        if after < MIN_GROWTH * before:
            raise ArgumentError(
                f"looks: expected at each look at least {MIN_GROWTH:g} times the families before it, got {after} after "
                f"{before}: ask for fewer looks"
            )


@lru_cache(maxsize=1024)
def shared_level(n_families: tuple[int, ...], delta: float) -> float:
    """Return the level at which every look may be taken so that some look errs with probability at most ``delta``.

    Parameters
    ----------
    n_families : families in all up to each look, ascending: (25, 40, 64) looks at 25, then at 15 and 24 more.
    delta : what the whole session may spend, strictly between 0 and 1; ``delta`` itself for a single look.

    Returns
    -------
    The level, at least about delta / L, rounded down to three digits: these are the same on every machine. For a delta
    so small that the quadrature does not resolve it, delta / L, which holds whatever looks have in common.

    Raises
    ------
    ArgumentError
        delta out of range, or looks closer than MIN_GROWTH.
    """
    if not 0 < delta < 1:
        raise ArgumentError(f"delta: expected a probability strictly between 0 and 1, got {delta}")
    check_growth(n_families)
    if len(n_families) == 1:
        return delta
    if delta < _LEAST:
        return delta / len(n_families)
    delta = min(delta, _MOST)
    low, high = np.log(0.9 * delta / len(n_families)), np.log(delta)
    found = _SAFETY * np.exp(brentq(lambda log: some_look_errs(n_families, float(np.exp(log))) - delta, low, high))
    exponent = floor(log10(found)) - _DIGITS + 1
    return float(f"{floor(found / 10.0**exponent)}e{exponent}")


def some_look_errs(n_families: tuple[int, ...], level: float, degrees: float = 1.0) -> float:
    """Return the probability that S_j < c_j at some look j, each look being taken at ``level``.

    Worked backwards: h_j(x) is the probability that no later look errs when S_j = x, an integral of h_(j+1) over the
    next increment from c_(j+1) - x on.

    Parameters
    ----------
    degrees : degrees of freedom of one family; below 1 for the kurtosis that the certificate allows for.
    """
    n = degrees * np.asarray(n_families, dtype=np.float64)
    cut = 2 * special.gammaincinv(n / 2, level)
    later: _Curve | None = None
    for j in range(len(n) - 2, -1, -1):
        x = _grid(cut[j], cut[j + 1], _largest(n[j]))
        h = _no_error(x, cut[j + 1], n[j + 1] - n[j], later)
        later = _held(PchipInterpolator(x, h), x[-1])
    return float(1 - _no_error(np.zeros(1), cut[0], n[0], later)[0])


def _grid(low: float, knot: float, high: float) -> Float64[np.ndarray, " x"]:
    """Points from ``low`` to ``high``, dense just below ``knot``, above which the next look cannot err."""
    knot, unit = min(knot, high), np.linspace(0, 1, _NODES)
    below = knot - (knot - low) * (1 - unit) ** 2
    return below if high <= knot else np.concatenate([below, knot + (high - knot) * unit[1:]])


def _no_error(x: Float64[np.ndarray, " x"], cut: float, m: float, later: _Curve | None) -> Float64[np.ndarray, " x"]:
    """E[later(x + D); x + D > cut] for a chi-square D with m degrees of freedom.

    The integral is over t = sqrt(D), whose density is smooth; that of D is infinite at 0 for m = 1.
    """
    nodes, weights = _QUADRATURE
    least, most = np.sqrt(2 * special.gammaincinv(m / 2, _TAIL)), np.sqrt(_largest(m))
    start = np.clip(np.sqrt(np.maximum(cut - x, 0.0)), least, most)[:, None]
    t = (start + most) / 2 + (most - start) / 2 * nodes
    log_density = (m - 1) * np.log(t) - t**2 / 2 - (m / 2 - 1) * np.log(2) - special.gammaln(m / 2)
    values = np.exp(log_density) * (most - start) / 2 * weights
    return np.asarray((values if later is None else values * later(x[:, None] + t**2)).sum(axis=1))


def _held(curve: PchipInterpolator, end: float) -> _Curve:
    """The curve, and its last value beyond its end, where it is 1 but for _TAIL."""
    return lambda x: np.asarray(curve(np.minimum(x, end)))


def _largest(degrees: float) -> float:
    return float(2 * special.gammainccinv(degrees / 2, _TAIL))
