"""A recipe as the section [recipe] of a task file, and back.

Owns the keys; what a value means, and which fit together, is ``protocol.recipes``' business.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from protocol.encoding import DIGEST_BYTES
from protocol.recipes import (
    MAX_LAYERS,
    Factory,
    Kernel,
    KernelKind,
    Logistic,
    Loss,
    Network,
    Optimiser,
    Precision,
    Reading,
    Recipe,
    Ridge,
    Schedule,
    Sgd,
    Sklearn,
    require,
)
from protocol.tomltext import Number, Section, Text, Whole, array, boolean, number, string

_FactoryDigest = Annotated[
    str, Field(description=f'{2 * DIGEST_BYTES} hexadecimal digits, or ""', pattern="^([0-9a-f]{64})?$")
]
_Widths = Annotated[list[Whole], Field(description="a list of whole numbers", max_length=MAX_LAYERS)]
_Image = Annotated[
    list[Whole], Field(description="[channels, height, width], or [0, 0, 0]", min_length=3, max_length=3)
]


class _Ridge(Section):
    name: Literal["ridge"]
    l2: Number


class _Logistic(Section):
    name: Literal["logistic"]
    l2: Number
    gradient_tolerance: Number


class _Kernel(Section):
    name: Literal["kernel"]
    kernel: Annotated[Literal["linear", "rbf", "ntk"], Field(description='"linear", "rbf" or "ntk"')]
    l2: Number
    gamma: Number
    factory: Annotated[
        Literal["", "mlp", "cnn", "resnet9", "custom"], Field(description='"", "mlp", "cnn", "resnet9" or "custom"')
    ]
    factory_digest: _FactoryDigest
    widths: _Widths
    image: _Image
    network_seed: Whole


class _Sgd(Section):
    name: Literal["sgd"]
    factory: Annotated[
        Literal["mlp", "cnn", "resnet9", "custom"], Field(description='"mlp", "cnn", "resnet9" or "custom"')
    ]
    factory_digest: _FactoryDigest
    widths: _Widths
    image: _Image
    loss: Annotated[
        Literal["cross-entropy", "squared", "squared-hinge"],
        Field(description='"cross-entropy", "squared" or "squared-hinge"'),
    ]
    optimiser: Annotated[Literal["momentum", "adamw"], Field(description='"momentum" or "adamw"')]
    learning_rate: Number
    momentum: Number
    beta1: Number
    beta2: Number
    epsilon: Number
    weight_decay: Number
    schedule: Annotated[Literal["constant", "cosine", "linear"], Field(description='"constant", "cosine" or "linear"')]
    warmup_steps: Whole
    epochs: Whole
    batch_size: Whole
    precision: Annotated[Literal["fp32", "tf32", "bf16"], Field(description='"fp32", "tf32" or "bf16"')]
    flips: Annotated[bool, Field(description="true or false")]
    crop_padding: Whole


class _Sklearn(Section):
    name: Literal["sklearn"]
    estimator: Text
    version: Text
    reading: Annotated[
        Literal["log-probability", "decision", "prediction"],
        Field(description='"log-probability", "decision" or "prediction"'),
    ]


SECTIONS: dict[str, type[Section]] = {
    "ridge": _Ridge,
    "logistic": _Logistic,
    "kernel": _Kernel,
    "sgd": _Sgd,
    "sklearn": _Sklearn,
}

RecipeSection: TypeAlias = _Ridge | _Logistic | _Kernel | _Sgd | _Sklearn


def recipe_of(section: RecipeSection) -> Recipe:
    """Return the recipe that a section of the right types describes; TaskFileError as ``protocol.recipes`` says."""
    match section:
        case _Ridge():
            return Ridge(l2=section.l2)
        case _Logistic():
            return Logistic(l2=section.l2, gradient_tolerance=section.gradient_tolerance)
        case _Kernel():
            return _kernel(section)
        case _Sgd():
            return _sgd(section)
        case _Sklearn():
            return Sklearn(estimator=section.estimator, version=section.version, reading=Reading(section.reading))


def _kernel(section: _Kernel) -> Kernel:
    return Kernel(kernel=KernelKind(section.kernel), l2=section.l2, gamma=section.gamma, network=_network(section))


def _network(section: _Kernel) -> Network | None:
    if section.factory:
        return Network(
            factory=Factory(section.factory),
            factory_digest=bytes.fromhex(section.factory_digest),
            widths=tuple(section.widths),
            image=_image(section.image),
            seed=section.network_seed,
        )
    for key, nothing in {"factory_digest": "", "widths": [], "image": [0, 0, 0], "network_seed": 0}.items():
        got = getattr(section, key)
        require(got == nothing, f"recipe.{key}", f'{json.dumps(nothing)} with factory ""', got)
    return None


def _image(lengths: list[int]) -> tuple[int, int, int]:
    channels, height, width = lengths
    return channels, height, width


def _sgd(section: _Sgd) -> Sgd:
    return Sgd(
        factory=Factory(section.factory),
        factory_digest=bytes.fromhex(section.factory_digest),
        widths=tuple(section.widths),
        image=_image(section.image),
        loss=Loss(section.loss),
        optimiser=Optimiser(section.optimiser),
        learning_rate=section.learning_rate,
        momentum=section.momentum,
        beta1=section.beta1,
        beta2=section.beta2,
        epsilon=section.epsilon,
        weight_decay=section.weight_decay,
        schedule=Schedule(section.schedule),
        warmup_steps=section.warmup_steps,
        epochs=section.epochs,
        batch_size=section.batch_size,
        precision=Precision(section.precision),
        flips=section.flips,
        crop_padding=section.crop_padding,
    )


def recipe_lines(recipe: Recipe) -> list[str]:
    """Return the commented lines of the section."""
    match recipe:
        case Ridge():
            lines = _ridge_lines(recipe)
        case Logistic():
            lines = _logistic_lines(recipe)
        case Kernel():
            lines = _kernel_lines(recipe)
        case Sgd():
            lines = _sgd_lines(recipe)
        case Sklearn():
            lines = _sklearn_lines(recipe)
    return ["[recipe]", *lines]


def _ridge_lines(recipe: Ridge) -> list[str]:
    return [
        "# Least squares with an L2 penalty on the weights, none on the intercept.",
        'name = "ridge"',
        f"l2 = {number(recipe.l2)}",
    ]


def _logistic_lines(recipe: Logistic) -> list[str]:
    return [
        "# Multinomial logistic regression: summed cross-entropy plus l2/2 times the squared weights.",
        'name = "logistic"',
        f"l2 = {number(recipe.l2)}",
        "# Euclidean norm of the gradient at which training stops.",
        f"gradient_tolerance = {number(recipe.gradient_tolerance)}",
    ]


def _kernel_lines(recipe: Kernel) -> list[str]:
    network = recipe.network
    return [
        "# Kernel ridge regression without an intercept: summed squared errors plus l2 times the squared norm.",
        'name = "kernel"',
        '# "linear"; "rbf", exp(-gamma |x - z|^2); or "ntk", the tangent kernel of a network where its weights begin.',
        f'kernel = "{recipe.kernel.value}"',
        f"l2 = {number(recipe.l2)}",
        "# 0 but for rbf.",
        f"gamma = {number(recipe.gamma)}",
        '# The network of ntk, as of recipe sgd, and the seed of its first weights; "", [], [0, 0, 0] and 0 for none.',
        f'factory = "{network.factory.value if network else ""}"',
        f'factory_digest = "{network.factory_digest.hex() if network else ""}"',
        f"widths = {array(str(width) for width in (network.widths if network else ()))}",
        f"image = {array(str(length) for length in (network.image if network else (0, 0, 0)))}",
        f"network_seed = {network.seed if network else 0}",
    ]


def _sgd_lines(recipe: Sgd) -> list[str]:
    return [
        "# Stochastic gradient descent; the order of the rows comes from the training seed, the same for every subset.",
        'name = "sgd"',
        '# The network: "mlp", "cnn", "resnet9", or "custom": one of your own, whose source has this digest ("" else).',
        f'factory = "{recipe.factory.value}"',
        f'factory_digest = "{recipe.factory_digest.hex()}"',
        "# Widths of its hidden layers; channels, height and width of an image ([0, 0, 0]: the rows are none).",
        f"widths = {array(str(width) for width in recipe.widths)}",
        f"image = {array(str(length) for length in recipe.image)}",
        '# "cross-entropy", "squared" or "squared-hinge": the mean over those rows of a batch that are in.',
        f'loss = "{recipe.loss.value}"',
        '# "momentum" (beta1, beta2 and epsilon 0) or "adamw" (momentum 0).',
        f'optimiser = "{recipe.optimiser.value}"',
        f"learning_rate = {number(recipe.learning_rate)}",
        f"momentum = {number(recipe.momentum)}",
        f"beta1 = {number(recipe.beta1)}",
        f"beta2 = {number(recipe.beta2)}",
        f"epsilon = {number(recipe.epsilon)}",
        f"weight_decay = {number(recipe.weight_decay)}",
        '# After warmup_steps of rising rates: "constant", "cosine" or "linear" down to 0.',
        f'schedule = "{recipe.schedule.value}"',
        f"warmup_steps = {recipe.warmup_steps}",
        f"epochs = {recipe.epochs}",
        f"batch_size = {recipe.batch_size}",
        '# What the operands of matrix products are rounded to: "fp32" (not at all), "tf32" or "bf16".',
        f'precision = "{recipe.precision.value}"',
        "# Images mirrored half of the time; cut out anew after so many zeros are put around them.",
        f"flips = {boolean(recipe.flips)}",
        f"crop_padding = {recipe.crop_padding}",
    ]


def _sklearn_lines(recipe: Sklearn) -> list[str]:
    return [
        "# An estimator or pipeline of scikit-learn; whatever it does not set is the default of this version.",
        'name = "sklearn"',
        f"estimator = {string(recipe.estimator)}",
        f"version = {string(recipe.version)}",
        '# What its scores are: "log-probability" (predict_proba), "decision" (decision_function) or "prediction".',
        f'reading = "{recipe.reading.value}"',
    ]
