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
    slope       2^2     2^(2 - gradient_bits)       of the loss in a layer's sums; in those of a convolution
                                                    whose map has P pixels both are 2^-floor(log2 P) of it
    velocity    proved  2^-22                       never saturates

Rounding is half to even. Momentum is rounded to 1/256, rates and weight decay to 10 significant
bits, a row's share of its batch to 2^-20, a pixel's of the image to 20 significant bits. :func:`proof`
lists the sums and their bits.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TypeAlias

from protocol.encoding import Value
from protocol.game.game import LARGEST
from protocol.recipes import Factory, Loss, Optimiser, Precision, Recipe, Schedule, Sgd, require

SIGNIFICANT_BITS = 53
WEIGHT_RANGE_BITS, ACTIVATION_RANGE_BITS, SLOPE_RANGE_BITS = 3, 8, 2
VELOCITY_STEP_BITS, MOMENTUM_BITS, RATE_BITS, SHARE_BITS, MEAN_BITS = 22, 8, 10, 20, 20

MOST_GIVEN_UP = 8
"""Bits of each kind that :func:`widest` may take from the default: with fewer, training is not what it was."""


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """The ``tolerance`` profile.

    tolerance : largest honest |difference| between two computations of one output, in the
        targets' unit. An answer further off than this is false (THEORY 7).
    """

    tolerance: float
    profile = "tolerance"

    def __post_init__(self) -> None:
        holds = 0 <= self.tolerance <= LARGEST
        require(holds, "numerics.tolerance", f"a number from 0 to {LARGEST:g}", self.tolerance)

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
    """A sum that training makes in a matrix product, and the bits that it may need, sign apart.

    remedy : what makes it need fewer.
    """

    what: str
    bits: float
    remedy: str = "fewer weight_bits, activation_bits or gradient_bits"


def check_exact(recipe: Recipe, numerics: Exact, *, standard_scaling: bool) -> None:
    """Raise :class:`TaskFileError` unless the recipe has an exact form."""
    key = "numerics.profile"
    require(isinstance(recipe, Sgd), key, f"tolerance with recipe {recipe.name}", numerics.profile)
    if not isinstance(recipe, Sgd):
        return
    forms = (
        (recipe.factory in (Factory.MLP, Factory.CNN), "recipe.factory", "mlp or cnn", recipe.factory.value),
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
            f"sums within {SIGNIFICANT_BITS} bits ({made.remedy})",
            f"{made.bits:.1f} bits in {made.what}",
        )


def widest(recipe: Sgd, *, n_features: int, n_outputs: int, n_averaged: int = 1) -> Exact:
    """Return the profile nearest to the default, and no wider, whose sums stay within 53 bits.

    The fewest bits are given up, spread as evenly as they can be, the gradient's first. Where giving up
    ``MOST_GIVEN_UP`` of each is not enough, the default comes back, for ``check_sums`` to refuse by
    name. Arguments as ``proof``'s.
    """
    default, losses = Exact(), itertools.product(range(MOST_GIVEN_UP + 1), repeat=3)
    for gradient, activation, weight in sorted(losses, key=lambda lost: (sum(lost), max(lost), lost[::-1])):
        numerics = Exact(
            weight_bits=default.weight_bits - weight,
            activation_bits=default.activation_bits - activation,
            gradient_bits=default.gradient_bits - gradient,
        )
        sums = proof(recipe, numerics, n_features=n_features, n_outputs=n_outputs, n_averaged=n_averaged)
        if all(made.bits <= SIGNIFICANT_BITS for made in sums):
            return numerics
    return default


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """A 3x3 convolution of factory ``cnn``, its channels, and its map, in pixels; ``pools`` where 2x2 means precede."""

    layer: int
    inputs: int
    outputs: int
    height: int
    width: int
    pools: bool

    @property
    def positions(self) -> int:
        """P, the pixels of its map."""
        return self.height * self.width

    @property
    def finer_bits(self) -> int:
        """floor(log2 P): by how much its slopes' step and range are finer than a dense layer's."""
        return self.positions.bit_length() - 1

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"layer {self.layer} ({self.inputs} to {self.outputs} channels of {self.height} x {self.width})"


def convolutions(recipe: Sgd) -> tuple[Convolution, ...]:
    """Return the convolutions of a recipe of factory ``cnn``, in their order."""
    inputs, height, width = recipe.image
    found: list[Convolution] = []
    for layer, outputs in enumerate(recipe.widths, start=1):
        pools = layer > 1 and min(height, width) >= 2
        if pools:
            height, width = height // 2, width // 2
        found.append(Convolution(layer=layer, inputs=inputs, outputs=outputs, height=height, width=width, pools=pools))
        inputs = outputs
    return tuple(found)


def proof(recipe: Sgd, numerics: Exact, *, n_features: int, n_outputs: int, n_averaged: int = 1) -> list[Sum]:
    """Return every sum of training and scoring with its bits, from the shapes alone.

    Parameters
    ----------
    n_features : of a row; not looked at for a ``cnn``, whose image is the recipe's.
    n_averaged : target rows that are averaged into one output, 1 where each is a target.

    Notes
    -----
    A sum of K products of p-bit and q-bit multiples is at most K 2^(p+q) multiples of the product of
    their steps. A layer's forward sum has its bias for one term more. A slope goes back through a
    convolution by 9 overlapping sums over its outputs. A velocity is at most the sum of all slopes'
    products of a batch over 1 - momentum, with a bit for weight decay and roundings; it is kept to 2^-22,
    so that momentum times it is a multiple of 2^-30. To that a dense layer's gradient is added as it
    is, a convolution's rounded to 2^-22.
    """
    if recipe.factory is Factory.CNN:
        sums = _of_convolutions(recipe, numerics)
        last = f"layer {len(recipe.widths) + 1} ({recipe.widths[-1]} to {n_outputs})"
        sums += [*_moves(recipe, numerics, last), *_dense(last, numerics, recipe.widths[-1], n_outputs)]
    else:
        sums = _moves(recipe, numerics, "every layer")
        for layer, (inputs, outputs) in enumerate(itertools.pairwise([n_features, *recipe.widths, n_outputs])):
            both = _dense(f"layer {layer + 1} ({inputs} to {outputs})", numerics, inputs, outputs)
            sums += both if layer else both[:1]
    read = 2 * (numerics.activation_bits + 1) + math.log2(n_outputs) + math.log2(n_averaged)
    return [*sums, Sum(what="the squared losses of the target rows", bits=read)]


def _dense(where: str, numerics: Exact, inputs: int, outputs: int) -> list[Sum]:
    qw, qa, qg = numerics.weight_bits, numerics.activation_bits, numerics.gradient_bits
    return [
        Sum(what=f"{where}, forwards", bits=qw + qa + math.log2(inputs + 1)),
        Sum(what=f"{where}, backwards", bits=qw + qg + math.log2(outputs)),
    ]


def _of_convolutions(recipe: Sgd, numerics: Exact) -> list[Sum]:
    qw, qa, qg = numerics.weight_bits, numerics.activation_bits, numerics.gradient_bits
    sums: list[Sum] = []
    for made in convolutions(recipe):
        sums += _moves(recipe, numerics, made.name, made)
        sums.append(Sum(what=f"{made.name}, forwards", bits=qw + qa + math.log2(9 * made.inputs + 1)))
        if made.layer > 1:
            sums.append(Sum(what=f"{made.name}, backwards", bits=qw + qg + math.log2(9 * made.outputs)))
        terms = recipe.batch_size * made.positions
        sums.append(Sum(what=f"{made.name}, gradient", bits=qg + qa + math.log2(terms)))
    where = f"the mean over {made.height} x {made.width}"
    return [
        *sums,
        Sum(what=f"{where}, times a pixel's share", bits=qa + math.log2(made.positions) + MEAN_BITS),
        Sum(what=f"{where}, its slopes", bits=qg + MEAN_BITS),
    ]


def _moves(recipe: Sgd, numerics: Exact, where: str, convolution: Convolution | None = None) -> list[Sum]:
    """Return the sums of velocities and steps; a convolution's have slopes of many positions, each so much smaller."""
    growth = math.log2(1 / (1 - momentum_of(recipe)))
    velocity = SLOPE_RANGE_BITS + ACTIVATION_RANGE_BITS + math.log2(recipe.batch_size) + growth
    dense = numerics.gradient_bits - SLOPE_RANGE_BITS + numerics.activation_bits - ACTIVATION_RANGE_BITS
    step = max(VELOCITY_STEP_BITS + MOMENTUM_BITS, dense)
    if convolution is not None:
        velocity += math.log2(convolution.positions) - convolution.finer_bits
        step = VELOCITY_STEP_BITS + MOMENTUM_BITS
    least = VELOCITY_STEP_BITS + max(MOMENTUM_BITS, RATE_BITS)
    fits = velocity + 1 + least <= SIGNIFICANT_BITS
    remedy = Sum.remedy if fits else "a smaller recipe.batch_size or recipe.momentum"
    moved = velocity + 1 + VELOCITY_STEP_BITS + RATE_BITS
    return [
        Sum(what=f"the velocity of {where}, from a batch's gradient", bits=velocity + 1 + step, remedy=remedy),
        Sum(what=f"a step of {where}, rate times velocity", bits=moved, remedy=remedy),
    ]


def momentum_of(recipe: Sgd) -> float:
    """Return the recipe's momentum as the exact profile has it: a multiple of 1/256 below 1."""
    most = 1 - 2.0**-MOMENTUM_BITS
    return min(round(recipe.momentum * 2.0**MOMENTUM_BITS) / 2.0**MOMENTUM_BITS, most)


def rate_of(rate: float) -> float:
    """Return a rate as the exact profile has it: of 10 significant bits."""
    return _significant(rate, RATE_BITS)


def mean_share(positions: int) -> float:
    """Return what a pixel weighs in the mean over an image: 1 / positions, of 20 significant bits."""
    return _significant(1 / positions, MEAN_BITS)


def _significant(value: float, bits: int) -> float:
    fraction, exponent = math.frexp(value)
    return math.ldexp(round(math.ldexp(fraction, bits)), exponent - bits)
