"""What the pilot fixes before the first family counts: weights, centres and guesses at sizes (THEORY 2).

The pilot's subsets are drawn after the claim and trained by the verifier itself, and its outputs
are used for nothing else. Weights come from f alone, never from the claim or its residual: a prover
could otherwise give weight 0 to the targets that its claim gets wrong.

Letters: T targets; V_t a target's variance in the pilot; w_t its weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from protocol.certificate.planning import GAUSSIAN_SD, Seen
from protocol.certificate.readings import Readings
from protocol.game import Game

FLOOR = 0.1
"""Of the median V: no target's V counts as less. A target whose pilot saw no rare event would be the whole pool."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scales:
    """Constants by the time that families are drawn; arrays of shape (T,), in the targets' units.

    weights : w_t = 1 / max(V_t, FLOOR median V), over their sum times the floored V: a typical target's is 1/(T V_t).
    centre : of the residual; 0 at p = 1/2, where its mean is 0 exactly.
    variance : floored V_t.
    seen : for planning.
    """

    weights: Float64[np.ndarray, " t"]
    centre: Float64[np.ndarray, " t"]
    variance: Float64[np.ndarray, " t"]
    seen: Seen


def scales_of(game: Game, pilot: Readings) -> Scales:
    """Return what ``pilot`` fixes; every number in it is finite and every weight above 0."""
    variance = _floored(_variance(pilot), (game.width / 2) ** 2)
    weights = 1 / (len(variance) * variance)
    residual = pilot.residual
    centre = np.zeros(pilot.n_targets) if pilot.even is not None else residual.mean(axis=(0, 1))
    return Scales(weights=weights, centre=centre, variance=variance, seen=_seen(pilot, weights, centre))


def _variance(pilot: Readings) -> Float64[np.ndarray, " t"]:
    """An output's variance, estimated: odd and even part at p = 1/2, else the sample's."""
    if pilot.even is None:
        return np.asarray(pilot.output[:, 0].var(axis=0, ddof=1))
    return np.asarray((pilot.output**2).mean(axis=(0, 1)) + pilot.even[:, 0].var(axis=0, ddof=1))


def _floored(variance: Float64[np.ndarray, " t"], largest: Float64[np.ndarray, " t"]) -> Float64[np.ndarray, " t"]:
    """At least FLOOR of the median; of the largest where most targets do not vary; of the range where none does."""
    median = float(np.median(variance))
    least = FLOOR * (median if median > 0 else float(variance.max()))
    return np.asarray(np.maximum(variance, least) if least > 0 else largest)


def _seen(pilot: Readings, weights: Float64[np.ndarray, " t"], centre: Float64[np.ndarray, " t"]) -> Seen:
    """Shares of Var f; noise from what two trainings of one subset differ by, where the pilot trained any twice."""
    residual = pilot.residual - centre
    output = pilot.output if pilot.even is not None else pilot.output - pilot.output.mean(axis=(0, 1))
    noise = 0.0
    if pilot.n_siblings > 1:
        noise = float((residual.var(axis=1, ddof=1).mean(axis=0) * weights).sum())
    squares, outputs = (residual[:, 0] ** 2) @ weights, (output[:, 0] ** 2) @ weights
    return Seen(
        n_subsets=pilot.n_families,
        residual=float(((residual**2).mean(axis=(0, 1)) * weights).sum()),
        noise=noise,
        explained=float(pilot.claim_variance @ weights),
        odd=float(outputs.mean()),
        residual_sd=_relative_sd(squares, pilot.n_targets),
        output_sd=_relative_sd(outputs, pilot.n_targets),
    )


def _relative_sd(values: Float64[np.ndarray, " b"], n_targets: int) -> float:
    """Standard deviation over mean; of one target a Gaussian square's, which ten values tell no better."""
    mean = float(values.mean())
    if n_targets == 1 or not mean > 0:
        return GAUSSIAN_SD
    return float(np.clip(values.std(ddof=1) / mean, GAUSSIAN_SD / np.sqrt(n_targets), GAUSSIAN_SD))
