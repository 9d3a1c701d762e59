"""From the figures of claims fitted to a part of the evaluations to those of the claim fitted to all, and to more.

Letters: n evaluations, N units, W_1 the weight at degree one, v the noise, as in ``prover.fitting.curve``.

Ridge has that curve, and a claim that is the mean of folds' claims follows it where n is several N. Below, figures are
left as they were measured, which the claim is no worse than (``direct``): about n = N the curve may fall to nothing
on an estimate of no noise, and what is signed would flatter.
Least squares leaves a gap of v N / (n - N) for Gaussian regressors, and nearly for characters.
LASSO has no such law without knowing how sparse the best scores are: its figures are left as they were measured, a
little worse than the claim's own, and its gap is taken to fall as 1/n, as it does for a fixed number of units.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from protocol.claim import Figures
from prover.fitting.curve import evaluations_needed, noise_from_moments, ridge_gap
from prover.fitting.heldout import Quality, Spread
from prover.fitting.method import PLENTY_PER_UNIT, Method


@dataclass(frozen=True, kw_only=True)
class Moments:
    """What planning needs, as shares of Var f and means over targets (``prover.fitting.curve``).

    signal : W_1. noise : v, the variance in what is fitted that no scores explain.
    """

    signal: float
    noise: float


def moments(method: Method, quality: Quality, spread: Spread, *, n_fitted: float, n_units: int) -> Moments:
    """Return the moments that explain what claims fitted to ``n_fitted`` evaluations leave of held-out ones."""
    total, residual = quality.mean(spread.relative(spread.fitted)), quality.mean(quality.odd_residual)
    match method:
        case Method.RIDGE:
            noise = noise_from_moments(n=n_fitted, n_units=n_units, total=total, residual=residual)
        case Method.LEAST_SQUARES:
            noise = residual * (1 - n_units / n_fitted)  # v + v N / (n - N) is what is left
        case Method.LASSO:
            noise = min(max(residual - quality.mean_gap, 0.0), total)
    return Moments(signal=max(total - noise, 0.0), noise=noise)


def figures(
    method: Method, quality: Quality, known: Moments, *, n_fitted: float, n: int, n_units: int, sides: int
) -> Figures:
    """Return the figures of the claim fitted to all n evaluations of ``sides`` retrainings each."""
    heldout = quality.figures(n * sides)
    if method is Method.LASSO or (method is Method.RIDGE and n_fitted < PLENTY_PER_UNIT * n_units):
        return heldout
    before = _gap(method, known, n=n_fitted, n_units=n_units)
    after = _gap(method, known, n=n, n_units=n_units)
    return replace(
        heldout,
        relative_gap=heldout.relative_gap * (after / before if before > 0 else 1.0),
        odd_residual=max(heldout.odd_residual - (before - after), 0.0),
        r2=min(heldout.r2 + (before - after), 1.0),
    )


def needed(method: Method, known: Moments, reached: float, *, gap: float, n: int, n_units: int) -> float:
    """Return the evaluations at which the gap falls to ``gap`` (above 0), where n reached ``reached``."""
    match method:
        case Method.RIDGE:
            return evaluations_needed(gap=gap, n_units=n_units, signal=known.signal, noise=known.noise)
        case Method.LEAST_SQUARES:
            return n_units * (1 + known.noise / gap)
        case Method.LASSO:
            return n * reached / gap


def _gap(method: Method, known: Moments, *, n: float, n_units: int) -> float:
    if method is Method.LEAST_SQUARES:
        return known.noise * n_units / (n - n_units)
    return ridge_gap(n=n, n_units=n_units, signal=known.signal, noise=known.noise)
