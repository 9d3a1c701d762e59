"""From the figures of claims fitted to a part of the evaluations to those of the claim fitted to all, and to more.

Letters: n evaluations, N units, W_1 the weight at degree one, v the noise, as in ``prover.fitting.curve``.

Ridge has that curve, and a claim that is the mean of folds' claims follows it where n is several N. Below, figures are
left as they were measured, which the claim is no worse than (``direct``): about n = N the curve may fall to nothing
on an estimate of no noise, and what is signed would flatter.
Least squares leaves a gap of v N / (n - N) for Gaussian regressors, and nearly for characters.
LASSO has no such law without knowing how sparse the best scores are: its figures are left as they were measured, a
little worse than the claim's own, and its gap is taken to fall as 1/n, as it does for a fixed number of units.

A gap is stated with its standard error added (``Quality.figures``), which moves as the gap does.
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
    before, after = _moved(method, known, n_fitted=n_fitted, n=n, n_units=n_units)
    return replace(
        heldout,
        relative_gap=heldout.relative_gap * (after / before if before > 0 else 1.0),
        odd_residual=max(heldout.odd_residual - (before - after), 0.0),
        r2=min(heldout.r2 + (before - after), 1.0),
    )


def needed(
    method: Method,
    known: Moments,
    quality: Quality,
    stated: Figures,
    *,
    gap: float,
    n_fitted: float,
    n: int,
    n_units: int,
) -> float:
    """Return the evaluations at which the stated gap, error included, falls to ``gap`` (above 0).

    quality : held-out figures, of claims fitted to ``n_fitted`` evaluations. stated : of the claim fitted to all n.
    """
    if method is Method.LASSO:
        return n * stated.relative_gap / gap
    before, after = _moved(method, known, n_fitted=n_fitted, n=n, n_units=n_units)
    # The error is in proportion to the residual's mean square, and falls as 1/n beside that.
    falls = (known.noise + gap) / stated.odd_residual if stated.odd_residual > 0 else 1.0
    error = n * quality.mean_gap_error * (after / before if before > 0 else 1.0) * min(falls, 1.0)
    least = max(_needed(method, known, gap=gap, n_units=n_units), error / gap)
    if least == 0:
        return 0.0
    return max(_needed(method, known, gap=gap / (1 + error / least / gap), n_units=n_units), least)


def _moved(method: Method, known: Moments, *, n_fitted: float, n: int, n_units: int) -> tuple[float, float]:
    """Return the gaps after ``n_fitted`` evaluations and after n; the same where figures are left as measured."""
    if method is Method.LASSO or (method is Method.RIDGE and n_fitted < PLENTY_PER_UNIT * n_units):
        return 0.0, 0.0
    before = _gap(method, known, n=n_fitted, n_units=n_units)
    return before, _gap(method, known, n=n, n_units=n_units)


def _needed(method: Method, known: Moments, *, gap: float, n_units: int) -> float:
    """Return the evaluations at which the gap itself falls to ``gap``, by ridge or least squares."""
    if method is Method.LEAST_SQUARES:
        return n_units * (1 + known.noise / gap)
    return evaluations_needed(gap=gap, n_units=n_units, signal=known.signal, noise=known.noise)


def _gap(method: Method, known: Moments, *, n: float, n_units: int) -> float:
    if method is Method.LEAST_SQUARES:
        return known.noise * n_units / (n - n_units)
    return ridge_gap(n=n, n_units=n_units, signal=known.signal, noise=known.noise)
