"""Networks by the name of what builds them: shared by the recipes that have one."""

from __future__ import annotations

import enum
import math
from typing import Protocol

from protocol.encoding import DIGEST_BYTES, Digest, digest
from protocol.recipes.keys import require

MAX_WIDTH = 1 << 16
MAX_LAYERS = 64
MAX_IMAGE_VALUES = 1 << 24


class Factory(enum.Enum):
    """What builds a network.

    mlp      dense layers of ``widths`` hidden units, ReLU between them; no hidden layer is a linear model
    cnn      a 3x3 convolution and ReLU for each of ``widths``, 2x2 mean pooling after each but the first,
             then the mean over the image and a dense layer
    resnet9  the ResNet-9 of the speed records, group norm for batch norm; ``widths`` is its first width
    custom   the user's own function, read from where the user says and from nowhere else; ``factory_digest`` names
             its file and the function in it
    """

    MLP = "mlp"
    CNN = "cnn"
    RESNET9 = "resnet9"
    CUSTOM = "custom"


class HasNetwork(Protocol):
    """A recipe, or a part of one, that says which network is built.

    factory : what builds it. factory_digest : a custom one's (``digest_of_factory``); else empty.
    widths : of the hidden layers, as :class:`Factory` says. image : channels, height and width that a
        row's features spell out; (0, 0, 0) where they are no image.
    """

    @property
    def factory(self) -> Factory: ...

    @property
    def factory_digest(self) -> bytes: ...

    @property
    def widths(self) -> tuple[int, ...]: ...

    @property
    def image(self) -> tuple[int, int, int]: ...


def check_network(network: HasNetwork) -> None:
    """Raise :class:`TaskFileError` naming the key unless widths, image and digest suit the factory."""
    factory, n_bytes, widths, image = network.factory, len(network.factory_digest), network.widths, network.image
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
    _check_image(image)
    if factory in (Factory.CNN, Factory.RESNET9):
        require(image[0] > 0, "recipe.image", f"channels, height and width for a {factory.value}", "none")
    if factory is Factory.RESNET9:
        divides = image[1] % 8 == 0 and image[2] % 8 == 0
        require(divides, "recipe.image", "sides that 8 divides, for resnet9", list(image))
        require(widths[0] % 4 == 0, "recipe.widths", "a width that 4 divides, for resnet9's groups", widths[0])


def _check_image(image: tuple[int, int, int]) -> None:
    sizes = "channels, height and width, or 0, 0, 0 for no image"
    require(min(image) >= 0, "recipe.image", sizes, list(image))
    require((min(image) == 0) == (max(image) == 0), "recipe.image", sizes, list(image))
    n_values = math.prod(image)
    require(n_values <= MAX_IMAGE_VALUES, "recipe.image", f"at most {MAX_IMAGE_VALUES} values", n_values)


def digest_of_factory(source: bytes, function: str) -> Digest:
    """Return the name that a task calls a custom factory by: of the one file that defines it, whole, and its own."""
    return digest("factory", source, function)
