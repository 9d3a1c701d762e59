"""Recipes: all that turns a subset and a training seed into a trained model.

Owns their parameters, the texts and the order in which a task's digest covers them, and what each
can be asked for. What the parameters do is written in ``protocol.training``, one file a recipe.

To add a recipe: a frozen dataclass here, with ``name``, ``loss``,
``takes_regression``, ``has_probabilities`` and ``fields``, and a member of ``Recipe``; a section in
``protocol.taskfile``, a message in ``protocol.wire.task_codec`` and proto/attribution.proto; a
line in SPEC 5, proto/reference.py and a vector; a solver in ``protocol.training``.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import TypeAlias

from protocol.encoding import DIGEST_BYTES, Digest, Value, digest
from protocol.errors import TaskFileError

MAX_EPOCHS = 1_000_000
MAX_BATCH_ROWS = 1 << 24
MAX_WIDTH = 1 << 16
MAX_LAYERS = 64
MAX_IMAGE_VALUES = 1 << 24


def require(holds: bool, key: str, expected: str, got: object) -> None:
    """Raise :class:`TaskFileError` naming the task file's ``key`` unless ``holds``."""
    if not holds:
        raise TaskFileError(f"{key}: expected {expected}, got {got}")


class Loss(enum.Enum):
    """What is minimised at a row, and what a target of kind ``loss`` reads.

    cross-entropy   of the softmax of the scores
    squared         sum over classes of (score - y)^2, y = +1 for the row's class, else -1; for a regression
                    (score - y)^2, for ``sgd`` of y less its mean and over its deviation on all training rows
    squared-hinge   sum over classes of max(0, 1 - y score)^2
    """

    CROSS_ENTROPY = "cross-entropy"
    SQUARED = "squared"
    SQUARED_HINGE = "squared-hinge"


@dataclass(frozen=True, kw_only=True)
class Ridge:
    """Least squares with an L2 penalty ``l2`` on the weights and none on the intercept.

    Classification regresses on +1 for the row's class and -1 for the others.
    """

    l2: float
    name = "ridge"
    loss = Loss.SQUARED
    takes_regression = True
    has_probabilities = False

    def __post_init__(self) -> None:
        require(math.isfinite(self.l2) and self.l2 > 0, "recipe.l2", "a number above 0", self.l2)

    @property
    def fields(self) -> Value:
        return [self.name, float(self.l2)]  # an int would have other bytes


@dataclass(frozen=True, kw_only=True)
class Logistic:
    """Multinomial logistic regression: summed cross-entropy plus l2/2 times the squared weights.

    The intercept is the weight of a constant feature 1 and is penalised like the others, so
    that the optimum exists and is unique for every subset, the empty one included.
    ``gradient_tolerance`` bounds the Euclidean norm of the gradient at which training stops;
    the weights are then within gradient_tolerance / l2 of the optimum.
    """

    l2: float
    gradient_tolerance: float
    name = "logistic"
    loss = Loss.CROSS_ENTROPY
    takes_regression = False
    has_probabilities = True

    def __post_init__(self) -> None:
        require(math.isfinite(self.l2) and self.l2 > 0, "recipe.l2", "a number above 0", self.l2)
        tolerance = self.gradient_tolerance
        require(math.isfinite(tolerance) and tolerance > 0, "recipe.gradient_tolerance", "a number above 0", tolerance)

    @property
    def fields(self) -> Value:
        return [self.name, float(self.l2), float(self.gradient_tolerance)]


class Factory(enum.Enum):
    """What builds the network of recipe ``sgd``.

    mlp      dense layers of ``widths`` hidden units, ReLU between them; no hidden layer is a linear model
    cnn      a 3x3 convolution and ReLU for each of ``widths``, 2x2 mean pooling after each but the first,
             then the mean over the image and a dense layer
    resnet9  the ResNet-9 of the speed records, group norm for batch norm; ``widths`` is its first width
    custom   the user's own, read from where the user says and from nowhere else; ``factory_digest`` names it
    """

    MLP = "mlp"
    CNN = "cnn"
    RESNET9 = "resnet9"
    CUSTOM = "custom"


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

    factory : what builds the network. factory_digest : of a custom one's source; else empty.
    widths : of the hidden layers, as ``Factory`` says. image : channels, height and width that a
        row's features spell out; (0, 0, 0) where they are no image.
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
        self._check_network()
        self._check_optimiser()
        require(0 <= self.warmup_steps < 2**32, "recipe.warmup_steps", "a whole number below 2^32", self.warmup_steps)
        require(1 <= self.epochs <= MAX_EPOCHS, "recipe.epochs", f"1 to {MAX_EPOCHS}", self.epochs)
        require(1 <= self.batch_size <= MAX_BATCH_ROWS, "recipe.batch_size", f"1 to {MAX_BATCH_ROWS}", self.batch_size)
        require(self.is_image or not self.flips, "recipe.flips", "false where recipe.image is not given", "true")
        most = min(self.image[1:])
        require(
            0 <= self.crop_padding <= most, "recipe.crop_padding", f"0 to {most}, the image's side", self.crop_padding
        )

    def _check_network(self) -> None:
        factory, n_bytes, widths = self.factory, len(self.factory_digest), self.widths
        if factory is Factory.CUSTOM:
            require(n_bytes == DIGEST_BYTES, "recipe.factory_digest", f"{DIGEST_BYTES} bytes", f"{n_bytes} bytes")
        else:
            require(n_bytes == 0, "recipe.factory_digest", f"nothing with factory {factory.value}", f"{n_bytes} bytes")
        require(len(widths) <= MAX_LAYERS, "recipe.widths", f"at most {MAX_LAYERS} widths", len(widths))
        for width in widths:
            require(1 <= width <= MAX_WIDTH, "recipe.widths", f"widths from 1 to {MAX_WIDTH}", width)
        if factory is Factory.CNN:
            require(len(widths) >= 1, "recipe.widths", "at least one width for a cnn", "none")
        if factory is Factory.RESNET9:
            require(len(widths) == 1, "recipe.widths", "one width, the first layer's, for resnet9", len(widths))
        sizes = "channels, height and width, or 0, 0, 0 for no image"
        require(min(self.image) >= 0, "recipe.image", sizes, list(self.image))
        require((min(self.image) == 0) == (max(self.image) == 0), "recipe.image", sizes, list(self.image))
        n_values = math.prod(self.image)
        require(n_values <= MAX_IMAGE_VALUES, "recipe.image", f"at most {MAX_IMAGE_VALUES} values", n_values)
        if factory in (Factory.CNN, Factory.RESNET9):
            require(self.is_image, "recipe.image", f"channels, height and width for a {factory.value}", "none")
        if factory is Factory.RESNET9:
            divides = self.image[1] % 8 == 0 and self.image[2] % 8 == 0
            require(divides, "recipe.image", "sides that 8 divides, for resnet9", list(self.image))
            require(widths[0] % 4 == 0, "recipe.widths", "a width that 4 divides, for resnet9's groups", widths[0])

    def _check_optimiser(self) -> None:
        rate, decay = self.learning_rate, self.weight_decay
        require(math.isfinite(rate) and rate > 0, "recipe.learning_rate", "a number above 0", rate)
        require(math.isfinite(decay) and decay >= 0, "recipe.weight_decay", "a number of at least 0", decay)
        if self.optimiser is Optimiser.MOMENTUM:
            require(0 <= self.momentum < 1, "recipe.momentum", "a number from 0 to below 1", self.momentum)
            for key in ("beta1", "beta2", "epsilon"):
                require(getattr(self, key) == 0, f"recipe.{key}", "0 with optimiser momentum", getattr(self, key))
            return
        require(self.momentum == 0, "recipe.momentum", "0 with optimiser adamw", self.momentum)
        for key in ("beta1", "beta2"):
            require(0 <= getattr(self, key) < 1, f"recipe.{key}", "a number from 0 to below 1", getattr(self, key))
        holds = math.isfinite(self.epsilon) and self.epsilon > 0
        require(holds, "recipe.epsilon", "a number above 0", self.epsilon)

    @property
    def is_image(self) -> bool:
        """Whether a row's features are an image."""
        return self.image[0] > 0

    @property
    def takes_regression(self) -> bool:
        """Whether it can predict a number."""
        return self.loss is Loss.SQUARED

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


def digest_of_factory(source: bytes) -> Digest:
    """Return the name that a task calls a custom factory by: of the whole file that defines it, and of no file else."""
    return digest("factory", source)


Recipe: TypeAlias = Ridge | Logistic | Sgd
