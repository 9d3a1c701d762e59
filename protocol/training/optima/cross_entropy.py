"""Penalised cross-entropies of many models on one set of rows, as ``minimiser.Objective``.

A model's loss is the sum over its rows of cross-entropy + l2/2 |W|^2. At the anchor W the gradient
is computed in double precision. An offset V changes the score of class c at a row by U_c = x.V_c,
its probability from P_c to P_c e^(U_c) / (1 + t) with t = sum_k P_k (e^(U_k) - 1), and so the
gradient by

    sum over rows of P_c (e^(U_c) - 1 - t) / (1 + t) x  +  l2 V_c

in which nothing large cancels: in single precision it is good to about 1e-6 of itself, however
small V is. The loss changes by <gradient, V> + l2/2 |V|^2 + sum over rows of (log(1 + t) - P.U).
"""

from __future__ import annotations

from enum import Enum, auto

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

_TILE = 32
"""Models at once in what is as large as the data: the processor's caches hold no more. Does not affect outputs."""

_NEAR, _FAR = 2.0**-5, 2.0**-9
"""In single precision U + U^2 / 2 is e^U - 1 to 2e-4 of itself up to the first, and the rounded e^U less 1 to 3e-5 of
the largest from the second on: below what ``minimiser`` asks between two anchors."""


class CrossEntropy:
    """m losses of weights (C, D), flattened to k = C D numbers class by class.

    Parameters
    ----------
    x, labels : shapes (n, D) float64 and (n,) int64, the rows of all models.
    n_classes : C.
    inside : shape (m, n), which rows are each model's.
    l2 : the penalty, above 0.
    anchors : shape (m, k), or (1, k) where all models begin; float64.
    working : the precision of offsets and all that is computed from them.
    """

    def __init__(
        self,
        x: Float64[Tensor, "n d"],
        labels: Int64[Tensor, " n"],
        n_classes: int,
        inside: Bool[Tensor, "m n"],
        l2: float,
        anchors: Float64[Tensor, "a k"],
        working: torch.dtype,
    ) -> None:
        m, n = inside.shape
        self._x, self._l2, self._inside = x, l2, inside
        self._x_working = x.to(working)
        self._x_across = self._x_working.T.contiguous()  # as x lies, a product with it takes a third longer
        self._longest_row = float(torch.linalg.vector_norm(x, dim=1).max())
        tile = min(_TILE, m)
        self._room, self._row_room = (x.new_empty(tile, rows, n, dtype=working) for rows in (n_classes, 1))
        # Sum over the model's rows of one-hot(y) x^T: what of the gradient no weights change.
        by_class = [labels == c for c in range(n_classes)]
        self._linear = torch.cat([inside[:, rows].to(x.dtype) @ x[rows] for rows in by_class], dim=1)
        self.anchors, self.gradients = x.new_empty(2, m, anchors.shape[1])
        # In the working precision: the gradients, and the sums over the model's rows of P x^T, which are the slopes,
        # at the anchor, of the sums of log(1 + t).
        self._gradients, self._sloped = x.new_empty(2, m, anchors.shape[1], dtype=working)
        self._probabilities = x.new_empty(m, n_classes, n, dtype=working)
        common = self._probabilities_at(anchors) if len(anchors) == 1 else None
        for place in torch.arange(m, device=x.device).split(_TILE):
            points = anchors[place] if common is None else anchors.expand(len(place), -1)
            self._anchor(place, points, self._probabilities_at(points) if common is None else common)

    @property
    def probabilities(self) -> Float[Tensor, "m c n"]:
        """Each class's probability at each row, at the anchors; 0 at rows that are not the model's."""
        return self._probabilities

    def __call__(
        self, offsets: Float[Tensor, "m k"]
    ) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"], Float[Tensor, "m k"]]:
        """Return losses less those at the anchors, what rounding may have put into them, and gradients."""
        values = _dot(offsets, torch.add(self._gradients, offsets, alpha=0.5 * self._l2).sub_(self._sloped))
        noise = (offsets * self._sloped).abs_().sum(dim=1)
        gradients = torch.add(self._gradients, offsets, alpha=self._l2)
        reach = self._longest_row * offsets.view(len(offsets), self._room.shape[1], -1).norm(dim=2).amax(dim=1)
        reaches = reach.tolist()
        for start in range(0, len(offsets), _TILE):
            tile = slice(start, start + _TILE)
            p = self._probabilities[tile]
            growth, t, wide = self._room[: len(p)], self._row_room[: len(p)], (len(p) * p.shape[1], -1)
            torch.mm(offsets[tile].view(wide), self._x_across, out=growth.view(wide))
            way = _way(offsets.dtype, reaches[tile])
            _grow(growth, way).mul_(p)
            torch.sum(growth, dim=1, keepdim=True, out=t)
            growth.addcmul_(p, t, value=-1)
            values[tile] += _log_of_1_and(t, way).sum(dim=(1, 2))
            growth.mul_(t.add_(1).reciprocal_())
            gradients[tile].view(wide).addmm_(growth.view(wide), self._x_working)
        # Rounding of the products, of t's cancelling terms and of two sums: 3 to 12 eps of the largest part were seen.
        # Where t is a difference of exponentials, it and 1 + t are rounded to eps.
        noise = 16 * noise + 2 * len(self._x) * (reach >= _FAR)
        return values, torch.finfo(offsets.dtype).eps * noise, gradients

    def move(self, models: Int64[Tensor, " r"], offsets: Float[Tensor, "r k"]) -> None:
        """Move the anchors of ``models`` by an offset each; their gradients there are exact to double precision."""
        for place, offset in zip(models.split(_TILE), offsets.split(_TILE), strict=True):
            anchors = self.anchors[place] + offset.to(torch.float64)
            self._anchor(place, anchors, self._probabilities_at(anchors))

    def _probabilities_at(self, points: Float64[Tensor, "r k"]) -> Float64[Tensor, "r c n"]:
        return torch.softmax(points.reshape(len(points), self._room.shape[1], -1) @ self._x.T, dim=1)

    def _anchor(
        self, models: Int64[Tensor, " r"], anchors: Float64[Tensor, "r k"], probabilities: Float64[Tensor, "s c n"]
    ) -> None:
        p = probabilities * self._inside[models].unsqueeze(1)
        sloped = (p @ self._x).flatten(1)
        gradients = sloped - self._linear[models] + self._l2 * anchors
        self.anchors[models], self.gradients[models] = anchors, gradients
        self._gradients[models], self._sloped[models] = gradients.to(self._room.dtype), sloped.to(self._room.dtype)
        self._probabilities.index_copy_(0, models, p.to(self._room.dtype))

    def take(self, models: Int64[Tensor, " r"]) -> CrossEntropy:
        """Return the losses of ``models``."""
        taken = object.__new__(CrossEntropy)
        taken._x, taken._x_working, taken._x_across = self._x, self._x_working, self._x_across
        taken._longest_row, taken._room, taken._row_room = self._longest_row, self._room, self._row_room
        taken._l2 = self._l2
        taken._inside, taken._linear = self._inside[models], self._linear[models]
        taken._gradients, taken._sloped = self._gradients[models], self._sloped[models]
        taken.anchors, taken.gradients = self.anchors[models], self.gradients[models]
        taken._probabilities = self._probabilities[models]
        return taken


class _Way(Enum):
    """How e^U - 1 is computed: torch's expm1 costs as much as a matrix product, so that it is the last resort."""

    EXACT = auto()
    NEAR = auto()
    FAR = auto()


def _way(working: torch.dtype, reaches: list[float]) -> _Way:
    """Return the way for models whose scores change by at most ``reaches``."""
    if working != torch.float32:
        return _Way.EXACT
    if max(reaches) <= _NEAR:
        return _Way.NEAR
    return _Way.FAR if min(reaches) >= _FAR else _Way.EXACT


def _grow(scores: Float[Tensor, "m c n"], way: _Way) -> Float[Tensor, "m c n"]:
    """Return e^U - 1 in U's place."""
    if way is _Way.NEAR:
        return scores.addcmul_(scores, scores, value=0.5)
    return scores.exp_().sub_(1) if way is _Way.FAR else scores.expm1_()


def _log_of_1_and(t: Float[Tensor, "m 1 n"], way: _Way) -> Float[Tensor, "m 1 n"]:
    if way is _Way.NEAR:
        return torch.addcmul(t, t, t, value=-0.5)
    return (1 + t).log_() if way is _Way.FAR else t.log1p()


def _dot(a: Float[Tensor, "m k"], b: Float[Tensor, "m k"]) -> Float[Tensor, " m"]:
    dot: Tensor = torch.linalg.vecdot(a, b)
    return dot
