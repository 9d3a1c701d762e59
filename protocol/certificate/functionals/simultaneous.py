"""Intervals of means over families that all hold at once, and how many families make them narrow (THEORY 9).

The error is Student's with corrections of the third and fourth moment (:func:`margins`). ASSUMPTION: the mean over B
families is near enough to Gaussian for those corrections. It fails for values that rest on rare subsets: no sample of B
families shows what happens on a share of subsets below about ln(1/delta)/B, and then the interval misses. How often is
measured, inside and outside of that, by benchmarks/payout_intervals_cover.py.

Letters: B families, K functionals; alpha the probability that one end of one interval fails, delta that any does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Float64

from protocol.certificate import quantiles
from protocol.errors import ArgumentError

FEWEST_FAMILIES = 100
FEWEST_ROWS = 200
"""The floors of payouts. Below them intervals miss too often where an error is the cube of a count (measured)."""

RESERVE = 50.0
"""Of alpha, RESERVE/(B + RESERVE) is kept back for large values that B families have not shown (measured)."""

_GROWTH = 1.1  # at least, from one look to the next
_CUSHION = 0.67  # a normal quantile: three plans of four reach the width they are made for
_MOST_FAMILIES = 1 << 40  # where doubling ends; nobody trains as often


@dataclass(frozen=True, kw_only=True, eq=False)
class Intervals:
    """Estimates with intervals that all hold at once with probability 1 - delta, in the unit of the functionals."""

    delta: float
    estimate: Float64[np.ndarray, " k"]
    lower: Float64[np.ndarray, " k"]
    upper: Float64[np.ndarray, " k"]

    @property
    def half_width(self) -> Float64[np.ndarray, " k"]:
        """Half the length of each interval."""
        return np.asarray((self.upper - self.lower) / 2)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Moments:
    """Standard deviation, kurtosis and skewness of a family's value, each of shape (K,)."""

    spread: Float64[np.ndarray, " k"]
    kurtosis: Float64[np.ndarray, " k"]
    skewness: Float64[np.ndarray, " k"]

    def margins(self, n: int, alpha: float) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
        """Return how far the truth may be below and above the mean of n families, each with probability 1 - alpha."""
        level = alpha * n / (n + RESERVE)
        z = NormalDist().inv_cdf(1 - level)
        with np.errstate(divide="ignore"):
            degrees = np.clip(2 * n / (self.kurtosis - 1), 1.0, n - 1.0)
        student = np.array([-quantiles.t_quantile(level, float(d)) for d in degrees])
        tilt = self.skewness * (1 + 2 * z * z) / (6 * math.sqrt(n))
        error = self.spread / math.sqrt(n - 1)
        return np.asarray(error * (student + np.maximum(-tilt, 0))), np.asarray(error * (student + np.maximum(tilt, 0)))


def _moments(values: Float64[np.ndarray, "b k"]) -> _Moments:
    """Sample moments; a kurtosis is at least the mean of all, because a sample of one seldom shows it in full."""
    centred = values - values.mean(axis=0)
    square = (centred**2).mean(axis=0)
    spread = np.sqrt(square)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.where(spread > 0, centred / spread, 0.0)
    kurtosis = np.maximum((scaled**4).mean(axis=0), 1.0)
    return _Moments(spread=spread, kurtosis=np.maximum(kurtosis, kurtosis.mean()), skewness=(scaled**3).mean(axis=0))


def margins(
    values: Float64[np.ndarray, "b k"], alpha: float
) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
    """Return (below, above): the truth is at least mean - below, and at most mean + above, each but for alpha.

    Student's error of the mean over families with three changes, each of which fades as families are added:

    - degrees min(B - 1, 2B/(kurtosis - 1)), the freedom that a sample variance has at that kurtosis. The kurtosis is
      the values' own, and at least the average over functionals.
    - on the side of the longer tail, the error grows by skewness (1 + 2 z^2)/(6 sqrt B): the first term of Cornish and
      Fisher's expansion of Student's ratio (Johnson 1978). The other side is not shortened.
    - the level is alpha B/(B + 50) in place of alpha.

    ASSUMES that the mean over families is near Gaussian up to these corrections: see the module. Measured by
    benchmarks/payout_intervals_cover.py.

    Raises
    ------
    ArgumentError
        Fewer than 3 families, values that are not finite, or an alpha outside (0, 1/2).
    """
    if not 0 < alpha < 0.5:
        raise ArgumentError(f"the probability that an interval fails must lie between 0 and 1/2, not {alpha}")
    if len(values) < 3 or not bool(np.isfinite(values).all()):
        raise ArgumentError(f"intervals need finite values of at least 3 families, got {len(values)} families")
    return _moments(values).margins(len(values), alpha)


def intervals(values: Float64[np.ndarray, "b k"], *, delta: float) -> Intervals:
    """Return intervals of the K column means that all hold at once with probability 1 - delta (Bonferroni).

    values : shape (B, K); those of an estimator, or ``values @ L.T`` for a functional of K rows. Assumptions and errors
        are those of :func:`margins` at alpha = delta/(2K).
    """
    below, above = margins(values, delta / (2 * values.shape[1]))
    estimate = values.mean(axis=0)
    return Intervals(delta=delta, estimate=estimate, lower=estimate - below, upper=estimate + above)


def look_share(look: int) -> float:
    """Return the part of delta that look 1, 2, 3, .. spends: .1, .5, .2, .1, .05, ..; they add up to 1.

    For sessions that go on until intervals are narrow: the first look serves to plan, the second is the planned end. A
    session that looks once spends all of delta on it. Raises ArgumentError for a look below 1.
    """
    if look < 1:
        raise ArgumentError(f"looks are counted from 1, not {look}")
    return 0.1 if look == 1 else 0.5 if look == 2 else 0.4 / 2 ** (look - 2)


def families_for(values: Float64[np.ndarray, "b k"], half_width: float, *, alpha: float) -> int:
    """Return how many families in all make every margin at most ``half_width``, judged by a first batch.

    The batch's own moments are used, its standard deviations larger by 0.67 of their standard errors. Never less than
    the floor of families, nor than 1.1 times the batch.

    Whoever looks again and stops once intervals are narrow may give each look a share of delta (:func:`look_share`);
    then nothing more is assumed. With the whole of delta at every look the level has been *measured* to hold, up to
    dozens of looks 5% apart (benchmarks/payout_intervals_cover.py, "stopping"), but only for sessions that stop on the
    width and on nothing else: not on an estimate, nor on whether an amount lies outside. A width does not say in which
    direction an estimate errs, so to first order a stop on it changes nothing (Anscombe 1952; Chow and Robbins 1965).

    Parameters
    ----------
    values : a first batch's values of the functionals (``shares.share_values`` where shares are asked for).
    half_width : in their unit, above 0.
    alpha : of one end of one interval at the look that is planned, delta/(2K) of that look's delta.

    Raises
    ------
    ArgumentError
        A width that is not above 0, or as :func:`margins`.
    """
    if not half_width > 0:
        raise ArgumentError(f"the half-width of intervals must be above 0, not {half_width}")
    margins(values, alpha)  # checks the arguments
    found = _moments(values)
    doubt = 1 + _CUSHION * np.sqrt((found.kurtosis - 1) / (4 * len(values)))

    def narrow(n: int) -> bool:
        below, above = found.margins(n, alpha)
        return bool(((below + above) / 2 * doubt <= half_width).all())

    fewest = max(FEWEST_FAMILIES, math.ceil(_GROWTH * len(values)))
    high = fewest
    while not narrow(high) and high < _MOST_FAMILIES:
        high *= 2
    low = high // 2 if high > fewest else high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if narrow(middle) else (middle, high)
    return high
