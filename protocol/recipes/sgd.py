"""Stochastic gradient descent on a network."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from protocol.encoding import Value
from protocol.recipes.keys import require, require_positive
from protocol.recipes.loss import Loss
from protocol.recipes.network import Factory, check_network

MAX_EPOCHS = 1_000_000
MAX_BATCH_ROWS = 1 << 24


class Optimiser(enum.Enum):
    """How a gradient moves the weights; torch's SGD with momentum (no dampening, no Nesterov), or its AdamW."""

    MOMENTUM = "momentum"
    ADAMW = "adamw"


class Schedule(enum.Enum):
    """What the learning rate is multiplied by after the warm-up, t from 0 to just below 1 over the steps left.

    constant 1; cosine (1 + cos(pi t)) / 2; linear 1 - t.
    """

    CONSTANT = "constant"
    COSINE = "cosine"
    LINEAR = "linear"


class Precision(enum.Enum):
    """What the operands of matrix products and convolutions are rounded to; sums and all else are float32.

    fp32 not at all; tf32 to 10 bits after the leading one; bf16 to 7. Half to even, on every device alike.
    """

    FP32 = "fp32"
    TF32 = "tf32"
    BF16 = "bf16"


@dataclass(frozen=True, kw_only=True)
class Sgd:
    """Stochastic gradient descent on a network.

    A step takes the next ``batch_size`` rows of an order that the training seed gives and every
    subset shares; a row that is out weighs 0, and the loss is the mean over those that are in. A
    batch without any makes no step: weights and the optimiser's state stay as they are, and only
    the schedule goes on. The last batch of an epoch is shorter where batch_size does not divide n.

    factory, factory_digest, widths, image : the network, as ``network.HasNetwork`` says.
    learning_rate : above 0. weight_decay : at least 0, on all weights; added to the gradient
        (momentum), or taken off the weights (AdamW).
    momentum : from 0 to below 1; 0 with AdamW. beta1, beta2, epsilon : AdamW's; 0 with momentum.
    warmup_steps : steps over which the rate rises, (k + 1) / warmup_steps of it at step k.
    flips : whether an image is mirrored left to right, each epoch with probability 1/2.
    crop_padding : an image is cut out anew each epoch after so many zeros are put around it.
    """

    factory: Factory
    factory_digest: bytes
    widths: tuple[int, ...]
    image: tuple[int, int, int]
    loss: Loss
    optimiser: Optimiser
    learning_rate: float
    momentum: float
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    schedule: Schedule
    warmup_steps: int
    epochs: int
    batch_size: int
    precision: Precision
    flips: bool
    crop_padding: int
    name = "sgd"

    def __post_init__(self) -> None:
        check_network(self)
        self._check_optimiser()
        require(0 <= self.warmup_steps < 2**32, "recipe.warmup_steps", "a whole number below 2^32", self.warmup_steps)
        require(1 <= self.epochs <= MAX_EPOCHS, "recipe.epochs", f"1 to {MAX_EPOCHS}", self.epochs)
        require(1 <= self.batch_size <= MAX_BATCH_ROWS, "recipe.batch_size", f"1 to {MAX_BATCH_ROWS}", self.batch_size)
        require(self.is_image or not self.flips, "recipe.flips", "false where recipe.image is not given", "true")
        most = min(self.image[1:])
        require(
            0 <= self.crop_padding <= most, "recipe.crop_padding", f"0 to {most}, the image's side", self.crop_padding
        )

    def _check_optimiser(self) -> None:
        decay = self.weight_decay
        require_positive("recipe.learning_rate", self.learning_rate)
        require(math.isfinite(decay) and decay >= 0, "recipe.weight_decay", "a number of at least 0", decay)
        if self.optimiser is Optimiser.MOMENTUM:
            require(0 <= self.momentum < 1, "recipe.momentum", "a number from 0 to below 1", self.momentum)
            for key in ("beta1", "beta2", "epsilon"):
                require(getattr(self, key) == 0, f"recipe.{key}", "0 with optimiser momentum", getattr(self, key))
            return
        require(self.momentum == 0, "recipe.momentum", "0 with optimiser adamw", self.momentum)
        for key in ("beta1", "beta2"):
            require(0 <= getattr(self, key) < 1, f"recipe.{key}", "a number from 0 to below 1", getattr(self, key))
        require_positive("recipe.epsilon", self.epsilon)

    @property
    def is_image(self) -> bool:
        """Whether a row's features are an image."""
        return self.image[0] > 0

    @property
    def takes_regression(self) -> bool:
        """Whether it can predict a number."""
        return self.loss is Loss.SQUARED

    @property
    def takes_classes(self) -> bool:
        """Whether it can tell classes apart."""
        return True

    @property
    def has_probabilities(self) -> bool:
        """Whether its scores are log-probabilities, up to a constant."""
        return self.loss is Loss.CROSS_ENTROPY

    @property
    def fields(self) -> Value:
        return [
            self.name, self.factory.value, self.factory_digest, list(self.widths), list(self.image),
            self.loss.value, self.optimiser.value, float(self.learning_rate), float(self.momentum), float(self.beta1),
            float(self.beta2), float(self.epsilon), float(self.weight_decay), self.schedule.value, self.warmup_steps,
            self.epochs, self.batch_size, self.precision.value, self.flips, self.crop_padding,
        ]  # fmt: skip
