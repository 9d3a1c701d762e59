"""Bounds on the relative gap where every subset was trained several times, each time with a seed of its own.

f(x) is the mean output of subset x over seeds, and an output is f(x) + noise. No subset is left out, so the noise is
all that is unknown. ASSUMPTIONS of every bound here: outputs lie in [lo, hi]; all 2^N k trainings are independent,
given the claim; the k of one subset have the same law. Nothing is assumed of the noise's size, shape or dependence on
the subset or across targets, and nothing is asymptotic.

Both bounds hold for either meaning of a relative gap. The upper one bounds the gap's share of Var E[f|x], and so its
share of an output's variance, which is larger by the noise. The lower one bounds the share of an output's variance,
and so that of Var E[f|x].

How. Let W (T, N) be the residual's coefficients of degree one, so that |W|^2 is the gap; W^ their estimate from means
over seeds; v = W/|W|, which is unknown but fixed. Then |W| = <W^, v> + <W - W^, v> <= |W^| + t, where t bounds the
noise along *one* fixed direction: it does not grow with N, as a bound of |W^ - W| would. The same step bounds the
standard deviation |f - E f| from above. From below, <f, h> <= |f - E f| for every h of norm 1: the claim's linear part,
and what one half of the seeds suggests, tested on the other half. |W| has its lower bound likewise.

The noise along a fixed direction a(x), E|a|^2 = 1, is a sum of independent terms pi(x) <y - f, a>/k. ``deviation`` is
the smaller of two bounds: Hoeffding's, from the ranges; and Bernstein's, from a variance that pairs of seeds of one
subset estimate without bias, however much subsets differ (as Maurer and Pontil 2009, but for sums of unlike terms).

Letters: N units, T targets, k seeds a subset, pi(x) its probability under B_p; D the ranges' root sum of squares, each
times the root of its target's weight; L = ln(1/alpha).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float64
from scipy.optimize import brentq

from protocol.certificate import concentration
from protocol.certificate.exhaustive import exact
from protocol.certificate.terms import Across
from protocol.errors import ArgumentError
from protocol.game import harmonic

_Seeds: TypeAlias = Float64[np.ndarray, "m _ t"]
_QUICK = 0.25  # of a deviation's level, spent on Hoeffding's bound where Bernstein's is tried beside it


@dataclass(frozen=True, kw_only=True, eq=False)
class NoisyCertificate:
    """Bounds on the relative gap, and what makes them up.

    ``upper`` and ``lower`` have one row pooled or across the mean, or one a target. The other arrays have one a bound
    that was computed: one pooled, else one a target (across the mean the bounds of all targets are averaged).

    upper : with probability 1 - delta over all rows at once, no row's gap is a larger share of Var E[f|x]. Infinite
        where the seeds leave no lower bound on a variance.
    lower : likewise, no row's gap is a smaller share of an output's variance.
    error : |W^|, the claim's error as estimated, noise included. noise : t.
    spread_lower, spread_upper : of sqrt(Var E[f|x]) from below, and of an output's standard deviation from above.
    """

    across: Across
    delta: float
    n_seeds: int
    upper: Float64[np.ndarray, " r"]
    lower: Float64[np.ndarray, " r"]
    error: Float64[np.ndarray, " c"]
    noise: Float64[np.ndarray, " c"]
    spread_lower: Float64[np.ndarray, " c"]
    spread_upper: Float64[np.ndarray, " c"]

    @property
    def upper_bound(self) -> float:
        """No row's relative gap is above this."""
        return float(self.upper.max())

    @property
    def lower_bound(self) -> float:
        """Some row's relative gap is at least this."""
        return float(self.lower.max())


def certify_noisy(
    outputs: Float64[np.ndarray, "m k t"],
    scores: Float64[np.ndarray, "t n"],
    *,
    p: float,
    lo: Float64[np.ndarray, " t"],
    hi: Float64[np.ndarray, " t"],
    delta: float,
    across: Across,
    weights: Float64[np.ndarray, " w"] | None = None,
) -> NoisyCertificate:
    """Return the bounds of a claim from k independent trainings of each of the 2^N subsets.

    Parameters
    ----------
    outputs : in [lo, hi]; subsets in the order of ``exact.subsets``.
    delta : probability that the upper bound fails, and likewise the lower, over all rows.
    weights : pooled only: at least 0, fixed before these outputs and, if a prover's claim is judged, not by the claim.

    Raises
    ------
    ArgumentError
        Shapes that do not fit, p or delta out of range, outputs outside [lo, hi], or no weights when pooled.
    """
    n_targets = outputs.shape[2]
    _check(outputs, scores, lo, hi, delta)
    if across is Across.POOLED:
        if weights is None or weights.shape != (n_targets,) or not bool((weights >= 0).all()):
            raise ArgumentError("pooled: expected a weight of at least 0 for every target")
        rows = [_Row(outputs, scores, hi - lo, np.sqrt(weights), p)]
    else:
        one = np.ones(1)
        rows = [
            _Row(outputs[:, :, t : t + 1], scores[t : t + 1], (hi - lo)[t : t + 1], one, p) for t in range(n_targets)
        ]
    columns = [row.columns(delta / len(rows)) for row in rows]
    found = {name: np.array([column[name] for column in columns]) for name in columns[0]}
    if across is Across.MEAN:
        found |= {name: found[name].mean(keepdims=True) for name in ("upper", "lower")}
    return NoisyCertificate(across=across, delta=delta, n_seeds=outputs.shape[1], **found)


def _check(
    outputs: Float64[np.ndarray, "m k t"],
    scores: Float64[np.ndarray, "t n"],
    lo: Float64[np.ndarray, " t"],
    hi: Float64[np.ndarray, " t"],
    delta: float,
) -> None:
    n_units, (_, n_seeds, n_targets) = exact.n_units_of(outputs), outputs.shape
    if scores.shape != (n_targets, n_units):
        raise ArgumentError(f"expected scores of shape {(n_targets, n_units)}, got {scores.shape}")
    if n_seeds < 1 or n_targets < 1:
        raise ArgumentError(f"expected at least one seed a subset and one target, got {n_seeds} and {n_targets}")
    if not 0 < delta < 1:
        raise ArgumentError(f"delta: expected a probability strictly between 0 and 1, got {delta}")
    if not bool(((lo <= outputs) & (outputs <= hi)).all()):
        raise ArgumentError("expected outputs within the targets' ranges, got others")


@dataclass(frozen=True, kw_only=True)
class Direction:
    """What bounds the noise along one direction a(x), E|a|^2 = 1: sums and maxima over subsets.

    ranges : sum of pi^2 times the squared width of <y, a>'s range. largest : the most that pi times that width is.
    seen : sum of pi^2 times the variance of <y, a> over seeds as pairs of seeds show it, or at least that.
    """

    ranges: float
    largest: float
    seen: float


def deviation(direction: Direction, n_seeds: int, alpha: float) -> float:
    """Return t: a mean over ``n_seeds`` seeds is more than t on the wrong side along the direction with chance alpha.

    The direction is a constant, known or not. *Hoeffding*: sqrt(L ranges/(2k)). *Bernstein*: with V the variance of the
    sum and b = largest/k, t = L b/3 + sqrt((L b/3)^2 + 2 L V). V is unknown; its estimate from floor(k/2) disjoint
    pairs of seeds a subset is a sum of independent terms in [0, B], B = largest^2/(2 k floor(k/2)), with mean V, which
    ``mean_from_above`` bounds.

    A quarter of alpha goes to Hoeffding; of the rest half to V and half to the deviation. With one seed a subset
    Hoeffding has all.
    """
    if n_seeds < 2:
        return _hoeffding(direction, n_seeds, alpha)
    each = (1 - _QUICK) * alpha / 2
    sharp = direction.largest**2 / (2 * n_seeds * (n_seeds // 2))
    variance = mean_from_above(direction.seen / n_seeds, sharp, each)
    careful = concentration.bernstein(variance, direction.largest / n_seeds, 1, each)
    return min(_hoeffding(direction, n_seeds, _QUICK * alpha), careful)


def _hoeffding(direction: Direction, n_seeds: int, alpha: float) -> float:
    return float(np.sqrt(-np.log(alpha) * direction.ranges / (2 * n_seeds)))


def mean_from_above(seen: float, largest: float, alpha: float) -> float:
    """Return a bound, at level alpha, on the mean V of a sum of independent terms in [0, largest], whose value came.

    The terms need not be alike. (V - seen + seen ln(seen/V))/largest = L has one root above ``seen``; it is returned.
    *Proof.* exp(-s q) <= 1 - (q/B)(1 - exp(-s B)) for q in [0, B], for the left side is convex. So the sum has E
    exp(-s sum) <= exp(-(V/B)(1 - exp(-s B))), and by Markov P(sum <= v) <= exp(s v - (V/B)(1 - exp(-s B))), which is
    exp(-(V - v + v ln(v/V))/B) at exp(-s B) = v/V, and falls as V rises.
    """
    if largest == 0:
        return seen
    level, ratio = -float(np.log(alpha)), seen / largest
    if ratio == 0:
        return level * largest
    most = (np.sqrt(level / 2) + np.sqrt(ratio + level / 2)) ** 2  # the same from a quadratic bound of exp(-s q)
    root = brentq(lambda u: u - ratio - ratio * np.log(u / ratio) - level, ratio, most * (1 + 1e-9) + 1e-9)
    return float(min(root * (1 + 1e-9), most) * largest)


class _Row:
    """One bound: some targets as one vector, each times the root of its weight."""

    def __init__(
        self,
        outputs: Float64[np.ndarray, "m k t"],
        scores: Float64[np.ndarray, "t n"],
        widths: Float64[np.ndarray, " t"],
        roots: Float64[np.ndarray, " t"],
        p: float,
    ) -> None:
        n_units = exact.n_units_of(outputs)
        self.n_seeds = outputs.shape[1]
        self.chances, self.phi = exact.probabilities(n_units, p), exact.characters(n_units, p)
        centre = outputs.mean(axis=(0, 1))  # a constant shift changes nothing below but rounding
        self.outputs, self.widths = (outputs - centre) * roots, widths * roots
        self.means = self.outputs.mean(axis=1)
        self.coefficients = harmonic.coefficients_from_weights(scores * roots[:, None], p)
        self.size = float(np.linalg.norm(self.coefficients))
        self.wrong = self._degree_one(self.means - self.phi @ self.coefficients.T)
        self.seen = _variances_seen(self.outputs)

    def columns(self, delta: float) -> dict[str, float]:
        """The row of :class:`NoisyCertificate`. The upper bound spends half of delta each on W and on the variance."""
        error, noise = float(np.linalg.norm(self.wrong)), deviation(self._unknown_linear(), self.n_seeds, delta / 2)
        least, most = self._spread_from_below(delta / 2), self._spread_from_above(delta / 2)
        return {
            "upper": ((error + noise) / least) ** 2 if least > 0 else np.inf,
            "lower": (self._error_from_below(delta / 2) / most) ** 2 if most > 0 else 0.0,
            "error": error,
            "noise": noise,
            "spread_lower": least,
            "spread_upper": most,
        }

    def _unknown_linear(self) -> Direction:
        """Of v phi for any v of norm 1: |v phi| <= |phi|, and sums of squares through largest eigenvalues."""
        reach = float(np.linalg.norm(self.widths))
        squares = self.chances**2
        return Direction(
            ranges=reach**2 * largest_eigenvalue(self.phi, squares),
            largest=reach * float((self.chances * np.linalg.norm(self.phi, axis=1)).max()),
            seen=largest_eigenvalue(self.phi, squares * self.seen),
        )

    def _unknown(self) -> Direction:
        """Of any h with E|h|^2 = 1: pi |h|^2 <= 1, so sum pi^2 |h|^2 <= max pi."""
        reach, most = float(np.linalg.norm(self.widths)), float(self.chances.max())
        return Direction(
            ranges=reach**2 * most, largest=reach * most**0.5, seen=float((self.chances * self.seen).max())
        )

    def _spread_from_below(self, alpha: float) -> float:
        """|f - E f| >= <f, h>: h the claim's linear part, and one half of the seeds' means tested on the other half."""
        found, split = [0.0], self.n_seeds >= 2
        level = alpha / max((self.size > 0) + split, 1)  # which are tried depends on no output
        if self.size > 0:
            found.append(self._along(self._linear(self.coefficients), self.outputs, level))
        for one, other in self._halves() if split else ():
            means = one.mean(axis=1)
            found.append(self._along(means - self.chances @ means, other, level / 2))
        return max(found)

    def _error_from_below(self, alpha: float) -> float:
        """|W| >= <W, u>: u the claim's own direction, either way, and one half's W^ tested on the other half."""
        found, split = [0.0], self.n_seeds >= 2
        level = alpha / max((self.size > 0) + split, 1)  # which are tried depends on no output
        if self.size > 0:
            direction = self._linear(self.coefficients)
            found.append(self._along(direction, self.outputs, level / 2) - self.size)
            found.append(self._along(-direction, self.outputs, level / 2) + self.size)
        for one, other in self._halves() if split else ():
            wrong = self._degree_one(one.mean(axis=1)) - self.coefficients
            claimed = float((self.coefficients * wrong).sum()) / max(float(np.linalg.norm(wrong)), 1e-300)
            found.append(self._along(self._linear(wrong), other, level / 2) - claimed)
        return max(found)

    def _spread_from_above(self, alpha: float) -> float:
        """An output's standard deviation: that of f along its own direction, and the noise's mean square."""
        centred = self.means - self.chances @ self.means
        spread = float(np.sqrt((self.chances @ centred**2).sum()))
        spread += deviation(self._unknown(), self.n_seeds, alpha / 2)
        reach, pairs = float(self.widths @ self.widths), self.n_seeds // 2
        noise = reach / 4  # the most that a variance can be in these ranges
        if pairs:
            largest = reach * float(self.chances.max()) / (2 * pairs)
            noise = min(noise, mean_from_above(float(self.chances @ self.seen), largest, alpha / 2))
        return float(np.sqrt(spread**2 + noise))

    def _along(
        self, direction: Float64[np.ndarray, "m t"], outputs: Float64[np.ndarray, "m k t"], alpha: float
    ) -> float:
        """<f, a> from below, a this direction (of mean 0) over its norm; 0 where it has none."""
        norm = float(np.sqrt((self.chances @ direction**2).sum()))
        if norm == 0:
            return 0.0
        unit = direction / norm
        ranges = self.chances * (np.abs(unit) @ self.widths)
        pairs = _pairs(outputs)
        along = np.zeros((len(unit), 1)) if pairs is None else np.einsum("mpt,mt->mp", pairs, unit)
        stated = Direction(
            ranges=float((ranges**2).sum()),
            largest=float(ranges.max()),
            seen=float((self.chances**2 * (along**2).mean(axis=1)).sum()) / 2,
        )
        value = float((self.chances @ (outputs.mean(axis=1) * unit)).sum())
        return value - deviation(stated, outputs.shape[1], alpha)

    def _halves(self) -> tuple[tuple[_Seeds, _Seeds], tuple[_Seeds, _Seeds]]:
        half = self.n_seeds // 2
        one, other = self.outputs[:, :half], self.outputs[:, half:]
        return (one, other), (other, one)

    def _linear(self, coefficients: Float64[np.ndarray, "t n"]) -> Float64[np.ndarray, "m t"]:
        return np.asarray(self.phi @ coefficients.T)

    def _degree_one(self, values: Float64[np.ndarray, "m t"]) -> Float64[np.ndarray, "t n"]:
        return np.asarray((values * self.chances[:, None]).T @ self.phi)


def _pairs(outputs: Float64[np.ndarray, "m k t"]) -> Float64[np.ndarray, "m p t"] | None:
    """Differences of disjoint pairs of seeds; None where there is one seed."""
    even = outputs.shape[1] // 2 * 2
    return outputs[:, 0:even:2] - outputs[:, 1:even:2] if even else None


def _variances_seen(outputs: Float64[np.ndarray, "m k t"]) -> Float64[np.ndarray, " m"]:
    """Every subset's noise variance, summed over targets, without bias; 0 where there is one seed."""
    pairs = _pairs(outputs)
    return np.zeros(len(outputs)) if pairs is None else np.asarray((pairs**2).sum(axis=2).mean(axis=1) / 2)


def largest_eigenvalue(phi: Float64[np.ndarray, "m n"], weights: Float64[np.ndarray, " m"]) -> float:
    """Return the largest that the sum of weights times <v, phi>^2 can be for |v| = 1."""
    return max(float(np.linalg.eigvalsh((phi * weights[:, None]).T @ phi)[-1]), 0.0)
