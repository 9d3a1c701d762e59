"""Many multi-layer perceptrons at once, their backward pass written out.

Layout: a layer's weights (m, outputs, inputs), its activations (m, outputs, b): features before
rows, so that the first layer of all models, whose input all share, is one product (m outputs,
inputs) x (inputs, b), its gradient one (m outputs, b) x (b, inputs), and every other product a
batch of products without a copy. Where each model has rows of its own, so is the first layer's.
Gradients are added where the optimiser wants them, in the product itself.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from protocol.recipes import Loss, Precision
from protocol.training.descent.blocks import Blocks
from protocol.training.descent.rounding import rounded
from protocol.training.losses import slopes


class Perceptrons:
    """m perceptrons, as ``sgd.Models``.

    Parameters
    ----------
    weights : blocks (m, outputs, inputs) and (m, outputs), layer by layer; changed by who trains.
    loss, precision : the recipe's.
    """

    def __init__(self, weights: Blocks, loss: Loss, precision: Precision) -> None:
        self.weights, self._loss, self._precision = weights, loss, precision

    def scores(self, x: Float32[Tensor, "q d"]) -> Float32[Tensor, "m q c"]:
        """Return each model's scores at rows that all share."""
        return self._forward(rounded(x, self._precision), self._operands())[-1].mT

    def add_gradients(
        self,
        x: Float32[Tensor, "*m b d"],
        aim: Float32[Tensor, "*m b c"],
        weight: Float32[Tensor, "m b"],
        into: Blocks,
        beta: float,
    ) -> None:
        """Set ``into`` to ``beta`` times itself plus the gradients of the weighted sums of losses."""
        w = self._operands()
        x = rounded(x, self._precision)
        *hidden, scores = self._forward(x, w)
        slope = slopes(scores, aim.mT, weight.unsqueeze(1), self._loss)
        for layer in range(len(w) - 1, -1, -1):
            into_bias = into.blocks[2 * layer + 1]
            into_bias.mul_(beta).add_(slope.sum(dim=2))
            slope = rounded(slope, self._precision)
            into_weights = into.blocks[2 * layer]
            if layer == 0 and x.ndim == 2:
                into_weights.flatten(0, 1).addmm_(slope.flatten(0, 1), x, beta=beta)
            elif layer == 0:
                into_weights.baddbmm_(slope, x, beta=beta)
            else:
                into_weights.baddbmm_(slope, rounded(hidden[layer - 1], self._precision).mT, beta=beta)
                slope = torch.ops.aten.threshold_backward(torch.bmm(w[layer].mT, slope), hidden[layer - 1], 0)

    def _operands(self) -> list[Float32[Tensor, "m o i"]]:
        return [rounded(block, self._precision) for block in self.weights.blocks[::2]]

    def _forward(self, x: Float32[Tensor, "*m b d"], w: list[Tensor]) -> list[Float[Tensor, "m o b"]]:
        """Return every layer's activations, the last one's without the ReLU."""
        biases = self.weights.blocks[1::2]
        if x.ndim == 2:
            first = torch.addmm(biases[0].reshape(-1, 1), w[0].flatten(0, 1), x.T).view(*biases[0].shape, -1)
        else:
            first = torch.baddbmm(biases[0].unsqueeze(2), w[0], x.mT)
        activations = [first]
        for layer in range(1, len(w)):
            activations[-1].relu_()
            below = rounded(activations[-1], self._precision)
            activations.append(torch.baddbmm(biases[layer].unsqueeze(2), w[layer], below))
        return activations
