"""Recipe ``sgd`` on perceptrons in the profile ``exact``: the same bits everywhere.

Every number is a multiple of a power of two in float64 (``protocol.numerics``), so the sums of a
matrix product are exact whatever their order. Between products numbers are rounded to their step,
half to even, by adding and taking off 1.5 * 2^52 steps; that is one rounding of an exact sum, and
every other operation is on single numbers and correctly rounded by IEEE 754. A product whose result
is added at once is itself exact, so that a machine that fuses the two changes nothing. There is
no exponential, logarithm or cosine.

Weights are kept with 1.5 * 2^52 steps added (``_shifted``): adding a step to them rounds it.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from protocol.errors import TaskFileError
from protocol.numerics import (
    ACTIVATION_RANGE_BITS,
    SHARE_BITS,
    SLOPE_RANGE_BITS,
    VELOCITY_STEP_BITS,
    WEIGHT_RANGE_BITS,
    Exact,
    check_sums,
    momentum_of,
    rate_of,
)
from protocol.recipes import Loss, Sgd
from protocol.training.blocks import Blocks
from protocol.training.losses import aims
from protocol.training.minibatches import Batch, Minibatches
from protocol.training.networks import network
from protocol.training.optimisers import holding
from protocol.training.sgd import TILE_BYTES, first_values, learning_rate, location_and_scale, standard

ADVICE = "report it: the exact profile has no training that fails"


class Grid:
    """Multiples of 2^-step_bits of magnitude below 2^range_bits: what numbers are rounded to."""

    def __init__(self, range_bits: int, step_bits: int) -> None:
        self.shift = 1.5 * 2.0 ** (52 - step_bits)
        self.most = 2.0**range_bits - 2.0**-step_bits

    def round_(self, x: Float64[Tensor, "*shape"], least: float | None = None) -> Float64[Tensor, "*shape"]:
        """Round ``x`` in place and let it saturate, from ``least`` or minus the range up; |x| is below 2^51 steps."""
        low = -self.most if least is None else least
        return x.add_(self.shift).clamp_(self.shift + low, self.shift + self.most).sub_(self.shift)


class ExactSolver:
    """Recipe ``sgd`` on any subset of units, to the bit.

    Parameters are those of ``sgd.SgdSolver``, but that there is no factory of the user's own.

    Raises
    ------
    TaskFileError
        A sum of some layer could need more than 53 bits, or a feature is too large for an activation.
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
        check_sums(recipe, numerics, n_features=x_train.shape[1], n_outputs=n_outputs)
        self._weight = Grid(WEIGHT_RANGE_BITS, numerics.weight_bits - WEIGHT_RANGE_BITS)
        self._activation = Grid(ACTIVATION_RANGE_BITS, numerics.activation_bits - ACTIVATION_RANGE_BITS)
        self._slope = Grid(SLOPE_RANGE_BITS, numerics.gradient_bits - SLOPE_RANGE_BITS)
        self._velocity_shift = 1.5 * 2.0 ** (52 - VELOCITY_STEP_BITS)
        self._momentum, self._decay = momentum_of(recipe), rate_of(recipe.weight_decay)
        self._x, self._x_target = self._inputs(x_train), self._inputs(x_target)
        self._mean, self._scale = (0.0, 1.0) if n_classes else location_and_scale(labels)
        aim = aims(labels, n_classes, recipe.loss) if n_classes else standard(labels, self._mean, self._scale)
        self._batches = Minibatches(recipe, self._x, self._activation.round_(aim.clone()), _share)
        module = network(recipe, self._x.shape[1], n_outputs, None)
        self._names = [name for name, _ in module.named_parameters()]
        self._shapes = [tuple(parameter.shape) for parameter in module.parameters()]

    @property
    def bytes_per_subset(self) -> int:
        """Working memory that one more subset in a batch takes, about."""
        n_weights = sum(int(np.prod(shape)) for shape in self._shapes)
        widths = sum(shape[0] for shape in self._shapes[::2])
        rows = len(self._x)
        return 8 * (3 * n_weights + 3 * widths * self._recipe.batch_size + 2 * widths * len(self._x_target)) + 12 * rows

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
        torch.add(weights.flat, self._weight.shift, out=shifted.flat)
        for step, batch in enumerate(self._batches(inside, seeds)):
            rate = rate_of(learning_rate(self._recipe, step, self._batches.n_steps))
            with holding(batch.idle, shifted, velocity):
                self._add_gradients(weights, batch, velocity)
                self._move(shifted, velocity, weights, rate)
            torch.sub(shifted.flat, self._weight.shift, out=weights.flat)
        return self._activation.round_(self._forward(weights, self._x_target)[-1]).mT

    def _move(self, shifted: Blocks, velocity: Blocks, weights: Blocks, rate: float) -> None:
        if self._decay:
            velocity.flat.add_(weights.flat, alpha=self._decay)
        velocity.flat.add_(self._velocity_shift).sub_(self._velocity_shift)
        shifted.flat.add_(velocity.flat, alpha=-rate)  # which rounds to a weight's step
        shifted.flat.clamp_(self._weight.shift - self._weight.most, self._weight.shift + self._weight.most)

    def _begin(self, seeds: Int64[np.ndarray, " m"]) -> Blocks:
        weights = Blocks(self._shapes, len(seeds), torch.float64, self._x.device)
        different, which = np.unique(seeds, return_inverse=True)
        for j, (name, block) in enumerate(zip(self._names, weights.blocks, strict=True)):
            first = np.stack([first_values(name, block.shape[1:], int(seed), j) for seed in different])
            block.copy_(torch.from_numpy(first)[which])
        self._weight.round_(weights.flat)
        return weights

    def _add_gradients(self, weights: Blocks, batch: Batch, velocity: Blocks) -> None:
        """Set ``velocity`` to momentum times itself plus the batch's gradients, unrounded."""
        w, x, beta = weights.blocks[::2], batch.x, self._momentum
        *hidden, scores = self._forward(weights, x)
        slope = self._slopes(self._activation.round_(scores), batch.aim.mT, batch.weight.unsqueeze(1))
        for layer in range(len(w) - 1, -1, -1):
            velocity.blocks[2 * layer + 1].mul_(beta).add_(slope.sum(dim=2))
            into = velocity.blocks[2 * layer]
            if layer == 0 and x.ndim == 2:
                into.flatten(0, 1).addmm_(slope.flatten(0, 1), x, beta=beta)
                return
            below = x.mT if layer == 0 else hidden[layer - 1]
            into.baddbmm_(slope, below.mT, beta=beta)
            if layer:
                slope = self._slope.round_(torch.bmm(w[layer].mT, slope))
                slope = torch.ops.aten.threshold_backward(slope, below, 0)

    def _slopes(
        self,
        scores: Float64[Tensor, "m c b"],
        aim: Float64[Tensor, "*m c b"],
        share: Float64[Tensor, "m 1 b"],
    ) -> Float64[Tensor, "m c b"]:
        if self._recipe.loss is Loss.SQUARED:
            return self._slope.round_(scores.sub_(aim).mul_(2 * share))
        # An aim of +-1 makes every product here exact.
        return self._slope.round_(scores.mul_(aim).neg_().add_(1).clamp_(min=0).mul_(aim).mul_(-2 * share))

    def _forward(self, weights: Blocks, x: Float64[Tensor, "*m b d"]) -> list[Float64[Tensor, "m o b"]]:
        """Return every layer's activations; the last one's sums, unrounded."""
        w, biases = weights.blocks[::2], weights.blocks[1::2]
        if x.ndim == 2:
            first = torch.addmm(biases[0].reshape(-1, 1), w[0].flatten(0, 1), x.T).view(*biases[0].shape, -1)
        else:
            first = torch.baddbmm(biases[0].unsqueeze(2), w[0], x.mT)
        activations = [first]
        for layer in range(1, len(w)):
            below = self._activation.round_(activations[-1], least=0.0)  # the ReLU, too
            activations.append(torch.baddbmm(biases[layer].unsqueeze(2), w[layer], below))
        return activations

    def _inputs(self, x: Float64[Tensor, "n d"]) -> Float64[Tensor, "n d"]:
        largest = float(x.abs().max()) if x.numel() else 0.0
        if not largest <= self._activation.most:
            raise TaskFileError(
                f"numerics.profile: expected features within +-{self._activation.most:.6g} for exact, got {largest:g}; "
                "put the columns in smaller units"
            )
        return self._activation.round_(x.clone())


def _share(counts: Int64[Tensor, "m k"]) -> Float64[Tensor, "m k"]:
    """Return 1 / count to 2^-20."""
    return torch.round(2.0**SHARE_BITS / counts.to(torch.float64)) * 2.0**-SHARE_BITS
