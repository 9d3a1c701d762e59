"""Many perceptrons in the profile ``exact``; layout as in ``perceptrons``, numbers as in ``grids``."""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor

from protocol.training.descent.blocks import Blocks
from protocol.training.exact.grids import Grids, SlopesOf


class ExactPerceptrons:
    """Perceptrons of one shape, as ``exact.Network``."""

    def __init__(self, widths: tuple[int, ...], grids: Grids) -> None:
        self._widths, self._grids = widths, grids

    def bytes_per_subset(self, n_rows: int) -> int:
        """Return the working memory of one model on so many rows."""
        return 24 * sum(self._widths) * n_rows

    def scores(self, weights: Blocks, x: Float64[Tensor, "q d"]) -> Float64[Tensor, "m c q"]:
        """Return each model's scores at rows that all share, not rounded, in units of an activation's step."""
        return self._forward(weights, x)[-1]

    def add_gradients(
        self, weights: Blocks, x: Float64[Tensor, "*m b d"], slopes_of: SlopesOf, into: Blocks, beta: float
    ) -> None:
        """Set ``into`` to ``beta`` times itself plus the gradients, not rounded, in units of a velocity's step."""
        w, grid = weights.blocks[::2], self._grids.slope
        of_bias = self._grids.in_velocity(grid.step_bits)
        of_weight = self._grids.in_velocity(grid.step_bits + self._grids.activation.step_bits)
        *hidden, scores = self._forward(weights, x)
        slope = slopes_of(scores)
        for layer in range(len(w) - 1, -1, -1):
            into.blocks[2 * layer + 1].mul_(beta).add_(slope.sum(dim=2), alpha=of_bias)
            into_weights = into.blocks[2 * layer]
            if layer == 0 and x.ndim == 2:
                into_weights.flatten(0, 1).addmm_(slope.flatten(0, 1), x, beta=beta, alpha=of_weight)
                return
            below = x.mT if layer == 0 else hidden[layer - 1]
            into_weights.baddbmm_(slope, below.mT, beta=beta, alpha=of_weight)
            if layer:
                slope = grid.round_(torch.bmm(w[layer].mT, slope))
                torch.ops.aten.threshold_backward(slope, below, 0, grad_input=slope)

    def _forward(self, weights: Blocks, x: Float64[Tensor, "*m b d"]) -> list[Float64[Tensor, "m o b"]]:
        """Return every layer's activations; the last one's sums, not rounded."""
        w, biases = weights.blocks[::2], weights.blocks[1::2]
        grid = self._grids.activation
        unit = 2.0**grid.step_bits  # biases are in their own
        if x.ndim == 2:
            first = torch.addmm(biases[0].reshape(-1, 1), w[0].flatten(0, 1), x.T, beta=unit)
            activations = [first.view(*biases[0].shape, -1)]
        else:
            activations = [torch.baddbmm(biases[0].unsqueeze(2), w[0], x.mT, beta=unit)]
        for layer in range(1, len(w)):
            below = grid.rectify_(activations[-1])
            activations.append(torch.baddbmm(biases[layer].unsqueeze(2), w[layer], below, beta=unit))
        return activations
