"""What the messages of recipes with a network share."""

from __future__ import annotations

from collections.abc import Sequence

from protocol.errors import MalformedMessage
from protocol.recipes import Factory
from protocol.wire.generated import attribution_pb2 as pb

FACTORY = {
    Factory.MLP: pb.FACTORY_MLP,
    Factory.CNN: pb.FACTORY_CNN,
    Factory.RESNET9: pb.FACTORY_RESNET9,
    Factory.CUSTOM: pb.FACTORY_CUSTOM,
}


def image_from_proto(lengths: Sequence[int]) -> tuple[int, int, int]:
    """Return an image's channels, height and width, not yet checked; raises :class:`MalformedMessage`."""
    if len(lengths) != 3:
        raise MalformedMessage(f"recipe.image: expected channels, height and width, got {len(lengths)} numbers")
    channels, height, width = lengths
    return channels, height, width
