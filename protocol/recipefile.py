"""A recipe as the section [recipe] of a task file, and back.

Owns the keys; what a value means, and which fit together, is ``protocol.recipes``' business.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from protocol.encoding import DIGEST_BYTES
from protocol.recipes import (
    MAX_LAYERS,
    Factory,
    Logistic,
    Loss,
    Optimiser,
    Precision,
    Recipe,
    Ridge,
    Schedule,
    Sgd,
)
from protocol.tomltext import Number, Section, Whole, array, boolean, number


class _Ridge(Section):
    name: Literal["ridge"]
    l2: Number


class _Logistic(Section):
    name: Literal["logistic"]
    l2: Number
    gradient_tolerance: Number


class _Sgd(Section):
    name: Literal["sgd"]
    factory: Annotated[
        Literal["mlp", "cnn", "resnet9", "custom"], Field(description='"mlp", "cnn", "resnet9" or "custom"')
    ]
    factory_digest: Annotated[
        str, Field(description=f'{2 * DIGEST_BYTES} hexadecimal digits, or ""', pattern="^([0-9a-f]{64})?$")
    ]
    widths: Annotated[list[Whole], Field(description="a list of whole numbers", max_length=MAX_LAYERS)]
    image: Annotated[
        list[Whole], Field(description="[channels, height, width], or [0, 0, 0]", min_length=3, max_length=3)
    ]
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


SECTIONS: dict[str, type[Section]] = {"ridge": _Ridge, "logistic": _Logistic, "sgd": _Sgd}

RecipeSection: TypeAlias = _Ridge | _Logistic | _Sgd


def recipe_of(section: RecipeSection) -> Recipe:
    """Return the recipe that a section of the right types describes; TaskFileError as ``protocol.recipes`` says."""
    if isinstance(section, _Ridge):
        return Ridge(l2=section.l2)
    if isinstance(section, _Sgd):
        return _sgd(section)
    return Logistic(l2=section.l2, gradient_tolerance=section.gradient_tolerance)


def _sgd(section: _Sgd) -> Sgd:
    channels, height, width = section.image
    return Sgd(
        factory=Factory(section.factory),
        factory_digest=bytes.fromhex(section.factory_digest),
        widths=tuple(section.widths),
        image=(channels, height, width),
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
    head = ["[recipe]"]
    if isinstance(recipe, Ridge):
        return [
            *head,
            "# Least squares with an L2 penalty on the weights, none on the intercept.",
            'name = "ridge"',
            f"l2 = {number(recipe.l2)}",
        ]
    if isinstance(recipe, Sgd):
        return [*head, *_sgd_lines(recipe)]
    return [
        *head,
        "# Multinomial logistic regression: summed cross-entropy plus l2/2 times the squared weights.",
        'name = "logistic"',
        f"l2 = {number(recipe.l2)}",
        "# Euclidean norm of the gradient at which training stops.",
        f"gradient_tolerance = {number(recipe.gradient_tolerance)}",
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
