"""Var f: an estimate with the claim as control variate, and what it is at most (THEORY 10).

The estimate serves ACCEPT: less its error it covers more often than it says, being skewed to the right. It does not
serve REJECT. A rare spike of f that no family met leaves Var f too small and every relative gap too large, so REJECT
divides by :func:`upper`, a finite-sample bound.

Letters: B families, s siblings, T targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from protocol.certificate import betting
from protocol.certificate.readings import Readings
from protocol.game import harmonic

_ROUNDING = 2.0**-40
"""Outputs that vary by less than this, relative to their size, are constant: double precision keeps 52 bits."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimate:
    """Var f of each target, as estimated.

    variance : shape (T,), 0 where constant. sd : its root, 1 where constant.
    samples : shape (B, T), family by family what the variance is the mean of, relative to it.
    constant : shape (T,), whether the outputs do not vary beyond rounding.
    """

    variance: Float64[np.ndarray, " t"]
    sd: Float64[np.ndarray, " t"]
    samples: Float64[np.ndarray, "b t"]
    constant: Bool[np.ndarray, " t"]


def estimate(readings: Readings) -> Estimate:
    """Return Var f with the claim as a control variate (THEORY 10).

    Var g is known exactly. With f~ the centred output (its odd part at p = 1/2), the estimate
    is the mean of f~^2 - beta (g~^2 - Var g~), plus the even part's variance: unbiased for a
    fixed beta, and for a good claim (beta near 1) several times less noisy than the plain
    variance. beta is the regression of f~^2 on g~^2 over families, kept in [0, 1]; it is 0 where
    characters have heavy tails, since there a claim on one rare unit has g~^2 below Var g nearly
    always, and would inflate Var f.
    """
    output = readings.output
    size = (output**2).mean(axis=(0, 1))
    evens: Float64[np.ndarray, "b t"] | float = 0.0
    if readings.even is None:
        output = output - output.mean(axis=(0, 1))
    else:
        evens = ((readings.even - readings.even.mean(axis=(0, 1))) ** 2).mean(axis=1)
        size = size + (readings.even**2).mean(axis=(0, 1))
    ours, claims = (output**2).mean(axis=1), (readings.linear**2).mean(axis=1)
    centred = claims - claims.mean(axis=0)
    square = (centred**2).sum(axis=0)
    beta = np.clip((centred * ours).sum(axis=0) / np.where(square > 0, square, 1.0), 0.0, 1.0)
    if harmonic.excess_kurtosis(readings.p) > 0:
        beta = np.zeros_like(beta)
    samples = ours - beta * (claims - readings.claim_variance) + evens
    variance = samples.mean(axis=0)
    constant = ~(variance > _ROUNDING**2 * size)
    sd = np.sqrt(np.where(constant, 1.0, variance))
    return Estimate(variance=np.where(constant, 0.0, variance), sd=sd, samples=samples / sd**2, constant=constant)


def upper(
    readings: Readings, lo: Float64[np.ndarray, " t"], hi: Float64[np.ndarray, " t"], alpha: float
) -> Float64[np.ndarray, " t"]:
    """Return u with P(Var f > u) <= alpha for each target, finite-sample: no step is Gaussian.

    Var f <= E (f - c)^2 for every c, and f is at most R = max(hi - c, c - lo) away from c, so a betting bound of the
    mean of the families' (f - c)^2 / R^2 does (``betting.betting_upper``). Two c are tried at half
    of alpha each and the better one is used: the middle of the range, and the mean of the first fifth of the families,
    which is fixed before the others are looked at and serves where outputs crowd at one end of their range. A rare even
    spike, which no residual shows and few families meet, cannot make this too small: the room above what was met is in
    the bound.

    lo, hi : shape (T,), the ranges; outputs outside are taken as at the nearer end, as the task's reading of them does.
    """
    sides = (
        readings.output
        if readings.even is None
        else np.stack([readings.even + readings.output, readings.even - readings.output])
    )
    outputs = np.clip(sides.reshape(-1, *readings.output.shape), lo, hi)  # side, family, sibling, target
    n_pilot = -(-readings.n_families // 5)
    pilot, rest = outputs[:, :n_pilot], outputs[:, n_pilot:]
    tries = ((outputs, (lo + hi) / 2), (rest, pilot.mean(axis=(0, 1, 2))))
    return np.asarray(np.minimum(*(_second_moment_upper(values, about, lo, hi, alpha / 2) for values, about in tries)))


def _second_moment_upper(
    outputs: Float64[np.ndarray, "d b s t"],
    about: Float64[np.ndarray, " t"],
    lo: Float64[np.ndarray, " t"],
    hi: Float64[np.ndarray, " t"],
    alpha: float,
) -> Float64[np.ndarray, " t"]:
    """E (f - about)^2 of each target from above, at alpha."""
    most = np.maximum(hi - about, about - lo) ** 2
    shares = ((outputs - about) ** 2).mean(axis=(0, 2)) / most
    return np.asarray(most * betting.betting_upper(shares, alpha, horizon=len(shares)))
