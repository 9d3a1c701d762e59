"""Exact analysis of a function that is known on every subset (THEORY 1).

Sums over subsets are weighted by p^k (1-p)^(N-k), whatever p is. Nothing is estimated; what is left is rounding, some
1e-16 of the largest output.

Letters: N units, T targets; x a subset, |x| = k its size, phi_i(x) = (x_i - p)/sqrt(p(1-p)); f the outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from math import comb
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float64

from protocol.certificate.terms import Across
from protocol.errors import ArgumentError
from protocol.game import harmonic

MAX_UNITS = 16
"""2^16 = 65,536 trainings. The caller refuses more before it trains; nothing here depends on it."""
_ROUNDING = 2.0**-40  # relative; a target that varies less does not vary

_Half: TypeAlias = Float64[np.ndarray, "h u t"]
_Step: TypeAlias = Callable[[_Half, _Half], tuple[_Half, _Half]]
"""From the halves without and with a unit to what takes their places."""


def n_units_of(outputs: Float64[np.ndarray, m * rest]) -> int:
    """Return N of outputs with one row for each of 2^N subsets, N at least 1.

    Raises
    ------
    ArgumentError
        The number of rows is no power of two, or is 1.
    """
    n_units = len(outputs).bit_length() - 1
    if n_units < 1 or len(outputs) != 1 << n_units:
        raise ArgumentError(f"expected outputs of all 2^N subsets of at least one unit, got {len(outputs)} rows")
    return n_units


def subsets(n_units: int) -> Bool[np.ndarray, "m n"]:
    """Return all 2^N subsets in their order: row x holds the bits of x, unit 0 first."""
    return (np.arange(1 << n_units)[:, None] >> np.arange(n_units) & 1).astype(bool)


def probabilities(n_units: int, p: float) -> Float64[np.ndarray, " m"]:
    """Return each subset's probability p^k (1-p)^(N-k), shape (2^N,)."""
    _check_p(p)
    found = np.ones(1)
    for _ in range(n_units):  # each unit doubles the list: first without it, then with it
        found = np.concatenate([found * (1 - p), found * p])
    return found


def characters(n_units: int, p: float) -> Float64[np.ndarray, "m n"]:
    """Return phi_i of every subset, shape (2^N, N)."""
    _check_p(p)
    return harmonic.characters(subsets(n_units), p)


def fourier(outputs: Float64[np.ndarray, "m t"], p: float) -> Float64[np.ndarray, "m t"]:
    """Return fhat(S) = E[f phi_S] for every set S of units, in the subsets' own order; phi_S is a product of phi_i.

    Row 0 is the mean, row 2^i the coefficient of unit i, row 2^i + 2^j that of their interaction. At p = 1/2 it is the
    Walsh transform. The squares of all rows but the first add up to Var f (Parseval).
    """
    _check_p(p)
    sd = np.sqrt(p * (1 - p))
    return _butterfly(outputs, lambda out, into: ((1 - p) * out + p * into, sd * (into - out)))


def dividends(outputs: Float64[np.ndarray, "m t"]) -> Float64[np.ndarray, "m t"]:
    """Return Harsanyi's dividends, the Moebius transform: f(x) is the sum of those of all subsets of x. No p enters.

    They are alternating sums of up to 2^N terms, and so lose up to N bits to rounding.
    """
    return _butterfly(outputs, lambda out, into: (out, into - out))


def shapley_values(outputs: Float64[np.ndarray, "m t"]) -> Float64[np.ndarray, "t n"]:
    """Return every unit's Shapley value: its marginal f(x + i) - f(x), averaged over sizes of x, then over x of a size.

    They add up to f(all) - f(none).
    """
    n_units = n_units_of(outputs)
    sizes = subsets(n_units).sum(axis=1)
    by_size = np.array([1 / (n_units * comb(n_units - 1, k)) for k in range(n_units)])
    weights = by_size[np.minimum(sizes, n_units - 1)][:, None]  # of a set without the unit; the full set is never one
    found = np.empty((outputs.shape[1], n_units))
    for i in range(n_units):
        out, into = _split(outputs, i)
        without, _ = _split(weights, i)
        found[:, i] = (without * (into - out)).sum(axis=(0, 1))
    return found


def best_linear(
    outputs: Float64[np.ndarray, "m t"], p: float
) -> tuple[Float64[np.ndarray, " t"], Float64[np.ndarray, "t n"]]:
    """Return the intercepts and scores of the linear predictor with the least mean squared error under B_p."""
    coefficients, mean = _degree_one(outputs, p)
    scores = harmonic.weights_from_coefficients(coefficients, p)
    return mean - p * scores.sum(axis=1), scores


def gaps(
    outputs: Float64[np.ndarray, "m t"], scores: Float64[np.ndarray, "t n"], p: float
) -> Float64[np.ndarray, " t"]:
    """Return each target's gap: by how much more the scores err than the best ones, their intercept left free.

    Computed from the residual, so that a small gap of a good claim keeps its digits.
    """
    n_units = n_units_of(outputs)
    if scores.shape != (outputs.shape[1], n_units):
        raise ArgumentError(f"expected scores of shape {(outputs.shape[1], n_units)}, got {scores.shape}")
    coefficients, _ = _degree_one(outputs - subsets(n_units) @ scores.T, p)
    return np.asarray((coefficients**2).sum(axis=1))


def variances(outputs: Float64[np.ndarray, "m t"], p: float) -> Float64[np.ndarray, " t"]:
    """Return each target's Var f under B_p; 0 where outputs differ by rounding alone."""
    chances = probabilities(n_units_of(outputs), p)
    found = chances @ (outputs - chances @ outputs) ** 2
    return np.where(np.sqrt(found) > _ROUNDING * np.abs(outputs).max(axis=0), found, 0.0)


def relative_gaps(
    gap: Float64[np.ndarray, " t"],
    variance: Float64[np.ndarray, " t"],
    across: Across,
    weights: Float64[np.ndarray, " w"] | None = None,
) -> Float64[np.ndarray, " r"]:
    """Return the relative gap of every row: one pooled or across the mean, or one a target.

    A target that does not vary has none: NaN in its row, and in the mean. Pooled it counts with its gap, and NaN comes
    only where no target of positive weight varies.

    Parameters
    ----------
    weights : at least 0, one a target, fixed before the claim; required when pooled, else unused.
    """
    if across is Across.POOLED:
        gap, variance = (np.array([_weighted(values, weights)]) for values in (gap, variance))
    found = np.divide(gap, variance, out=np.full(len(gap), np.nan), where=variance > 0)
    return np.array([found.mean()]) if across is Across.MEAN else found


def _weighted(values: Float64[np.ndarray, " t"], weights: Float64[np.ndarray, " w"] | None) -> float:
    if weights is None or weights.shape != values.shape or not bool((weights >= 0).all()):
        raise ArgumentError("pooled: expected a weight of at least 0 for every target")
    return float(weights @ values)


def _degree_one(
    outputs: Float64[np.ndarray, "m t"], p: float
) -> tuple[Float64[np.ndarray, "t n"], Float64[np.ndarray, " t"]]:
    """fhat(i) and the mean, by one pass over the subsets; the mean is subtracted first, which costs fewer digits."""
    n_units = n_units_of(outputs)
    chances = probabilities(n_units, p)
    mean = chances @ outputs
    return np.asarray(((outputs - mean) * chances[:, None]).T @ characters(n_units, p)), mean


def _butterfly(outputs: Float64[np.ndarray, "m t"], step: _Step) -> Float64[np.ndarray, "m t"]:
    """Apply ``step`` to the halves without and with each unit in turn."""
    found = np.array(outputs, dtype=np.float64)
    for i in range(n_units_of(outputs)):
        out, into = _split(found, i)
        out[...], into[...] = step(out.copy(), into.copy())
    return found


def _split(values: Float64[np.ndarray, "m t"], unit: int) -> tuple[_Half, _Half]:
    """Views of the rows without and with a unit, shape (2^(N-1-unit), 2^unit, T) each."""
    parts = values.reshape(-1, 2, 1 << unit, values.shape[1])
    return parts[:, 0], parts[:, 1]


def _check_p(p: float) -> None:
    if not 0 < p < 1:
        raise ArgumentError(f"p: expected a probability strictly between 0 and 1, got {p}")
