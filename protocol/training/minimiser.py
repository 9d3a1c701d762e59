"""Many strictly convex functions minimised at once: limited-memory BFGS with a preconditioner.

Owns the path from a start to a small gradient. Refuses to know what is minimised.

An objective knows each function exactly at an anchor, and the differences from there in a working
precision, which may be single: most of the path needs no better. When a model's gradient has
fallen to ``_REDUCTION`` of the anchor's, the anchor moves to the model, where its gradient is
exact again. So the end is as accurate as the anchors, whatever the path was made of.

Reference: Nocedal and Wright, Numerical Optimization (2006), algorithm 7.4. Deviations: the
models advance in step, each round evaluates every model once, at a new point or at a shorter step
after a refusal. Convexity makes the search simple: s.y > 0 wherever the point moved, and where the
function still falls at the end of a step, it has fallen all along it. Where its values differ by
less than their rounding, the slope decides (Hager and Zhang 2005, section 4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

MEMORY = 5

_REDUCTION = 1e-3
"""Well above what single precision resolves (about 1e-6), and small enough that three anchors do."""

_SUFFICIENT_DECREASE = 1e-4
_FLAT_SLOPE = 0.8
_SHORTEST_STEP = 1e-7
# Copying what is left costs about a round, so that leaving waits until it pays.
_LEAVING_SHARE = 0.15


class Objective(Protocol):
    """m functions of k numbers each, anchored.

    anchors : shape (m, k), float64.
    gradients : shape (m, k), float64, exact at the anchors.
    """

    anchors: Float64[Tensor, "m k"]
    gradients: Float64[Tensor, "m k"]

    def __call__(
        self, offsets: Float[Tensor, "m k"]
    ) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"], Float[Tensor, "m k"]]:
        """Return values less those at the anchors, what rounding may have put into them, and gradients."""
        ...

    def move(self, models: Bool[Tensor, " m"], offsets: Float[Tensor, "m k"]) -> None:
        """Move the anchors of ``models`` by their offsets."""
        ...

    def take(self, models: Bool[Tensor, " m"]) -> Self:
        """Return the functions where ``models`` is True."""
        ...


def minimise(
    objective: Objective,
    precondition: Callable[[Float[Tensor, "m k"]], Float[Tensor, "m k"]],
    gradient_tolerance: float,
    max_rounds: int,
    working: torch.dtype = torch.float64,
) -> tuple[Float64[Tensor, "m k"], Bool[Tensor, " m"]]:
    """Return points, and which of them have a gradient of Euclidean norm at most ``gradient_tolerance``.

    Parameters
    ----------
    objective : m strictly convex, smooth functions, anchored where each begins.
    precondition : multiplies by a symmetric positive definite matrix near the inverse Hessians.
    max_rounds : evaluations of each function.
    working : the precision of offsets.

    Returns
    -------
    points, shape (m, k), and done, shape (m,). What is not done is the last anchor: the rounds were
    too few, or rounding hid the descent.
    """
    found, done = objective.anchors.clone(), _norm(objective.gradients) <= gradient_tolerance
    place, finished = torch.arange(len(found), device=found.device), done.clone()
    here = _start(objective, precondition, gradient_tolerance, working)
    for round_ in range(max_rounds):
        if bool(finished.all()):
            break
        if int(finished.sum()) > _LEAVING_SHARE * len(place):
            stay = ~finished
            place, finished, objective, here = place[stay], finished[stay], objective.take(stay), here.take(stay)
        here, moved = _advance(here, objective)
        arrived = (_norm(here.gradient) <= here.aim) | (here.length < _SHORTEST_STEP) | (round_ == max_rounds - 1)
        arrived &= ~finished
        if bool(arrived.any()):
            before = _norm(objective.gradients)
            objective.move(arrived, here.offset)
            norm = _norm(objective.gradients)
            found[place[arrived]] = objective.anchors[arrived]
            done[place[arrived]] = norm[arrived] <= gradient_tolerance
            # An anchor no better than the last: what is left is rounding.
            finished |= arrived & ((norm <= gradient_tolerance) | ~(norm < before))
            here = here.anchored(arrived, objective.gradients, _aim(norm, gradient_tolerance))
        here = here.turned(_direction(here, precondition), moved | arrived)
    return found, done


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pair:
    """A move s, the gradient's change y, and 1 / s.y; 0 where there was no move."""

    s: Float[Tensor, "m k"]
    y: Float[Tensor, "m k"]
    weight: Float[Tensor, " m"]

    def take(self, models: Bool[Tensor, " m"]) -> _Pair:
        return _Pair(s=self.s[models], y=self.y[models], weight=self.weight[models])

    def where(self, models: Bool[Tensor, " m"], other: _Pair) -> _Pair:
        return _Pair(
            s=torch.where(models[:, None], self.s, other.s),
            y=torch.where(models[:, None], self.y, other.y),
            weight=torch.where(models, self.weight, other.weight),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _State:
    """Where m models stand, where they head, how long a step they try, and what they remember.

    aim : the gradient's norm at which a model's anchor moves.
    """

    offset: Float[Tensor, "m k"]
    value: Float[Tensor, " m"]
    gradient: Float[Tensor, "m k"]
    direction: Float[Tensor, "m k"]
    length: Float[Tensor, " m"]
    aim: Float64[Tensor, " m"]
    pairs: tuple[_Pair, ...]

    def take(self, models: Bool[Tensor, " m"]) -> _State:
        return _State(
            offset=self.offset[models],
            value=self.value[models],
            gradient=self.gradient[models],
            direction=self.direction[models],
            length=self.length[models],
            aim=self.aim[models],
            pairs=tuple(pair.take(models) for pair in self.pairs),
        )

    def anchored(
        self, models: Bool[Tensor, " m"], gradients: Float64[Tensor, "m k"], aim: Float64[Tensor, " m"]
    ) -> _State:
        """Return the state with ``models`` at their new anchors."""
        at = models[:, None]
        return replace(
            self,
            offset=torch.where(at, 0.0, self.offset),
            value=torch.where(models, 0.0, self.value),
            gradient=torch.where(at, gradients.to(self.gradient.dtype), self.gradient),
            aim=torch.where(models, aim, self.aim),
        )

    def turned(self, direction: Float[Tensor, "m k"], models: Bool[Tensor, " m"]) -> _State:
        """Return the state with ``models`` heading along ``direction``, a full step at first."""
        if bool(models.all()):
            return replace(self, direction=direction, length=torch.ones_like(self.length))
        return replace(
            self,
            direction=torch.where(models[:, None], direction, self.direction),
            length=torch.where(models, 1.0, self.length),
        )


def _start(
    objective: Objective,
    precondition: Callable[[Float[Tensor, "m k"]], Float[Tensor, "m k"]],
    gradient_tolerance: float,
    working: torch.dtype,
) -> _State:
    gradient = objective.gradients.to(working)
    none, one = torch.zeros_like(gradient), torch.ones_like(gradient[:, 0])
    return _State(
        offset=none,
        value=0 * one,
        gradient=gradient,
        direction=-precondition(gradient),
        length=one,
        aim=_aim(_norm(objective.gradients), gradient_tolerance),
        pairs=(_Pair(s=none, y=none, weight=0 * one),) * MEMORY,
    )


def _aim(norm: Float64[Tensor, " m"], gradient_tolerance: float) -> Float64[Tensor, " m"]:
    # Less than the tolerance, so that what the working precision missed does not ask for one anchor more.
    return (_REDUCTION * norm).clamp(min=0.9 * gradient_tolerance)


def _advance(here: _State, objective: Objective) -> tuple[_State, Bool[Tensor, " m"]]:
    """Try every model's step; return the state with those that held taken, the others shortened, and which held."""
    step = here.length[:, None] * here.direction
    offset = here.offset + step
    value, noise, gradient = objective(offset)
    slope, slope_there = _dot(here.gradient, here.direction), _dot(gradient, here.direction)
    change = gradient - here.gradient
    curvature = _dot(step, change)
    decreased = (value <= here.value + _SUFFICIENT_DECREASE * here.length * slope) | (slope_there <= 0)
    flat = (value <= here.value + noise) & (slope_there <= -_FLAT_SLOPE * slope)
    moved = (decreased | flat) & (curvature > 0) & torch.isfinite(1 / curvature)
    pair = _Pair(s=step, y=change, weight=1 / curvature)
    newer = (*here.pairs[1:], pair)
    if bool(moved.all()):
        return replace(here, offset=offset, value=value, gradient=gradient, pairs=newer), moved
    # Where the slope, taken as linear along the step, vanishes.
    shorter = (slope / (slope - slope_there)).nan_to_num(0.1).clamp(0.1, 0.5)
    state = replace(
        here,
        offset=torch.where(moved[:, None], offset, here.offset),
        value=torch.where(moved, value, here.value),
        gradient=torch.where(moved[:, None], gradient, here.gradient),
        length=torch.where(moved, 1.0, here.length * shorter),
        # A refused step must not push out a useful pair.
        pairs=tuple(new.where(moved, old) for new, old in zip(newer, here.pairs, strict=True)),
    )
    return state, moved


def _direction(
    here: _State, precondition: Callable[[Float[Tensor, "m k"]], Float[Tensor, "m k"]]
) -> Float[Tensor, "m k"]:
    """Return minus the quasi-Newton inverse Hessian times the gradient, by the two loops."""
    q = here.gradient
    shares = []
    for pair in reversed(here.pairs):
        share = pair.weight * _dot(pair.s, q)
        q = torch.addcmul(q, share[:, None], pair.y, value=-1)
        shares.append(share)
    r = precondition(q)
    for pair, share in zip(here.pairs, reversed(shares), strict=True):
        r = torch.addcmul(r, (share - pair.weight * _dot(pair.y, r))[:, None], pair.s)
    return -r


def _dot(a: Float[Tensor, "m k"], b: Float[Tensor, "m k"]) -> Float[Tensor, " m"]:
    return (a * b).sum(dim=1)


def _norm(a: Float[Tensor, "m k"]) -> Float[Tensor, " m"]:
    norm: Tensor = torch.linalg.vector_norm(a, dim=1)
    return norm
