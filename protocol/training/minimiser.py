"""Many strictly convex functions minimised at once: limited-memory BFGS with a preconditioner.

Owns the path from a start to a small gradient. Refuses to know what is minimised.

Reference: Nocedal and Wright, Numerical Optimization (2006), algorithm 7.4; the acceptance of a
step where the loss is flat to rounding is Hager and Zhang's (2005, section 4). Deviations: the
models advance in step, each round evaluates every model once, at a new point or at a shorter step
after a refusal. A convex function needs no
curvature condition: s.y > 0 wherever the point moved; and where it still falls it has fallen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

MEMORY = 6

_SUFFICIENT_DECREASE = 1e-4
_FLAT_SLOPE = 0.8
# What summation may lose of a loss: a rise below this share of it is no rise.
_ROUNDING = 1e-12
_SHORTEST_STEP = 1e-12
# Copying what is left costs about a round, so that leaving waits until it pays.
_LEAVING_SHARE = 0.15


class Objective(Protocol):
    """m functions of k numbers each."""

    def __call__(self, points: Float64[Tensor, "m k"]) -> tuple[Float64[Tensor, " m"], Float64[Tensor, "m k"]]:
        """Return each function's value and gradient at its point."""
        ...

    def take(self, models: Bool[Tensor, " m"]) -> Self:
        """Return the functions where ``models`` is True."""
        ...


def minimise(
    objective: Objective,
    start: Float64[Tensor, "m k"],
    precondition: Callable[[Float64[Tensor, "m k"]], Float64[Tensor, "m k"]],
    gradient_tolerance: float,
    max_rounds: int,
) -> tuple[Float64[Tensor, "m k"], Bool[Tensor, " m"]]:
    """Return points, and which of them have a gradient of Euclidean norm at most ``gradient_tolerance``.

    Parameters
    ----------
    objective : m strictly convex, smooth functions.
    start : shape (m, k), where each begins.
    precondition : multiplies by a symmetric positive definite matrix near the inverse Hessians.
    max_rounds : evaluations of each function after the first.

    Returns
    -------
    points, shape (m, k), and done, shape (m,). What is not done is the best point seen: the rounds
    were too few, or rounding hid the descent.
    """
    found = start.clone()
    success = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    place = torch.arange(len(start), device=start.device)
    loss, gradient = objective(start)
    here = _State(
        point=start, loss=loss, gradient=gradient, direction=-precondition(gradient), length=torch.ones_like(loss)
    )
    pairs = [_no_pair(start)] * MEMORY
    finished = torch.zeros_like(loss, dtype=torch.bool)
    for round_ in range(max_rounds + 1):
        success[place] = success[place] | (torch.linalg.vector_norm(here.gradient, dim=1) <= gradient_tolerance)
        # Recorded once: what a model does while it waits for others to finish must not count.
        found[place] = torch.where(finished[:, None], found[place], here.point)
        finished = finished | success[place] | (here.length < _SHORTEST_STEP)
        if bool(finished.all()) or round_ == max_rounds:
            break
        if int(finished.sum()) > _LEAVING_SHARE * len(place):
            stay = ~finished
            place, finished, objective, here = place[stay], finished[stay], objective.take(stay), here.take(stay)
            pairs = [pair.take(stay) for pair in pairs]
        here, pair = _advance(here, objective)
        moved = pair.weight > 0
        pairs = _remember(pairs, pair, moved)
        here = here.turned(_direction(here.gradient, pairs, precondition), moved=moved)
    return found, success


@dataclass(frozen=True, kw_only=True, eq=False)
class _State:
    """Where m models stand, where they head, and how long a step they try next."""

    point: Float64[Tensor, "m k"]
    loss: Float64[Tensor, " m"]
    gradient: Float64[Tensor, "m k"]
    direction: Float64[Tensor, "m k"]
    length: Float64[Tensor, " m"]

    def take(self, models: Bool[Tensor, " m"]) -> _State:
        return _State(
            point=self.point[models],
            loss=self.loss[models],
            gradient=self.gradient[models],
            direction=self.direction[models],
            length=self.length[models],
        )

    def turned(self, direction: Float64[Tensor, "m k"], *, moved: Bool[Tensor, " m"]) -> _State:
        """Return the state heading along ``direction`` with a full step where ``moved``."""
        return _State(
            point=self.point,
            loss=self.loss,
            gradient=self.gradient,
            direction=torch.where(moved[:, None], direction, self.direction),
            length=torch.where(moved, 1.0, self.length),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pair:
    """A move s, the gradient's change y, and 1 / s.y; weight 0 where a model did not move."""

    s: Float64[Tensor, "m k"]
    y: Float64[Tensor, "m k"]
    weight: Float64[Tensor, " m"]

    def take(self, models: Bool[Tensor, " m"]) -> _Pair:
        return _Pair(s=self.s[models], y=self.y[models], weight=self.weight[models])

    def where(self, models: Bool[Tensor, " m"], other: _Pair) -> _Pair:
        return _Pair(
            s=torch.where(models[:, None], self.s, other.s),
            y=torch.where(models[:, None], self.y, other.y),
            weight=torch.where(models, self.weight, other.weight),
        )


def _no_pair(points: Float64[Tensor, "m k"]) -> _Pair:
    return _Pair(s=torch.zeros_like(points), y=torch.zeros_like(points), weight=torch.zeros_like(points[:, 0]))


def _remember(pairs: list[_Pair], pair: _Pair, moved: Bool[Tensor, " m"]) -> list[_Pair]:
    """Return the last ``MEMORY`` pairs of each model: a refused step must not push out a useful pair."""
    newer = [*pairs[1:], pair]
    return newer if bool(moved.all()) else [new.where(moved, old) for new, old in zip(newer, pairs, strict=True)]


def _advance(here: _State, objective: Objective) -> tuple[_State, _Pair]:
    """Try every model's step; return the state with those that held taken and the others shortened."""
    step = here.length[:, None] * here.direction
    point = here.point + step
    loss, gradient = objective(point)
    slope, slope_there = _dot(here.gradient, here.direction), _dot(gradient, here.direction)
    decreased = (loss <= here.loss + _SUFFICIENT_DECREASE * here.length * slope) | (slope_there <= 0)
    flat = (loss <= here.loss + _ROUNDING * here.loss.abs()) & (slope_there <= -_FLAT_SLOPE * slope)
    change = gradient - here.gradient
    curvature = _dot(step, change)
    moved = (decreased | flat) & (curvature > 0)
    # Where the slope, taken as linear along the step, vanishes.
    shorter = (slope / (slope - slope_there)).nan_to_num(0.1).clamp(0.1, 0.5)
    state = _State(
        point=torch.where(moved[:, None], point, here.point),
        loss=torch.where(moved, loss, here.loss),
        gradient=torch.where(moved[:, None], gradient, here.gradient),
        direction=here.direction,
        length=torch.where(moved, 1.0, here.length * shorter),
    )
    # A refused point may hold infinities, which a weight of 0 would not silence.
    change, step = (torch.where(moved[:, None], v, 0.0) for v in (change, step))
    return state, _Pair(s=step, y=change, weight=torch.where(moved, 1 / curvature, 0.0))


def _direction(
    gradient: Float64[Tensor, "m k"],
    pairs: list[_Pair],
    precondition: Callable[[Float64[Tensor, "m k"]], Float64[Tensor, "m k"]],
) -> Float64[Tensor, "m k"]:
    """Return minus the quasi-Newton inverse Hessian times the gradient, by the two loops."""
    q = gradient
    shares = []
    for pair in reversed(pairs):
        share = pair.weight * _dot(pair.s, q)
        q = torch.addcmul(q, share[:, None], pair.y, value=-1)
        shares.append(share)
    r = precondition(q)
    for pair, share in zip(pairs, reversed(shares), strict=True):
        r = torch.addcmul(r, (share - pair.weight * _dot(pair.y, r))[:, None], pair.s)
    return -r


def _dot(a: Float64[Tensor, "m k"], b: Float64[Tensor, "m k"]) -> Float64[Tensor, " m"]:
    return (a * b).sum(dim=1)
