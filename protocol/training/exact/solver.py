"""Recipe ``sgd`` in the profile ``exact``: the same bits everywhere.

Every number is a multiple of a power of two in float64 (``protocol.numerics``), so the sums of a
matrix product are exact whatever their order. Between products numbers are rounded to their step,
half to even; that is one rounding of an exact sum, and every other operation is on single numbers
and correctly rounded by IEEE 754. A product whose result is added at once is itself exact, so that
a machine that fuses the two changes nothing. There is no exponential, logarithm or cosine.

Inputs, activations, slopes and velocities are in units of their step (``grids``). Weights are kept
in their own unit, and beside that with 1.5 * 2^52 steps added: adding a step to those rounds it,
once, which a sum rounded to float64 first would not.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from protocol.numerics import SHARE_BITS, VELOCITY_STEP_BITS, WEIGHT_RANGE_BITS, Exact, check_sums, momentum_of, rate_of
from protocol.recipes import Factory, Loss, Sgd
from protocol.training.descent.blocks import Blocks
from protocol.training.descent.minibatches import Batch, Minibatches
from protocol.training.descent.networks import network
from protocol.training.descent.optimisers import holding
from protocol.training.descent.sgd import TILE_BYTES, first_values, learning_rate, location_and_scale, standard
from protocol.training.exact.convolutions import ExactConvolutions
from protocol.training.exact.grids import Grids, SlopesOf
from protocol.training.exact.perceptrons import ExactPerceptrons
from protocol.training.losses import aims

ADVICE = "report it: the exact profile has no training that fails"

_SCORED_ROWS = 64
"""The least rows that are scored at once."""


class Network(Protocol):
    """Networks of one shape, side by side, their weights given."""

    def bytes_per_subset(self, n_rows: int) -> int:
        """Return the working memory of one model on so many rows."""
        ...

    def scores(self, weights: Blocks, x: Float64[Tensor, "q d"]) -> Float64[Tensor, "m c q"]:
        """Return each model's scores at rows that all share, not rounded, in units of an activation's step."""
        ...

    def add_gradients(
        self, weights: Blocks, x: Float64[Tensor, "*m b d"], slopes_of: SlopesOf, into: Blocks, beta: float
    ) -> None:
        """Set ``into`` to ``beta`` times itself plus the gradients, in units of a velocity's step."""
        ...


class ExactSolver:
    """Recipe ``sgd`` on any subset of units, to the bit.

    Parameters are those of ``sgd.SgdSolver``, but that there is no factory of the user's own.

    Raises
    ------
    TaskFileError
        A sum of some layer could need more than 53 bits, a feature is too large for an activation,
        or the rows are no images of the recipe's size.
    """

    advice = ADVICE

    def __init__(
        self,
        recipe: Sgd,
        numerics: Exact,
        x_train: Float64[Tensor, "n d"],
        labels: Int64[Tensor, " n"] | Float64[Tensor, " n"],
        n_classes: int,
        unit_of_row: Int64[Tensor, " n"],
        x_target: Float64[Tensor, "q d"],
    ) -> None:
        self._recipe, self._unit_of_row = recipe, unit_of_row
        n_outputs = n_classes or 1
        module = network(recipe, x_train.shape[1], n_outputs, None)
        check_sums(recipe, numerics, n_features=x_train.shape[1], n_outputs=n_outputs)
        self._grids = Grids(numerics)
        self._momentum, self._decay = momentum_of(recipe), rate_of(recipe.weight_decay)
        self._x, self._x_target = self._grids.inputs(x_train), self._grids.inputs(x_target)
        self._mean, self._scale = (0.0, 1.0) if n_classes else location_and_scale(labels)
        aim = aims(labels, n_classes, recipe.loss) if n_classes else standard(labels, self._mean, self._scale)
        # As in ``sgd``: what a row costs a convolution is more than looking it up for each model.
        packed = recipe.factory is Factory.CNN
        self._batches = Minibatches(recipe, self._x, self._grids.activation.of(aim), _share, is_packed=packed)
        self._names = [name for name, _ in module.named_parameters()]
        self._shapes = [tuple(parameter.shape) for parameter in module.parameters()]
        self._network: Network = (
            ExactConvolutions(recipe, self._grids)
            if recipe.factory is Factory.CNN
            else ExactPerceptrons((*recipe.widths, n_outputs), self._grids)
        )

    @property
    def bytes_per_subset(self) -> int:
        """Working memory that one more subset in a batch takes, about."""
        n_weights = sum(math.prod(shape) for shape in self._shapes)
        working = self._network.bytes_per_subset(self._rows_at_once)
        return 24 * n_weights + working + 12 * len(self._x) + 16 * self._shapes[-1][0] * len(self._x_target)

    @property
    def _rows_at_once(self) -> int:
        return max(self._recipe.batch_size, _SCORED_ROWS)

    def scores(self, subsets: Bool[Tensor, "m n"], seeds: Int64[np.ndarray, " m"]) -> Float64[Tensor, "m q c"]:
        """Return the scores at the target rows of a model per subset."""
        tile = max(TILE_BYTES // self.bytes_per_subset, 8) if self._x.device.type == "cpu" else len(subsets)
        parts = []
        for start in range(0, len(subsets), tile):
            inside = subsets[start : start + tile].index_select(1, self._unit_of_row)
            parts.append(self._trained(inside, seeds[start : start + tile]))
        return torch.cat(parts) * self._scale + self._mean

    def _trained(self, inside: Bool[Tensor, "m n"], seeds: Int64[np.ndarray, " m"]) -> Float64[Tensor, "m q c"]:
        weights = self._begin(seeds)
        shifted, velocity = weights.like(), weights.like()
        shift = 1.5 * 2.0 ** (52 - self._grids.weight.step_bits)
        torch.add(weights.flat, shift, out=shifted.flat)
        for step, batch in enumerate(self._batches(inside, seeds)):
            rate = rate_of(learning_rate(self._recipe, step, self._batches.n_steps))
            with holding(batch.idle, shifted, velocity):
                self._network.add_gradients(weights, batch.x, self._slopes_of(batch), velocity, self._momentum)
                self._move(shifted, velocity, weights, rate, shift)
            torch.sub(shifted.flat, shift, out=weights.flat)
        return self._read(weights)

    def _read(self, weights: Blocks) -> Float64[Tensor, "m q c"]:
        grid, rows = self._grids.activation, self._x_target.split(self._rows_at_once)
        scores = torch.cat([self._network.scores(weights, some) for some in rows], dim=2)
        return grid.round_(scores).mul_(2.0**-grid.step_bits).mT

    def _move(self, shifted: Blocks, velocity: Blocks, weights: Blocks, rate: float, shift: float) -> None:
        if self._decay:
            velocity.flat.add_(weights.flat, alpha=self._decay * 2.0**VELOCITY_STEP_BITS)
        velocity.flat.round_()
        shifted.flat.add_(velocity.flat, alpha=-rate * 2.0**-VELOCITY_STEP_BITS)  # which rounds to a weight's step
        most = 2.0**WEIGHT_RANGE_BITS - 2.0**-self._grids.weight.step_bits
        shifted.flat.clamp_(shift - most, shift + most)

    def _begin(self, seeds: Int64[np.ndarray, " m"]) -> Blocks:
        weights = Blocks(self._shapes, len(seeds), torch.float64, self._x.device)
        different, which = np.unique(seeds, return_inverse=True)
        for j, (name, block) in enumerate(zip(self._names, weights.blocks, strict=True)):
            first = np.stack([first_values(name, block.shape[1:], int(seed), j) for seed in different])
            block.copy_(torch.from_numpy(first)[which])
        grid = self._grids.weight
        weights.flat.copy_(grid.of(weights.flat) * 2.0**-grid.step_bits)
        return weights

    def _slopes_of(self, batch: Batch) -> SlopesOf:
        activation, slope = self._grids.activation, self._grids.slope
        aim, share = batch.aim.mT, batch.weight.unsqueeze(1) * 2.0 ** (1 + slope.step_bits - activation.step_bits)

        def of_squared(scores: Float64[Tensor, "m c b"]) -> Float64[Tensor, "m c b"]:
            return slope.round_(activation.round_(scores).sub_(aim).mul_(share))

        def of_hinge(scores: Float64[Tensor, "m c b"]) -> Float64[Tensor, "m c b"]:
            short = activation.round_(scores).mul_(sign).neg_().add_(one).clamp_(min=0)
            return slope.round_(short.mul_(sign).mul_(-share))

        one = 2.0**activation.step_bits
        sign = aim * 2.0**-activation.step_bits  # with classes
        return of_squared if self._recipe.loss is Loss.SQUARED else of_hinge


def _share(counts: Int64[Tensor, "m k"]) -> Float64[Tensor, "m k"]:
    """Return 1 / count to 2^-20."""
    return torch.round(2.0**SHARE_BITS / counts.to(torch.float64)) * 2.0**-SHARE_BITS
