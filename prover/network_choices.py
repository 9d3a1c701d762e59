"""From what the user of ``prover init --recipe sgd`` says to the recipe, and to the network of a tangent kernel.

Owns its options and the defaults; as in ``prover.config``, whatever they settle is written into the task file.
torch is imported when a factory is looked for, not before: ``--help`` reads this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from protocol.errors import ArgumentError
from protocol.recipes import Factory, Loss, Network, Optimiser, Precision, Schedule, Sgd

if TYPE_CHECKING:
    from protocol.training.descent.networks import OwnFactory

_NETWORK, _PANEL = "Network (sgd, kernel ntk)", "Recipe sgd"
_DEFAULT_WIDTHS = {Factory.MLP: (32,), Factory.CNN: (16, 32), Factory.RESNET9: (64,), Factory.CUSTOM: ()}
_TANGENT_WIDTHS = (256,)
"""A tangent kernel of few units depends on where they happen to begin."""
_LEARNING_RATE = {Loss.CROSS_ENTROPY: 0.02, Loss.SQUARED: 0.005, Loss.SQUARED_HINGE: 0.005}
_CNN_LEARNING_RATE = {Loss.CROSS_ENTROPY: 0.1, Loss.SQUARED: 0.02, Loss.SQUARED_HINGE: 0.02}
"""A mean over the image makes slopes small: on digits 92% and 90%, where the others' rates give 86% and 82%."""
_ADAMW_LEARNING_RATE = 1e-3
_MOMENTUM, _BETA1, _BETA2, _EPSILON = 0.9, 0.9, 0.999, 1e-8


@dataclass(frozen=True, kw_only=True)
class NetworkChoices:
    """What the user said of a network and its training; None where the default may decide.

    factory : ``mlp``, ``cnn``, ``resnet9``, or the user's own as ``package.module:function``.
    widths, image : whole numbers with commas between; ``""`` for the default, and for no image.
    loss : by default cross-entropy; squared for a regression; squared-hinge where exact.
    learning_rate : by default 0.02, 0.005 for squared losses; 0.1 and 0.02 for a cnn; 0.001 for adamw.
    momentum : by default 0.9, and 0 for adamw.
    """

    factory: Annotated[
        str,
        typer.Option(help="mlp, cnn, resnet9, or your own as package.module:function.", rich_help_panel=_NETWORK),
    ] = "mlp"
    widths: Annotated[
        str,
        typer.Option(
            metavar="N,N",
            help="Sizes of its hidden layers; by default 32 (mlp; 256 for ntk), 16,32 (cnn), 64 (resnet9).",
            rich_help_panel=_NETWORK,
        ),
    ] = ""
    image: Annotated[
        str,
        typer.Option(metavar="C,H,W", help="Shape of the image in a row (cnn, resnet9).", rich_help_panel=_NETWORK),
    ] = ""
    loss: Annotated[
        Loss | None,
        typer.Option(
            help="By default cross-entropy; squared for a regression; squared-hinge with --exact.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None
    optimiser: Annotated[Optimiser, typer.Option(help="Optimiser (sgd).", rich_help_panel=_PANEL)] = Optimiser.MOMENTUM
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="By default 0.02, 0.005 for squared losses (cnn: 0.1, 0.02), 0.001 for adamw.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None
    momentum: Annotated[
        float | None, typer.Option(help="By default 0.9 (sgd).", show_default=False, rich_help_panel=_PANEL)
    ] = None
    weight_decay: Annotated[float, typer.Option(help="Decay of all weights (sgd).", rich_help_panel=_PANEL)] = 0.0
    schedule: Annotated[Schedule, typer.Option(help="Learning rate schedule (sgd).", rich_help_panel=_PANEL)] = (
        Schedule.CONSTANT
    )
    warmup_steps: Annotated[int, typer.Option(help="Warm-up steps (sgd).", rich_help_panel=_PANEL)] = 0
    epochs: Annotated[int, typer.Option(help="Passes over the rows (sgd).", rich_help_panel=_PANEL)] = 20
    batch_size: Annotated[
        int, typer.Option(help="Rows per batch, including those not in the subset (sgd).", rich_help_panel=_PANEL)
    ] = 50
    precision: Annotated[
        Precision, typer.Option(help="Precision of matrix-product inputs (sgd).", rich_help_panel=_PANEL)
    ] = Precision.FP32
    flips: Annotated[
        bool, typer.Option("--flips", help="Random horizontal flips of images (sgd).", rich_help_panel=_PANEL)
    ] = False
    crop_padding: Annotated[
        int, typer.Option(help="Random crops after zero-padding by so many pixels (sgd).", rich_help_panel=_PANEL)
    ] = 0

    @property
    def own(self) -> OwnFactory | None:
        """The user's own factory, found and hashed; None for ours. Raises ArgumentError where there is none."""
        if ":" not in self.factory:
            return None
        from protocol.training.descent.networks import own_factory  # noqa: PLC0415 - see the head of this file

        return own_factory(self.factory)

    def recipe(self, n_classes: int, *, exact: bool = False) -> Sgd:
        """Return the recipe for so many classes, 0 for a regression, in the exact profile or not.

        Raises
        ------
        ArgumentError
            An option that cannot be read, or a factory that is not there. TaskFileError: as ``protocol.recipes`` says.
        """
        network, adamw = self._network(_DEFAULT_WIDTHS, 0), self.optimiser is Optimiser.ADAMW
        loss = self.loss or (_default_loss(exact) if n_classes else Loss.SQUARED)
        rates = _CNN_LEARNING_RATE if network.factory is Factory.CNN else _LEARNING_RATE
        rate = _ADAMW_LEARNING_RATE if adamw else rates[loss]
        momentum = (0.0 if adamw else _MOMENTUM) if self.momentum is None else self.momentum
        return Sgd(
            factory=network.factory,
            factory_digest=network.factory_digest,
            widths=network.widths,
            image=network.image,
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

    def tangent(self, seed: int) -> Network:
        """Return the network of a tangent kernel, its weights beginning where ``seed`` says; raises as ``recipe``."""
        return self._network(_DEFAULT_WIDTHS | {Factory.MLP: _TANGENT_WIDTHS}, seed)

    def _network(self, default_widths: Mapping[Factory, tuple[int, ...]], seed: int) -> Network:
        own = self.own
        factory = Factory.CUSTOM if own else _ours(self.factory)
        image = _numbers("--image", self.image) if self.image else (0, 0, 0)
        if len(image) != 3:
            raise ArgumentError(f"--image: expected channels,height,width, got {self.image}")
        return Network(
            factory=factory,
            factory_digest=own.digest if own else b"",
            widths=_numbers("--widths", self.widths) if self.widths else default_widths[factory],
            image=(image[0], image[1], image[2]),
            seed=seed,
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
