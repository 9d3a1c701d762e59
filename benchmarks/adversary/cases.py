"""Cases whose true relative gap is exactly what is asked: missed parts, tangent claims, many targets (THEORY 1, 2).

A case is made for a share: the relative gap that its claim has. The games' best scores and variances are exact, so the
factor that gives a claim its share is the root of a quadratic.

Letters: N units, T targets, W_1 the weight at degree one, c coefficients of degree one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from benchmarks.adversary.sessions import HONEST, Case, Played
from benchmarks.in_memory import LARGEST_NOISE
from protocol.certificate.moments.scales import scales_of
from protocol.certificate.readings import read
from protocol.certificate.terms import Across
from protocol.claim import Figures
from protocol.game.harmonic import coefficients_from_weights, linear_variance
from protocol.game.known import Known, OneTarget, SharedAmplitude, Sum, linears
from protocol.game.tilting import Tilts

_SAMPLE = 1 << 18  # subsets that a kurtosis is estimated from, fewer where there are many targets
_STEP = 1 << 14


def missed(
    name: str, linear: OneTarget, rest: OneTarget, share: float, *, figures: Figures = HONEST, noise: float = 0.0
) -> Case:
    """Return f = linear + factor * rest with a claim that is exactly the linear part.

    The factor is the one with factor^2 W_1[rest] = share (Var f + noise^2), so there must be more than ``share`` of the
    rest's variance at degree one.
    """
    p = linear.p
    ours, theirs = (coefficients_from_weights(game.best[0], p) for game in (linear, rest))
    a = float(theirs @ theirs) - share * rest.variance
    if a <= 0:
        raise ValueError(f"{name}: too little of what the claim misses is at degree one for a relative gap of {share}")
    b, c = -2 * share * float(ours @ theirs), -share * (linear.variance + noise**2)
    factor = (-b + math.sqrt(b**2 - 4 * a * c)) / (2 * a)
    game = Sum((linear, rest), (1.0, factor))
    return Case(name=name, game=game, scores=linear.best, variance=_variance_of(game), figures=figures, noise=noise)


def _variance_of(game: Sum) -> Float64[np.ndarray, " t"]:
    """Var (linear + factor rest): the two covary at degree one alone."""
    (linear, rest), factor, p = game.games, game.factors[1], game.p
    ours, theirs = (coefficients_from_weights(each.best, p) for each in (linear, rest))
    alone = np.array([each.variance for each in (linear, rest)])  # type: ignore[attr-defined]
    return np.asarray(alone[0] + 2 * factor * (ours * theirs).sum(axis=1) + factor**2 * alone[1])


def bent(
    name: str,
    game: Known,
    variance: float,
    share: float,
    *,
    over: bool = True,
    figures: Figures = HONEST,
    noise: float = 0.0,
) -> Case:
    """Return the claim along the best one that is too large (or too small) by as much as makes its gap the share."""
    direction = game.best[0] * (1 if over else -1)
    return off_along(name, game, variance, direction, share, figures=figures, noise=noise)


def off_along(
    name: str,
    game: Known,
    variance: float,
    direction: Float64[np.ndarray, " n"],
    share: float,
    *,
    figures: Figures = HONEST,
    noise: float = 0.0,
) -> Case:
    """Return the best claim moved along ``direction`` by as much as makes its gap the share; ``variance`` is Var f."""
    size = share * (variance + noise**2) / float(linear_variance(direction, game.p))
    scores = game.best + math.sqrt(size) * direction
    return Case(name=name, game=game, scores=scores, variance=np.array([variance]), figures=figures, noise=noise)


def shared_amplitude(
    name: str, n_targets: int, share: float, *, flat: bool = False, across: Across = Across.POOLED
) -> Case:
    """Return T targets linear_t + factor a(x) phi_t, and the claim that misses what they share."""
    n = n_targets + 24
    linear, rest = linears(n, n_targets), SharedAmplitude(n, n_targets, flat=flat)
    ours, theirs = (coefficients_from_weights(game.best, 0.5) for game in (linear, rest))
    # Each target gets a factor of its own, so that all have the same relative gap.
    alone, w1, both = (2.0 if flat else 1.0), (theirs**2).sum(axis=1), (ours * theirs).sum(axis=1)
    a, b = w1 - share * alone, -2 * share * both
    factors = (-b + np.sqrt(b**2 + 4 * a * share)) / (2 * a)
    game = Scaled(linear, rest, tuple(factors))
    variance = 1 + 2 * factors * both + factors**2 * alone
    return Case(name=name, game=game, scores=linear.best, variance=variance, across=across)


@dataclass(frozen=True)
class Scaled:
    """One game plus another whose targets each have a factor."""

    one: Known
    other: Known
    factors: tuple[float, ...]

    @property
    def n_units(self) -> int:
        """N of both."""
        return self.one.n_units

    @property
    def p(self) -> float:
        """Of both."""
        return self.one.p

    def outputs(self, subsets: np.ndarray) -> Float64[np.ndarray, "m t"]:
        """Return f, shape (m, T)."""
        return np.asarray(self.one.outputs(subsets) + np.array(self.factors) * self.other.outputs(subsets))

    @property
    def best(self) -> Float64[np.ndarray, "t n"]:
        """The best weights are linear in the game."""
        return np.asarray(self.one.best + np.array(self.factors)[:, None] * self.other.best)

    @property
    def largest(self) -> float:
        """No more than both at once."""
        return self.one.largest + max(map(abs, self.factors)) * self.other.largest


def garbage(name: str, n_targets: int, n_wrong: int, share: float, *, across: Across = Across.POOLED) -> Case:
    """Return T linear targets, all but a few claimed exactly, and these few so wrong that the mean gap is the share."""
    game = linears(40, n_targets)
    scores = game.best.copy()
    scores[:n_wrong] *= 1 - math.sqrt(share * n_targets / n_wrong)
    return Case(name=name, game=game, scores=scores, variance=np.ones(n_targets), across=across)


# ------------------------------------------------------------------------------------------- what is true of a case


def relative_gaps(case: Case) -> tuple[Float64[np.ndarray, " t"], Float64[np.ndarray, " t"]]:
    """Return each target's gap and its variance over subsets and training seeds."""
    p = case.game.p
    gaps = linear_variance(case.scores - case.game.best, p)
    return gaps, case.variance + case.noise**2


def true_gap(case: Case, played: Played | None = None) -> float:
    """Return the relative gap that a verdict is about; pooled, at the weights that the session's own pilot fixed."""
    gaps, variance = relative_gaps(case)
    ratios = gaps / variance
    if case.across is not Across.POOLED or np.ptp(ratios) < 1e-9:
        return float(ratios.max() if case.across is Across.EVERY else ratios.mean())
    weights = 1 / variance
    if played is not None and played.pilot is not None:
        draw, outputs = played.pilot
        weights = scales_of(case.statement, read(case.statement, case.claim.claim, draw, outputs)).weights
    return float(weights @ gaps / (weights @ variance))


def kurtosis_of(case: Case, seed: int = 0, n: int = _SAMPLE, *, tilted: bool | None = None) -> float:
    """Return E Y^2 / (E Y)^2 of independent subsets in the design in use, Y weighted over targets by 1/Var f.

    tilted : whether bases are tilted along the claim; by default at p = 1/2.
    """
    rng, game, measure = np.random.default_rng(seed), case.game, case.statement.measure
    is_tilted = measure.has_complements if tilted is None else tilted
    along = Tilts(case.scores) if is_tilted else None
    weights = 1 / (case.variance * len(case.variance))
    first = second = mean = np.zeros(1)
    parts = []
    for _ in range(max(2, n // (_STEP * len(weights)))):
        subsets = rng.random((_STEP, game.n_units), dtype=np.float32) < measure.p
        residual = game.outputs(subsets) - subsets @ case.scores.T
        residual += case.noise * np.clip(rng.standard_normal(residual.shape), -LARGEST_NOISE, LARGEST_NOISE)
        if measure.has_complements:
            other = game.outputs(~subsets) - ~subsets @ case.scores.T
            other += case.noise * np.clip(rng.standard_normal(residual.shape), -LARGEST_NOISE, LARGEST_NOISE)
            residual = (residual - other) / 2
        ratio = np.ones(_STEP) if along is None else along.likelihood(subsets)
        parts.append((residual, ratio))
    if not measure.has_complements:
        mean = np.mean([part.mean(axis=0) for part, _ in parts], axis=0)
    first = np.mean([((part - mean) ** 2 @ weights).mean() for part, _ in parts])
    second = np.mean([(ratio * ((part - mean) ** 2 @ weights) ** 2).mean() for part, ratio in parts])
    return float(second / first**2)
