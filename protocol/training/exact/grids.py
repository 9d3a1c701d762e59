"""Numbers of the profile ``exact``, in units of their step: integers in float64, rounded half to even.

A power of two between two grids scales a product without rounding it. So inputs, activations and
slopes are kept as whole numbers of their own step, and to round is one pass, to saturate another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from jaxtyping import Float64
from torch import Tensor

from protocol.errors import TaskFileError
from protocol.numerics import (
    ACTIVATION_RANGE_BITS,
    SLOPE_RANGE_BITS,
    VELOCITY_STEP_BITS,
    WEIGHT_RANGE_BITS,
    Exact,
)

SlopesOf: TypeAlias = Callable[[Tensor], Tensor]
"""From scores (m, C, b), not rounded, which it may overwrite, to the loss's slopes in them, rounded."""


class Grid:
    """Whole numbers below 2^bits: multiples of 2^-step_bits of magnitude below 2^(bits - step_bits).

    Attributes
    ----------
    step_bits : what a number's unit is, 2^-step_bits. most : the largest number, in that unit.
    """

    def __init__(self, bits: int, range_bits: int) -> None:
        self.step_bits = bits - range_bits
        self.most = 2.0**bits - 1

    def round_(self, x: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """Round ``x``, in units of the step, in place, and let it saturate."""
        return x.round_().clamp_(-self.most, self.most)

    def rectify_(self, x: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """As :meth:`round_`, and make what is negative 0: the ReLU."""
        return x.round_().clamp_(0.0, self.most)

    def of(self, x: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """Return ``x``, in its own unit, in units of the step, rounded and saturated."""
        return self.round_(x * 2.0**self.step_bits)


class Grids:
    """The grids of a profile (``protocol.numerics``).

    Attributes
    ----------
    weight, activation, slope : see there; a convolution's slopes have a finer step (``slope_bits``).
    """

    def __init__(self, numerics: Exact) -> None:
        self.weight = Grid(numerics.weight_bits, WEIGHT_RANGE_BITS)
        self.activation = Grid(numerics.activation_bits, ACTIVATION_RANGE_BITS)
        self.slope = Grid(numerics.gradient_bits, SLOPE_RANGE_BITS)

    @staticmethod
    def in_velocity(step_bits: int) -> float:
        """Return 2^-step_bits in units of a velocity's step."""
        return 2.0 ** (VELOCITY_STEP_BITS - step_bits)

    def inputs(self, x: Float64[Tensor, "n d"]) -> Float64[Tensor, "n d"]:
        """Return features in units of an activation's step.

        Raises
        ------
        TaskFileError
            A feature is too large.
        """
        largest, most = float(x.abs().max()) if x.numel() else 0.0, self.activation.most
        if not largest <= most * 2.0**-self.activation.step_bits:
            raise TaskFileError(
                f"numerics.profile: expected features within +-{most * 2.0**-self.activation.step_bits:.6g} for exact, "
                f"got {largest:g}; put the columns in smaller units"
            )
        return self.activation.of(x)
