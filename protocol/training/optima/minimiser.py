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
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

MEMORY = 5

_REDUCTION = 3e-4
"""Well above what single precision resolves (about 1e-6), and small enough that two moves do."""

_SUFFICIENT_DECREASE = 1e-4
_FLAT_SLOPE = 0.8
_SHORTEST_STEP = 1e-7
# Copying what is left costs about a round, so that leaving waits until it pays.
_LEAVING_SHARE = 0.15


_Precondition = Callable[[Float[Tensor, "m k"]], Float[Tensor, "m k"]]


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

    def move(self, models: Int64[Tensor, " r"], offsets: Float[Tensor, "r k"]) -> None:
        """Move the anchors of ``models`` by an offset each."""
        ...

    def take(self, models: Int64[Tensor, " r"]) -> Self:
        """Return the functions of ``models``."""
        ...


def minimise(
    objective: Objective,
    precondition: _Precondition,
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
            stay = torch.nonzero(~finished).flatten()
            place, finished, objective, here = place[stay], finished[stay], objective.take(stay), here.take(stay)
        moved = _advance(here, objective)
        arrived = (_norm(here.gradient) <= here.aim) | (here.length < _SHORTEST_STEP) | (round_ == max_rounds - 1)
        arrived &= ~finished
        if bool(arrived.any()):
            there = torch.nonzero(arrived).flatten()
            before = _norm(objective.gradients[there])
            objective.move(there, here.offset[there])
            norm = _norm(objective.gradients[there])
            found[place[there]] = objective.anchors[there]
            done[place[there]] = norm <= gradient_tolerance
            # An anchor no better than the last: what is left is rounding.
            finished[there] = (norm <= gradient_tolerance) | ~(norm < before)
            here.anchor(there, objective.gradients[there], _aim(norm, gradient_tolerance))
        here.turn(here.memory.descent(here.gradient, precondition), moved | arrived)
    return found, done


class _Memory:
    """The last ``MEMORY`` moves s of m models, their gradients' changes y, and 1 / s.y.

    A pair of zeros, with which all places begin, changes no direction. The order by age is common to all models.
    """

    def __init__(self, s: Float[Tensor, "b m k"], y: Float[Tensor, "b m k"], weight: Float[Tensor, "b m"]) -> None:
        self._s, self._y, self._weight = s, y, weight
        self._order: list[int] = []  # places in use, the oldest first

    def take(self, models: Int64[Tensor, " r"]) -> _Memory:
        taken = _Memory(self._s[:, models], self._y[:, models], self._weight[:, models])
        taken._order = self._order.copy()
        return taken

    def add(
        self, s: Float[Tensor, "m k"], y: Float[Tensor, "m k"], weight: Float[Tensor, " m"], moved: Bool[Tensor, " m"]
    ) -> None:
        """Put the moves of the models that ``moved`` in the place of the oldest; the others lose none."""
        place = self._order.pop(0) if len(self._order) == MEMORY else len(self._order)
        before, self._order = [place, *self._order], [*self._order, place]
        stay = torch.nonzero(~moved).flatten()
        for pairs, new in ((self._s, s), (self._y, y), (self._weight, weight)):
            kept = [pairs[i, stay] for i in before] if len(stay) else []
            pairs[place] = new
            for i, old in zip(self._order, kept, strict=False):
                pairs[i, stay] = old

    def descent(self, gradient: Float[Tensor, "m k"], precondition: _Precondition) -> Float[Tensor, "m k"]:
        """Return minus the quasi-Newton inverse Hessian times the gradient, by the two loops."""
        q, shares = -gradient, {}
        for place in reversed(self._order):
            shares[place] = (self._weight[place] * _dot(self._s[place], q)).unsqueeze(1)
            q.addcmul_(shares[place], self._y[place], value=-1)
        r = precondition(q)
        for place in self._order:
            back = (self._weight[place] * _dot(self._y[place], r)).unsqueeze(1)
            r.addcmul_(shares[place] - back, self._s[place])
        return r


@dataclass(kw_only=True, eq=False)
class _State:
    """Where m models stand, where they head, how long a step they try, and what they remember; changed in place.

    aim : the gradient's norm at which a model's anchor moves.
    """

    offset: Float[Tensor, "m k"]
    value: Float[Tensor, " m"]
    gradient: Float[Tensor, "m k"]
    direction: Float[Tensor, "m k"]
    length: Float[Tensor, " m"]
    aim: Float64[Tensor, " m"]
    memory: _Memory

    def take(self, models: Int64[Tensor, " r"]) -> _State:
        return _State(
            offset=self.offset[models],
            value=self.value[models],
            gradient=self.gradient[models],
            direction=self.direction[models],
            length=self.length[models],
            aim=self.aim[models],
            memory=self.memory.take(models),
        )

    def anchor(
        self, models: Int64[Tensor, " r"], gradients: Float64[Tensor, "r k"], aim: Float64[Tensor, " r"]
    ) -> None:
        """Put ``models`` at their new anchors."""
        self.offset[models], self.value[models] = 0.0, 0.0
        self.gradient[models], self.aim[models] = gradients.to(self.gradient.dtype), aim

    def turn(self, direction: Float[Tensor, "m k"], models: Bool[Tensor, " m"]) -> None:
        """Head ``models`` along ``direction``, a full step at first."""
        self.direction = direction if bool(models.all()) else torch.where(models[:, None], direction, self.direction)
        self.length.masked_fill_(models, 1.0)


def _start(
    objective: Objective, precondition: _Precondition, gradient_tolerance: float, working: torch.dtype
) -> _State:
    gradient = objective.gradients.to(working)
    moves, one = gradient.new_zeros(2, MEMORY, *gradient.shape), torch.ones_like(gradient[:, 0])
    return _State(
        offset=torch.zeros_like(gradient),
        value=0 * one,
        gradient=gradient,
        direction=-precondition(gradient),
        length=one,
        aim=_aim(_norm(objective.gradients), gradient_tolerance),
        memory=_Memory(moves[0], moves[1], gradient.new_zeros(MEMORY, len(gradient))),
    )


def _aim(norm: Float64[Tensor, " m"], gradient_tolerance: float) -> Float64[Tensor, " m"]:
    # Less than the tolerance, so that what the working precision missed does not ask for one anchor more.
    return (_REDUCTION * norm).clamp(min=0.9 * gradient_tolerance)


def _advance(here: _State, objective: Objective) -> Bool[Tensor, " m"]:
    """Try every model's step, take those that hold and shorten the others; return which held."""
    step = here.length[:, None] * here.direction
    offset = here.offset + step
    value, noise, gradient = objective(offset)
    slope, slope_there = _dot(here.gradient, here.direction), _dot(gradient, here.direction)
    change = gradient - here.gradient
    weight = 1 / _dot(step, change)
    decreased = (value <= here.value + _SUFFICIENT_DECREASE * here.length * slope) | (slope_there <= 0)
    flat = (value <= here.value + noise) & (slope_there <= -_FLAT_SLOPE * slope)
    moved = (decreased | flat) & (weight > 0) & torch.isfinite(weight)
    here.memory.add(step, change, weight, moved)
    if not bool(moved.all()):
        at = moved[:, None]
        offset, gradient = torch.where(at, offset, here.offset), torch.where(at, gradient, here.gradient)
        value = torch.where(moved, value, here.value)
        # Where the slope, taken as linear along the step, vanishes.
        shorter = (slope / (slope - slope_there)).nan_to_num(0.1).clamp(0.1, 0.5)
        here.length = torch.where(moved, 1.0, here.length * shorter)
    here.offset, here.value, here.gradient = offset, value, gradient
    return moved


def _dot(a: Float[Tensor, "m k"], b: Float[Tensor, "m k"]) -> Float[Tensor, " m"]:
    dot: Tensor = torch.linalg.vecdot(a, b)
    return dot


def _norm(a: Float[Tensor, "m k"]) -> Float[Tensor, " m"]:
    return _dot(a, a).sqrt()
