"""Many copies of any torch module at once, by torch.func: vmap over the models, grad inside."""

from __future__ import annotations

import torch
from jaxtyping import Float32
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from protocol.recipes import Sgd
from protocol.training.descent.blocks import Blocks
from protocol.training.descent.rounding import Rounding
from protocol.training.losses import losses

_SCORED_ROWS = 256


class Stacked:
    """m copies of a module, as ``sgd.Models``.

    Parameters
    ----------
    module : with no state but its parameters; only its structure is used.
    weights : one block for each of its named parameters, in their order; changed by who trains.
    """

    def __init__(self, module: nn.Module, weights: Blocks, recipe: Sgd) -> None:
        self.weights, self._module, self._recipe = weights, module, recipe
        self._names = [name for name, _ in module.named_parameters()]

    def scores(self, x: Float32[Tensor, "q d"]) -> Float32[Tensor, "m q c"]:
        """Return each model's scores at rows that all share."""
        with torch.no_grad(), Rounding(self._recipe.precision):
            scores = vmap(self._forward, in_dims=(0, None), randomness="error")
            parts = [scores(self._parameters(), rows) for rows in x.split(_SCORED_ROWS)]
        return torch.cat(parts, dim=1)

    def add_gradients(
        self,
        x: Float32[Tensor, "*m b d"],
        aim: Float32[Tensor, "*m b c"],
        weight: Float32[Tensor, "m b"],
        into: Blocks,
        beta: float,
    ) -> None:
        """Set ``into`` to ``beta`` times itself plus the gradients of the weighted sums of losses."""
        shared = None if x.ndim == 2 else 0
        with Rounding(self._recipe.precision):
            gradients_of = vmap(grad(self._loss), in_dims=(0, shared, shared, 0), randomness="error")
            gradients = gradients_of(self._parameters(), x, aim, weight)
        for name, block in zip(self._names, into.blocks, strict=True):
            block.mul_(beta).add_(gradients[name])

    def _parameters(self) -> dict[str, Tensor]:
        return dict(zip(self._names, self.weights.blocks, strict=True))

    def _forward(self, parameters: dict[str, Tensor], x: Float32[Tensor, "b d"]) -> Float32[Tensor, "b c"]:
        rows = x.unflatten(1, self._recipe.image) if self._recipe.is_image else x
        out: Tensor = functional_call(self._module, parameters, (rows,))
        return out

    def _loss(
        self,
        parameters: dict[str, Tensor],
        x: Float32[Tensor, "b d"],
        aim: Float32[Tensor, "b c"],
        weight: Float32[Tensor, " b"],
    ) -> Float32[Tensor, ""]:
        return (losses(self._forward(parameters, x), aim, self._recipe.loss) * weight).sum()
