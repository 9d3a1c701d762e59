"""Stochastic gradient descent on many networks at once.

Every subset of a batch trains the same network on the same rows in the same order; a row that a
subset leaves out weighs 0 there, or is left away (``minibatches``). With one training seed for all,
perceptrons look a batch of rows up once, and the first product of all of them is one. With a seed for
each, every model has an order and first weights of its own, and rows are looked up for each.

Where a network begins: a parameter with two axes or more is uniform within sqrt(6 / fan-in), fan-in
being its size over its first axis, from the recipe's own stream (SPEC 4) and so the same with every
version of torch, device and batch. One with fewer axes is 1 if it is called ``weight``, else 0.

Rules: float32 throughout, but for what ``rounding`` does to the operands of products. Whatever can
change an output beyond the order of additions comes from the recipe.
"""

from __future__ import annotations

import functools
import math
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64
from torch import Tensor, nn

from protocol.errors import TrainingError
from protocol.game.sampling import initial_weights
from protocol.recipes import Factory, Precision, Schedule, Sgd
from protocol.training.descent.blocks import Blocks
from protocol.training.descent.minibatches import Minibatches
from protocol.training.descent.networks import OwnFactory, network
from protocol.training.descent.optimisers import stepper
from protocol.training.descent.own_networks import trying
from protocol.training.descent.perceptrons import Perceptrons
from protocol.training.descent.rounding import tensor_cores, unrounded
from protocol.training.descent.stacked import Stacked
from protocol.training.losses import aims

ADVICE = "training diverged: lower recipe.learning_rate, or raise recipe.warmup_steps"

TILE_BYTES = 1 << 24
"""What perceptrons trained side by side on a processor may take: more gain nothing. Does not affect outputs."""

STACK_BYTES = 1 << 26
"""Likewise of other networks. Small ones gain from company what their many calls cost; those that fill it alone lose
(benchmarks/resnets_train_side_by_side.py)."""

_MIXED = 2.0**-5
"""A difference of this share of the scores comes from another row; rounding, to bfloat16 even, makes a tenth of it."""


class Models(Protocol):
    """m networks of one shape, side by side; whoever trains them changes ``weights``."""

    weights: Blocks

    def scores(self, x: Float32[Tensor, "q d"]) -> Float32[Tensor, "m q c"]:
        """Return each model's scores at rows that all share."""
        ...

    def add_gradients(
        self,
        x: Float32[Tensor, "*m b d"],
        aim: Float32[Tensor, "*m b c"],
        weight: Float32[Tensor, "m b"],
        into: Blocks,
        beta: float,
    ) -> None:
        """Set ``into`` to ``beta`` times itself plus the gradients of the sums of weight times loss.

        Rows and what they aim at are all models', shapes (b, d) and (b, C), or each has its own.
        """
        ...


class SgdSolver:
    """Recipe ``sgd`` on any subset of units.

    Parameters
    ----------
    x_train, labels : shapes (n, d) float64 and (n,), class ids, or values for a regression.
    n_classes : C, or 0 for a regression.
    unit_of_row : shape (n,), int64, from 0 to N - 1.
    x_target : shape (q, d), float64: the rows that are scored.
    own : the user's own factory, where the recipe has one.

    Raises
    ------
    ArgumentError, TaskFileError, TrainingError
        As ``networks.network`` says, or a network of the user's own cannot be stacked, or has not C scores a row.
    """

    advice = ADVICE

    def __init__(
        self,
        recipe: Sgd,
        x_train: Float64[Tensor, "n d"],
        labels: Int64[Tensor, " n"] | Float64[Tensor, " n"],
        n_classes: int,
        unit_of_row: Int64[Tensor, " n"],
        x_target: Float64[Tensor, "q d"],
        own: OwnFactory | None,
    ) -> None:
        self._recipe, self._unit_of_row = recipe, unit_of_row
        self._x, self._x_target = x_train.to(torch.float32), x_target.to(torch.float32)
        # A regression is trained in standard units of all training rows, and read in its own.
        self._mean, self._scale = (0.0, 1.0) if n_classes else location_and_scale(labels)
        aim = aims(labels, n_classes, recipe.loss) if n_classes else standard(labels, self._mean, self._scale)
        self._aim = aim.to(torch.float32)
        # Perceptrons gain more from one first product of all; a network's layers are dear, and each row counts.
        packed = recipe.factory is not Factory.MLP
        self._batches = Minibatches(recipe, self._x, self._aim, lambda counts: 1 / counts, is_packed=packed)
        self._module = network(recipe, self._x.shape[1], self._aim.shape[1], own).to(self._x)
        self._shapes = [tuple(parameter.shape) for parameter in self._module.parameters()]
        if recipe.factory is Factory.CUSTOM:
            self._try()
        self._model_bytes = 4 * (4 * sum(map(math.prod, self._shapes)) + 4 * self._activations())

    @property
    def bytes_per_subset(self) -> int:
        """Working memory that one more subset in a batch takes, about."""
        return self._model_bytes + 6 * len(self._x) + 16 * self._aim.shape[1] * len(self._x_target)

    def scores(self, subsets: Bool[Tensor, "m n"], seeds: Int64[np.ndarray, " m"]) -> Float64[Tensor, "m q c"]:
        """Return the scores at the target rows of a model per subset; not finite where training diverged."""
        tile = len(subsets)
        if self._x.device.type == "cpu":
            is_mlp = self._recipe.factory is Factory.MLP
            tile = max(TILE_BYTES // self._model_bytes, 8) if is_mlp else max(STACK_BYTES // self._model_bytes, 1)
        parts = []
        with tensor_cores(self._recipe.precision, self._x.device):
            for start in range(0, len(subsets), tile):
                inside = subsets[start : start + tile].index_select(1, self._unit_of_row)
                parts.append(self._trained(inside, seeds[start : start + tile]))
        return torch.cat(parts) * self._scale + self._mean

    def _try(self) -> None:
        """Raise :class:`TrainingError` unless two models of the user's own network can be trained, and mix no rows."""
        with trying(self._module):
            both, alone = self._tried(2), self._tried(1)
            missed = unrounded(lambda: self._run(self._x[:2])) if self._recipe.precision is not Precision.FP32 else []
            if missed:
                raise TrainingError(
                    f"recipe.precision: expected fp32, got {self._recipe.precision.value}, which cannot round what "
                    f"this network multiplies in {', '.join(missed)}; write it as a @ b, or use nn.Linear"
                )
            if (both[:, :1] - alone).abs().max() > _MIXED * both.abs().max():
                raise TrainingError(
                    "factory: expected scores of a row that depend on that row alone, got others beside another row; "
                    "use no norm or attention over the first axis, which is the rows'"
                )

    def _tried(self, n_rows: int) -> Float32[Tensor, "2 r c"]:
        """Score and differentiate two models on so many rows, and return the scores."""
        models, x, aim = self._begin(np.arange(2)), self._x[:n_rows], self._aim[:n_rows]
        found, expected = tuple(self._run(x).shape), tuple(aim.shape)
        if found != expected:
            raise TrainingError(f"factory: expected scores of shape {expected} for {len(x)} of the rows, got {found}")
        weight = torch.ones(2, len(x), device=x.device)
        models.add_gradients(x.expand(2, -1, -1), aim.expand(2, -1, -1), weight, models.weights.like(), 0.0)
        return models.scores(x)

    def _run(self, x: Float32[Tensor, "b d"]) -> Tensor:
        """Return what the network gives for these rows with the weights that it was built with."""
        with torch.no_grad():
            out: Tensor = self._module(x.unflatten(1, self._recipe.image) if self._recipe.is_image else x)
        return out

    def _activations(self) -> int:
        """Return how many numbers the layers of one model give for a batch."""
        counted: list[int] = []

        def count(_: nn.Module, __: object, out: object) -> None:
            tensors = out if isinstance(out, tuple | list) else [out]  # attention gives its weights, too
            counted.extend(tensor.numel() for tensor in tensors if isinstance(tensor, Tensor))

        leaves = [layer for layer in self._module.modules() if not list(layer.children())]
        hooks = [layer.register_forward_hook(count) for layer in leaves]
        self._run(self._x[:1])
        for hook in hooks:
            hook.remove()
        return self._recipe.batch_size * (sum(counted) + self._x.shape[1])

    def _trained(self, inside: Bool[Tensor, "m n"], seeds: Int64[np.ndarray, " m"]) -> Float64[Tensor, "m q c"]:
        models = self._begin(seeds)
        optimiser = stepper(self._recipe, models.weights)
        for step, batch in enumerate(self._batches(inside, seeds)):
            add_gradients = functools.partial(models.add_gradients, batch.x, batch.aim, batch.weight)
            rate = learning_rate(self._recipe, step, self._batches.n_steps)
            optimiser.step(add_gradients, rate, batch.idle)
        return models.scores(self._x_target).to(torch.float64)

    def _begin(self, seeds: Int64[np.ndarray, " m"]) -> Models:
        weights = Blocks(self._shapes, len(seeds), torch.float32, self._x.device)
        different, which = np.unique(seeds, return_inverse=True)
        for j, ((name, _), block) in enumerate(zip(self._module.named_parameters(), weights.blocks, strict=True)):
            first = np.stack([first_values(name, block.shape[1:], int(seed), j) for seed in different])
            block.copy_(torch.from_numpy(first)[which])
        if self._recipe.factory is Factory.MLP:
            return Perceptrons(weights, self._recipe.loss, self._recipe.precision)
        return Stacked(self._module, weights, self._recipe)


def learning_rate(recipe: Sgd, step: int, n_steps: int) -> float:
    """Return the rate of a step, counted from 0 (``recipes.Schedule``)."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    t = (step - recipe.warmup_steps) / max(n_steps - recipe.warmup_steps, 1)
    match recipe.schedule:
        case Schedule.COSINE:
            return recipe.learning_rate * (1 + math.cos(math.pi * t)) / 2
        case Schedule.LINEAR:
            return recipe.learning_rate * (1 - t)
        case _:
            return recipe.learning_rate


def location_and_scale(values: Float64[Tensor, " n"]) -> tuple[float, float]:
    """Return mean and standard deviation, the sums rounded once and so the same on every machine."""
    numbers = values.tolist()
    mean = math.fsum(numbers) / len(numbers)
    differences = [number - mean for number in numbers]
    # Products: ``** 2`` is the C library's pow, which need not round correctly and is not the same everywhere.
    return mean, math.sqrt(math.fsum(d * d for d in differences) / len(numbers))


def standard(values: Float64[Tensor, " n"], mean: float, scale: float) -> Float64[Tensor, "n 1"]:
    """Return what a regression aims at; a scale of 0 leaves zeros."""
    differences = values - mean
    # By a plain number CUDA multiplies by its reciprocal: two roundings, where exact aims have one.
    return (differences / torch.full_like(differences, scale or 1.0)).unsqueeze(1)


def first_values(name: str, shape: tuple[int, ...], seed: int, parameter: int) -> Float64[np.ndarray, "*shape"]:
    """Return where a parameter begins, before it is rounded; see the head of this file."""
    if len(shape) < 2:
        return np.full(shape, float(name.rpartition(".")[2] == "weight"), dtype=np.float64)
    size = math.prod(shape)
    bound = math.sqrt(6.0 / (size // shape[0]))
    return (bound * initial_weights(seed, parameter, size)).reshape(shape)
