"""What cross-fit's pilot fixes before anything is counted: scales, weights and centres (THEORY 5.1).

The pilot is the first pairs of round A. The verifier trains them itself, after the claim is committed and
after any answers to round B are, and uses them for nothing else. Given the pilot, everything here is a constant.

Rules: weights over targets come from the pilot's outputs alone, never from the claim, so a prover cannot choose which
targets count. Where a scale only affects how tight a bound is (one target at a time, or the mean of relative gaps), the
claim may help to choose it, within bounds that the pilot sets.

Letters: T targets, N units, H_t half a target's range, V_t its variance in the pilot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from protocol.certificate.terms import Across
from protocol.claim import Claim
from protocol.game import Game, harmonic

MIN_PILOT_PAIRS = 10
FLOOR = 0.1
"""Pooled weights treat a target's variance as at least this share of the median: a target whose rare events fell
outside the pilot would otherwise be most of the pool."""
BEYOND = 3.0
"""A ball's radius is the pilot's largest residual, plus so many times what that has beyond the median: none of the
hundreds that follow should lie outside, for that costs most."""
_LEAST_RADIUS = 1e-9  # of a claim without any error
_NEAR = 2.0  # the claim's own variance is used as a scale within this factor of the pilot's
_ROUNDING = 2.0**-40  # relative; a target that varies less does not vary


def pilot_pairs(n_pairs: int) -> int:
    """Return how many of round A's ``n_pairs`` pairs are the pilot: a tenth, but 25 where that is at most a quarter."""
    return max(MIN_PILOT_PAIRS, min(25, n_pairs // 4), n_pairs // 10)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scale:
    """Constants of one session, given its pilot. Arrays are of shape (T,) and in the target's unit unless they say so.

    scale : what a residual is divided by, above 0. Pooled weights are scale^-2.
    middle : a guess at E f, within the range.
    centre : what is subtracted from outputs; 0 where complements cancel the mean.
    half : half the range, in scales.
    reach : no output less its centre (at p = 1/2: no odd part) is larger than this, in scales.
    spread : no output less ``middle`` is larger than this, in scales.
    coefficients : shape (T, N), the claim's Fourier coefficients of degree one.
    """

    scale: Float64[np.ndarray, " t"]
    middle: Float64[np.ndarray, " t"]
    centre: Float64[np.ndarray, " t"]
    half: Float64[np.ndarray, " t"]
    reach: Float64[np.ndarray, " t"]
    spread: Float64[np.ndarray, " t"]
    coefficients: Float64[np.ndarray, "t n"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Ball:
    """What residuals are drawn in to, arrays of shape (R,): one row of all targets, or one a target.

    radius : b, in scales, above 0.
    fourth : the pilot's mean of (|r|/b)^4, a guess that no bound's validity depends on.
    """

    radius: Float64[np.ndarray, " r"]
    fourth: Float64[np.ndarray, " r"]


def ball_of(sizes: Float64[np.ndarray, "k r"]) -> Ball:
    """Return the ball that the norms of the pilot's residuals set, in scales."""
    largest, typical = sizes.max(axis=0), np.median(sizes, axis=0)
    radius = np.maximum(largest + BEYOND * (largest - typical), _LEAST_RADIUS)
    return Ball(radius=radius, fourth=((sizes / radius) ** 4).mean(axis=0))


def scale_of(
    game: Game,
    claim: Claim,
    outputs: Float64[np.ndarray, "k s t"],
    subsets: Bool[np.ndarray, "k n"],
    across: Across,
) -> Scale:
    """Return what the pilot fixes.

    Parameters
    ----------
    outputs : the pilot's k pairs, trained by the verifier; two sides each where the task has complements, else one.
        At least two pairs.
    subsets : of the first side.
    """
    half, range_middle = game.width / 2, (game.lo + game.hi) / 2
    coefficients = harmonic.coefficients_from_weights(claim.scores, game.measure.p)
    scale = _scales(variances_seen(outputs), (coefficients**2).sum(axis=1), half, across)
    middle = np.clip(outputs.mean(axis=(0, 1)), game.lo, game.hi)
    if game.measure.has_complements:
        centre, reach = np.zeros_like(middle), half
    else:  # near the best intercept for these scores, so that the claim's own intercept is in no bound
        linear = harmonic.characters(subsets, game.measure.p) @ coefficients.T
        centre = np.clip((outputs[:, 0] - linear).mean(axis=0), game.lo, game.hi)
        reach = half + np.abs(centre - range_middle)
    return Scale(
        scale=scale,
        middle=middle,
        centre=centre,
        half=half / scale,
        reach=reach / scale,
        spread=(half + np.abs(middle - range_middle)) / scale,
        coefficients=coefficients,
    )


def variances_seen(outputs: Float64[np.ndarray, "k s t"]) -> Float64[np.ndarray, " t"]:
    """Return each target's unbiased variance over the pilot, shape (T,): odd part plus even part where there are
    complements. 0 where outputs differ by rounding alone.
    """
    if outputs.shape[1] == 2:
        odd, even = (outputs[:, 0] - outputs[:, 1]) / 2, (outputs[:, 0] + outputs[:, 1]) / 2
        found = (odd**2).mean(axis=0) + even.var(axis=0, ddof=1)
    else:
        found = outputs[:, 0].var(axis=0, ddof=1)
    return np.where(np.sqrt(found) > _ROUNDING * np.abs(outputs).max(axis=(0, 1)), found, 0.0)


def _scales(
    seen: Float64[np.ndarray, " t"], linear: Float64[np.ndarray, " t"], half: Float64[np.ndarray, " t"], across: Across
) -> Float64[np.ndarray, " t"]:
    """Return the scales; ``linear`` is the claim's own variance.

    Pooled: sqrt(max(V_t, FLOOR times the median V)), the median over targets that vary in the pilot. Otherwise the
    claim's standard deviation, kept within a factor of the pilot's: any scale is sound there, and that of a good claim
    is the more precise. Where the pilot saw nothing vary, half the range, so that no square is cut.
    """
    varies = seen > 0
    if across is Across.POOLED and varies.any():
        return np.asarray(np.sqrt(np.maximum(seen, FLOOR * float(np.median(seen[varies])))))
    found = np.sqrt(np.clip(linear, seen / _NEAR, seen * _NEAR))
    return np.where(varies, found, half)
