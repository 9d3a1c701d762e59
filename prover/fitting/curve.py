"""How the gap of a ridge fit falls with the number of retrainings: the prover's planning.

Letters: N units, n independent evaluations fitted to, W_1 the weight at degree one, v the
variance of all else in what is fitted (higher odd degrees, seed noise), R the gap of the fit.

Subsets are an isotropic design, so the gap of a ridge fit depends on the best scores only through
W_1. At the best penalty, lambda = v N / W_1, a score is shrunk as if measured with variance
(v + R)/n against a prior variance W_1/N, which closes the equation

    R / N = (W_1/N) s / (W_1/N + s),   s = (v + R) / n,

that is  N R^2 + R (n W_1 - N W_1 + N v) - N v W_1 = 0. It is exact as N and n grow together, for
noise independent of the subset; here it plans how much to train and nothing else.
"""

from __future__ import annotations

import math

from protocol.errors import InternalError

_BISECTIONS = 60


def ridge_gap(*, n: float, n_units: int, signal: float, noise: float) -> float:
    """Return the gap R of the best ridge fit to n evaluations.

    Parameters
    ----------
    signal : W_1, at least 0, in the unit in which the gap is wanted.
    noise : v, at least 0, in the same unit.
    """
    if n < 0 or signal < 0 or noise < 0:
        raise InternalError(f"expected n, signal and noise of at least 0, got {n}, {signal}, {noise}")
    if signal == 0:
        return 0.0
    b = (n / n_units - 1) * signal + noise
    root = math.sqrt(b * b + 4 * noise * signal)
    # The larger root, in the form that does not cancel.
    return min((root - b) / 2 if b < 0 else 2 * noise * signal / (b + root) if noise > 0 else 0.0, signal)


def evaluations_needed(*, gap: float, n_units: int, signal: float, noise: float) -> float:
    """Return the n at which :func:`ridge_gap` falls to ``gap`` (above 0); 0 where the signal is no larger."""
    if gap <= 0:
        raise InternalError(f"expected a gap above 0, got {gap}")
    if signal <= gap:
        return 0.0
    return n_units * (noise + gap) * (signal - gap) / (gap * signal)


def noise_from_moments(*, n: float, n_units: int, total: float, residual: float) -> float:
    """Return the v with which a fit to n evaluations leaves ``residual`` of ``total`` on fresh ones.

    total : W_1 + v, the mean square of what is fitted. residual : v + R, its mean square about the
    fit on held-out evaluations. Both are means of squares, far less noisy than an estimate of R.
    """
    low, high = 0.0, max(min(residual, total), 0.0)
    for _ in range(_BISECTIONS):  # v + R grows with v: more of the total is noise, and noise hides the rest
        noise = (low + high) / 2
        if noise + ridge_gap(n=n, n_units=n_units, signal=total - noise, noise=noise) > residual:
            high = noise
        else:
            low = noise
    return (low + high) / 2
