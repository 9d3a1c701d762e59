"""From what the user of ``prover init --recipe sgd`` says to the recipe.

Owns the defaults; as in ``prover.config``, whatever they settle is written into the task file.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.errors import ArgumentError
from protocol.recipes import Factory, Loss, Optimiser, Precision, Schedule, Sgd
from protocol.training.networks import OwnFactory, own_factory

_DEFAULT_WIDTHS = {Factory.MLP: (32,), Factory.CNN: (16, 32), Factory.RESNET9: (64,), Factory.CUSTOM: ()}
_LEARNING_RATE = {Loss.CROSS_ENTROPY: 0.02, Loss.SQUARED: 0.005, Loss.SQUARED_HINGE: 0.005}
_ADAMW_LEARNING_RATE = 1e-3
_MOMENTUM, _BETA1, _BETA2, _EPSILON = 0.9, 0.9, 0.999, 1e-8


@dataclass(frozen=True, kw_only=True)
class NetworkChoices:
    """What the user said of a network and its training; None where the default may decide.

    factory : ``mlp``, ``cnn``, ``resnet9``, or the user's own as ``package.module:function``.
    widths, image : whole numbers with commas between; ``""`` for the default, and for no image.
    loss : by default cross-entropy; squared for a regression; squared-hinge where exact.
    learning_rate : by default 0.02, 0.005 for squared losses, or 0.001 for adamw.
    momentum : by default 0.9, and 0 for adamw.
    """

    factory: str = "mlp"
    widths: str = ""
    image: str = ""
    loss: Loss | None = None
    optimiser: Optimiser = Optimiser.MOMENTUM
    learning_rate: float | None = None
    momentum: float | None = None
    weight_decay: float = 0.0
    schedule: Schedule = Schedule.CONSTANT
    warmup_steps: int = 0
    epochs: int = 20
    batch_size: int = 50
    precision: Precision = Precision.FP32
    flips: bool = False
    crop_padding: int = 0

    @property
    def own(self) -> OwnFactory | None:
        """The user's own factory, found and hashed; None for ours. Raises ArgumentError where there is none."""
        return own_factory(self.factory) if ":" in self.factory else None

    def recipe(self, n_classes: int, *, exact: bool = False) -> Sgd:
        """Return the recipe for so many classes, 0 for a regression, in the exact profile or not.

        Raises
        ------
        ArgumentError
            An option that cannot be read, or a factory that is not there. TaskFileError: as ``protocol.recipes`` says.
        """
        own, adamw = self.own, self.optimiser is Optimiser.ADAMW
        factory = Factory.CUSTOM if own else _ours(self.factory)
        loss = self.loss or (_default_loss(exact) if n_classes else Loss.SQUARED)
        rate = _ADAMW_LEARNING_RATE if adamw else _LEARNING_RATE[loss]
        momentum = (0.0 if adamw else _MOMENTUM) if self.momentum is None else self.momentum
        image = _numbers("--image", self.image) if self.image else (0, 0, 0)
        if len(image) != 3:
            raise ArgumentError(f"--image: expected channels,height,width, got {self.image}")
        return Sgd(
            factory=factory,
            factory_digest=own.digest if own else b"",
            widths=_numbers("--widths", self.widths) if self.widths else _DEFAULT_WIDTHS[factory],
            image=(image[0], image[1], image[2]),
            loss=loss,
            optimiser=self.optimiser,
            learning_rate=rate if self.learning_rate is None else self.learning_rate,
            momentum=momentum,
            beta1=_BETA1 if adamw else 0.0,
            beta2=_BETA2 if adamw else 0.0,
            epsilon=_EPSILON if adamw else 0.0,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            warmup_steps=self.warmup_steps,
            epochs=self.epochs,
            batch_size=self.batch_size,
            precision=self.precision,
            flips=self.flips,
            crop_padding=self.crop_padding,
        )


def _default_loss(exact: bool) -> Loss:
    return Loss.SQUARED_HINGE if exact else Loss.CROSS_ENTROPY


def _ours(name: str) -> Factory:
    known = {factory.value: factory for factory in Factory if factory is not Factory.CUSTOM}
    if name not in known:
        raise ArgumentError(f"--factory: expected {', '.join(known)} or package.module:function, got {name!r}")
    return known[name]


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ArgumentError(f"{option}: expected whole numbers with commas between, got {text!r}") from error
