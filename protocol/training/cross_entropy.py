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

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

_TILE = 64
"""Models at once in what is as large as the data: the processor's caches hold no more. Does not affect outputs."""


class CrossEntropy:
    """m losses of weights (C, D), flattened to k = C D numbers class by class.

    Parameters
    ----------
    x, labels : shapes (n, D) float64 and (n,) int64, the rows of all models.
    n_classes : C.
    inside : shape (m, n), which rows are each model's.
    l2 : the penalty, above 0.
    anchors : shape (m, k), float64.
    working : the precision of offsets and all that is computed from them.
    """

    def __init__(
        self,
        x: Float64[Tensor, "n d"],
        labels: Int64[Tensor, " n"],
        n_classes: int,
        inside: Bool[Tensor, "m n"],
        l2: float,
        anchors: Float64[Tensor, "m k"],
        working: torch.dtype,
    ) -> None:
        self._x, self._x_working, self._l2, self._inside = x, x.to(working), l2, inside
        # Sum over the model's rows of one-hot(y) x^T: what of the gradient no weights change.
        by_class = [labels == c for c in range(n_classes)]
        self._linear = torch.cat([inside[:, rows].to(x.dtype) @ x[rows] for rows in by_class], dim=1)
        # Sum over the model's rows of P x^T: the slope, at the anchor, of the sum of log(1 + t).
        self._sloped = torch.zeros_like(anchors)
        self.anchors, self.gradients = anchors.clone(), torch.zeros_like(anchors)
        self._probabilities = torch.empty(len(anchors), n_classes, len(x), dtype=working, device=x.device)
        self.move(torch.ones_like(inside[:, 0]), torch.zeros_like(anchors))

    @property
    def probabilities(self) -> Float[Tensor, "m c n"]:
        """Each class's probability at each row, at the anchors; 0 at rows that are not the model's."""
        return self._probabilities

    def __call__(
        self, offsets: Float[Tensor, "m k"]
    ) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"], Float[Tensor, "m k"]]:
        """Return losses less those at the anchors, what rounding may have put into them, and gradients."""
        sloped = self._sloped.to(offsets.dtype)
        anchored = self.gradients.to(offsets.dtype)
        values = (offsets * (anchored - sloped + 0.5 * self._l2 * offsets)).sum(dim=1)
        noise = (offsets * sloped).abs().sum(dim=1)
        gradients = anchored + self._l2 * offsets
        for start in range(0, len(offsets), _TILE):
            tile = slice(start, start + _TILE)
            p = self._probabilities[tile]
            growth = (offsets[tile].reshape(*p.shape[:2], -1) @ self._x_working.T).expm1_().mul_(p)
            t = growth.sum(dim=1)
            growth.addcmul_(p, t.unsqueeze(1), value=-1).mul_((1 / (1 + t)).unsqueeze(1))
            gradients[tile] += (growth @ self._x_working).flatten(1)
            values[tile] += t.log1p_().sum(dim=1)
        # Rounding of the products, of t's cancelling terms and of two sums: 3 to 12 eps of the largest part were seen.
        return values, 16 * torch.finfo(offsets.dtype).eps * noise, gradients

    def move(self, models: Bool[Tensor, " m"], offsets: Float[Tensor, "m k"]) -> None:
        """Move the anchors of ``models`` by their offsets; their gradients there are exact to double precision."""
        for place in torch.nonzero(models).flatten().split(_TILE):
            anchors = self.anchors[place] + offsets[place].to(torch.float64)
            scores = anchors.reshape(len(place), self._probabilities.shape[1], -1) @ self._x.T
            p = torch.softmax(scores, dim=1).mul_(self._inside[place].unsqueeze(1))
            sloped = (p @ self._x).flatten(1)
            self.anchors[place], self._sloped[place] = anchors, sloped
            self.gradients[place] = sloped - self._linear[place] + self._l2 * anchors
            self._probabilities.index_copy_(0, place, p.to(self._probabilities.dtype))

    def take(self, models: Bool[Tensor, " m"]) -> CrossEntropy:
        """Return the losses where ``models`` is True."""
        place = torch.nonzero(models).flatten()
        taken = object.__new__(CrossEntropy)
        taken._x, taken._x_working, taken._l2 = self._x, self._x_working, self._l2
        taken._inside, taken._linear, taken._sloped = self._inside[place], self._linear[place], self._sloped[place]
        taken.anchors, taken.gradients = self.anchors[place], self.gradients[place]
        taken._probabilities = self._probabilities.index_select(0, place)
        return taken
