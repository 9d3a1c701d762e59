"""From outputs to the numbers that certificates are made of: what the claim leaves unexplained.

At p = 1/2 an output and its complement's are taken together: their half difference is the odd
part, their half sum the even part. The odd residual has mean exactly 0 and neither intercept
nor even interactions in it (THEORY 2). Elsewhere the whole residual is used, its mean unknown.

Letters: B families, s siblings, T targets, N units; theta the claim's scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int64

from protocol.claim import Claim
from protocol.errors import InternalError, MalformedMessage
from protocol.game import Game, harmonic
from protocol.game.sampling import Draw

_CHUNK_CELLS = 1 << 24  # of the mask held as float64 at once; does not affect outputs


@dataclass(frozen=True, kw_only=True, eq=False)
class Readings:
    """One reading per subset (with its complement at p = 1/2), family by family.

    output : shape (B, s, T); half difference of f over x and its complement at p = 1/2, else f(x).
    linear : shape (B, s, T); the claim's own sum_i theta_i (x_i - p), mean exactly 0.
    even : shape (B, s, T); half sum of f over x and its complement; None unless p = 1/2.
    claim_mean : shape (T,); E g, exact. Never subtracted from an output before spreads are taken: beside a huge
        intercept, which the prover is free to choose, an output would round away.
    claim_variance : shape (T,); Var g, exact.
    rho : correlation of two siblings.
    p : probability that a unit is in.
    """

    output: Float64[np.ndarray, "b s t"]
    linear: Float64[np.ndarray, "b s t"]
    even: Float64[np.ndarray, "b s t"] | None
    claim_mean: Float64[np.ndarray, " t"]
    claim_variance: Float64[np.ndarray, " t"]
    rho: float
    p: float

    @cached_property
    def residual(self) -> Float64[np.ndarray, "b s t"]:
        """Output less linear: the odd residual at p = 1/2, else the residual but for its mean, which is unknown."""
        return np.asarray(self.output - self.linear)

    @property
    def n_families(self) -> int:
        return int(self.output.shape[0])

    @property
    def n_siblings(self) -> int:
        return int(self.output.shape[1])

    @property
    def n_targets(self) -> int:
        return int(self.output.shape[2])


def check_shapes(game: Game, claim: Claim) -> None:
    """Raise :class:`MalformedMessage` unless ``claim`` is one of ``game``, with a score for every unit and target."""
    expected, got = (game.n_targets, game.n_units), claim.scores.shape
    if got != expected:
        raise MalformedMessage(f"claim: expected scores of shape {expected} (targets, units), got {got}")
    if claim.task_digest != game.digest:
        raise MalformedMessage("claim: expected one for the task of this session, got one for another task")


def read(game: Game, claim: Claim, draw: Draw, outputs: Float64[np.ndarray, "m t"]) -> Readings:
    """Return the readings of all evaluations of ``draw``, given their outputs in evaluation order.

    Parameters
    ----------
    outputs : shape (m, T) with m = ``draw.n_evaluations``, clipped into the targets' ranges.
    """
    design = draw.design
    if outputs.shape != (draw.n_evaluations, game.n_targets):
        raise InternalError(f"expected outputs of shape {(draw.n_evaluations, game.n_targets)}, got {outputs.shape}")
    members = outputs.reshape(-1, design.n_sides, game.n_targets)
    linear = linear_part(game, claim, draw)
    if game.measure.has_complements:
        ours, even = (members[:, 0] - members[:, 1]) / 2, (members[:, 0] + members[:, 1]) / 2
    else:
        ours, even = members[:, 0], None
    shape = (design.n_families, design.n_siblings, game.n_targets)
    return Readings(
        output=ours.reshape(shape),
        linear=linear.reshape(shape),
        even=None if even is None else even.reshape(shape),
        claim_mean=claim.intercepts + game.measure.p * claim.scores.sum(axis=1),
        claim_variance=harmonic.linear_variance(claim.scores, game.measure.p),
        rho=design.rho,
        p=game.measure.p,
    )


def linear_part(game: Game, claim: Claim, draw: Draw) -> Float64[np.ndarray, "k t"]:
    """Return sum_i theta_i (x_i - p) for every subset of ``draw``, complements left out; shape (B s, T)."""
    n_sides = draw.design.n_sides
    n = draw.n_evaluations // n_sides
    out = np.empty((n, game.n_targets))
    step = max(1, _CHUNK_CELLS // game.n_units)
    for start in range(0, n, step):
        members = np.arange(start, min(start + step, n), dtype=np.int64)
        subsets = draw.subsets(game, members * n_sides)
        out[start : start + step] = (subsets - game.measure.p) @ claim.scores.T
    return out


def chosen(readings: Readings, families: Int64[np.ndarray, " k"]) -> Readings:
    """Return the readings of these families alone."""
    return replace(
        readings,
        output=readings.output[families],
        linear=readings.linear[families],
        even=None if readings.even is None else readings.even[families],
    )


def joined(parts: Sequence[Readings]) -> Readings:
    """Return the families of several looks as one; they must agree in siblings and correlation."""
    first = parts[0]
    if any((p.n_siblings, p.rho, p.even is None) != (first.n_siblings, first.rho, first.even is None) for p in parts):
        raise InternalError("only families of one kind can be joined")
    evens = [p.even for p in parts if p.even is not None]
    return Readings(
        output=np.concatenate([p.output for p in parts]),
        linear=np.concatenate([p.linear for p in parts]),
        even=np.concatenate(evens) if evens else None,
        claim_mean=first.claim_mean,
        claim_variance=first.claim_variance,
        rho=first.rho,
        p=first.p,
    )
