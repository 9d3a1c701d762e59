"""How exact an output is: the numeric profile of a task.

``tolerance`` is stock floating point: two honest computations differ by rounding, and the task says
by how much at most. ``exact`` leaves no room: every number that training adds up is a multiple of
a power of two held in float64, and every sum in a matrix product stays below 2^53 such multiples,
so that no order of additions, number of threads, batch size, library or device changes a bit. A
spot check is then equality.

Formats of ``exact``; a number is a multiple of its step and saturates at its range:

    number      range   step
    weight      2^3     2^(3 - weight_bits)
    activation  2^8     2^(8 - activation_bits)     inputs and scores, too
    slope       2^2     2^(2 - gradient_bits)       of the loss in a layer's sums
    velocity    proved  2^-22                       never saturates

Rounding is half to even. Momentum is rounded to 1/256, rates and weight decay to 10 significant
bits, a row's share of its batch to 2^-20. :func:`proof` lists the sums and their bits.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TypeAlias

from protocol.encoding import Value
from protocol.recipes import Factory, Loss, Optimiser, Precision, Recipe, Schedule, Sgd, require

SIGNIFICANT_BITS = 53
WEIGHT_RANGE_BITS, ACTIVATION_RANGE_BITS, SLOPE_RANGE_BITS = 3, 8, 2
VELOCITY_STEP_BITS, MOMENTUM_BITS, RATE_BITS, SHARE_BITS = 22, 8, 10, 20


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """The ``tolerance`` profile.

    tolerance : largest honest |difference| between two computations of one output, in the
        targets' unit. An answer further off than this is false (THEORY 7).
    """

    tolerance: float
    profile = "tolerance"

    def __post_init__(self) -> None:
        holds = math.isfinite(self.tolerance) and self.tolerance >= 0
        require(holds, "numerics.tolerance", "a number of at least 0", self.tolerance)

    @property
    def fields(self) -> Value:
        return [self.profile, float(self.tolerance)]


@dataclass(frozen=True, kw_only=True)
class Exact:
    """The ``exact`` profile: bits of a weight, an activation and a slope, sign apart (see the head of this file)."""

    weight_bits: int = 20
    activation_bits: int = 18
    gradient_bits: int = 22
    profile = "exact"

    def __post_init__(self) -> None:
        for key, least in (("weight_bits", 8), ("activation_bits", 9), ("gradient_bits", 8)):
            value = getattr(self, key)
            require(least <= value <= 40, f"numerics.{key}", f"a whole number from {least} to 40", value)

    @property
    def tolerance(self) -> float:
        """0: equality."""
        return 0.0

    @property
    def fields(self) -> Value:
        return [self.profile, self.weight_bits, self.activation_bits, self.gradient_bits]


Profile: TypeAlias = Numerics | Exact


@dataclass(frozen=True, kw_only=True)
class Sum:
    """A sum that training makes in a matrix product, and the bits that it may need, sign apart."""

    what: str
    bits: float


def check_exact(recipe: Recipe, numerics: Exact, *, standard_scaling: bool) -> None:
    """Raise :class:`TaskFileError` unless the recipe has an exact form."""
    key = "numerics.profile"
    require(isinstance(recipe, Sgd), key, f"tolerance with recipe {recipe.name}", numerics.profile)
    if not isinstance(recipe, Sgd):
        return
    forms = (
        (recipe.factory is Factory.MLP, "recipe.factory", "mlp", recipe.factory.value),
        (recipe.loss is not Loss.CROSS_ENTROPY, "recipe.loss", "squared or squared-hinge", recipe.loss.value),
        (recipe.optimiser is Optimiser.MOMENTUM, "recipe.optimiser", "momentum", recipe.optimiser.value),
        (recipe.schedule is not Schedule.COSINE, "recipe.schedule", "constant or linear", recipe.schedule.value),
        (recipe.precision is Precision.FP32, "recipe.precision", "fp32", recipe.precision.value),
        (recipe.learning_rate <= 1, "recipe.learning_rate", "at most 1", str(recipe.learning_rate)),
        (recipe.weight_decay <= 1, "recipe.weight_decay", "at most 1", str(recipe.weight_decay)),
        (not standard_scaling, "data.scaling", "none or range (a mean is rounded differently elsewhere)", "standard"),
    )
    for holds, key, expected, got in forms:
        require(holds, key, f"{expected} with profile exact", got)


def check_sums(recipe: Sgd, numerics: Exact, *, n_features: int, n_outputs: int, n_averaged: int = 1) -> None:
    """Raise :class:`TaskFileError` naming the layer if a sum could need more than 53 bits; arguments as ``proof``'s."""
    for made in proof(recipe, numerics, n_features=n_features, n_outputs=n_outputs, n_averaged=n_averaged):
        require(
            made.bits <= SIGNIFICANT_BITS,
            "numerics",
            f"sums within {SIGNIFICANT_BITS} bits (fewer weight_bits, activation_bits or gradient_bits)",
            f"{made.bits:.1f} bits in {made.what}",
        )


def proof(recipe: Sgd, numerics: Exact, *, n_features: int, n_outputs: int, n_averaged: int = 1) -> list[Sum]:
    """Return every sum of training and scoring with its bits, from the shapes alone.

    Parameters
    ----------
    n_averaged : target rows that are averaged into one output, 1 where each is a target.

    Notes
    -----
    A sum of K products of p-bit and q-bit multiples is at most K 2^(p+q) multiples of the product of
    their steps. A layer's forward sum has its bias for one term more. A velocity is at most the sum
    of all slopes' products of a batch over 1 - momentum; it is kept to 2^-22, so that momentum times
    it is a multiple of 2^-30.
    """
    qw, qa, qg = numerics.weight_bits, numerics.activation_bits, numerics.gradient_bits
    widths = [n_features, *recipe.widths, n_outputs]
    step = max(VELOCITY_STEP_BITS + MOMENTUM_BITS, qg - SLOPE_RANGE_BITS + qa - ACTIVATION_RANGE_BITS)
    growth = math.log2(1 / (1 - momentum_of(recipe)))
    velocity = SLOPE_RANGE_BITS + ACTIVATION_RANGE_BITS + math.log2(recipe.batch_size) + growth
    sums = [
        Sum(what="the velocity of every layer, from a batch's gradient", bits=velocity + 1 + step),
        Sum(what="a step, rate times velocity", bits=velocity + 1 + VELOCITY_STEP_BITS + RATE_BITS),
    ]
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(widths), start=1):
        where = f"layer {layer} ({inputs} to {outputs})"
        sums.append(Sum(what=f"{where}, forwards", bits=qw + qa + math.log2(inputs + 1)))
        if layer > 1:
            sums.append(Sum(what=f"{where}, backwards", bits=qw + qg + math.log2(outputs)))
    read = 2 * (qa + 1) + math.log2(n_outputs) + math.log2(n_averaged)
    sums.append(Sum(what="the squared losses of the target rows", bits=read))
    return sums


def momentum_of(recipe: Sgd) -> float:
    """Return the recipe's momentum as the exact profile has it: a multiple of 1/256 below 1."""
    most = 1 - 2.0**-MOMENTUM_BITS
    return min(round(recipe.momentum * 2.0**MOMENTUM_BITS) / 2.0**MOMENTUM_BITS, most)


def rate_of(rate: float) -> float:
    """Return a rate as the exact profile has it: of 10 significant bits."""
    fraction, exponent = math.frexp(rate)
    return math.ldexp(round(math.ldexp(fraction, RATE_BITS)), exponent - RATE_BITS)
