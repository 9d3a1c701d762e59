"""How gradients move the weights of many models at once.

A model that a batch has no rows of is idle: it makes no step, so that its weights, the optimiser's
state and AdamW's count of steps stay as they are (``recipes.Sgd``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from protocol.recipes import Optimiser, Sgd
from protocol.training.descent.blocks import Blocks


class AddGradients(Protocol):
    """A batch's gradients."""

    def __call__(self, into: Blocks, beta: float) -> None:
        """Set ``into`` to ``beta`` times itself plus the gradients."""
        ...


class Stepper(Protocol):
    """An optimiser on the weights of m models."""

    def step(self, add_gradients: AddGradients, rate: float, idle: Bool[Tensor, " m"] | None) -> None:
        """Move the weights of all models but the idle ones; None where there are none."""
        ...


def stepper(recipe: Sgd, weights: Blocks) -> Stepper:
    """Return the recipe's optimiser, which changes ``weights``."""
    return Momentum(recipe, weights) if recipe.optimiser is Optimiser.MOMENTUM else AdamW(recipe, weights)


class Momentum:
    """velocity = momentum velocity + gradient + decay weights; weights -= rate velocity, as torch.optim.SGD."""

    def __init__(self, recipe: Sgd, weights: Blocks) -> None:
        self._recipe, self._weights, self._velocity = recipe, weights, weights.like()

    def step(self, add_gradients: AddGradients, rate: float, idle: Bool[Tensor, " m"] | None) -> None:
        """See :class:`Stepper`."""
        weights, velocity = self._weights, self._velocity
        with holding(idle, weights, velocity):
            add_gradients(velocity, self._recipe.momentum)
            if self._recipe.weight_decay:
                velocity.flat.add_(weights.flat, alpha=self._recipe.weight_decay)
            weights.flat.add_(velocity.flat, alpha=-rate)


class AdamW:
    """Decoupled weight decay and bias-corrected moments, as torch.optim.AdamW."""

    def __init__(self, recipe: Sgd, weights: Blocks) -> None:
        self._recipe, self._weights = recipe, weights
        self._gradient, self._mean, self._square = weights.like(), weights.like(), weights.like()
        self._steps = torch.zeros(weights.m, dtype=torch.float64)

    def step(self, add_gradients: AddGradients, rate: float, idle: Bool[Tensor, " m"] | None) -> None:
        """See :class:`Stepper`."""
        recipe, weights, mean, square = self._recipe, self._weights, self._mean, self._square
        with holding(idle, weights, mean, square):
            add_gradients(self._gradient, 0.0)
            self._steps += 1.0 if idle is None else (~idle).cpu().to(torch.float64)
            mean.flat.lerp_(self._gradient.flat, 1 - recipe.beta1)
            square.flat.mul_(recipe.beta2).addcmul_(self._gradient.flat, self._gradient.flat, value=1 - recipe.beta2)
            weights.flat.mul_(1 - rate * recipe.weight_decay)
            root = square.flat.sqrt().mul_(self._each((1 - recipe.beta2**self._steps) ** -0.5)).add_(recipe.epsilon)
            weights.flat.sub_((mean.flat / root).mul_(self._each(rate / (1 - recipe.beta1**self._steps))))

    def _each(self, of_model: Float64[Tensor, " m"]) -> float | Tensor:
        """Return a model's number for each of its weights: one number, where all models have the same."""
        if bool((of_model == of_model[0]).all()):
            return float(of_model[0])
        return self._weights.spread(of_model.to(self._weights.flat))


@contextmanager
def holding(idle: Bool[Tensor, " m"] | None, *held: Blocks) -> Iterator[None]:
    """Put back, in the end, the numbers of idle models."""
    if idle is None:
        yield
        return
    before = [blocks.of(idle) for blocks in held]
    yield
    for blocks, numbers in zip(held, before, strict=True):
        blocks.put_back(idle, numbers)
