"""A task's recipe, to protobuf and back."""

from __future__ import annotations

from protocol.errors import MalformedMessage
from protocol.recipes import Kernel, KernelKind, Logistic, Network, Reading, Recipe, Ridge, Sgd, Sklearn
from protocol.wire.fields import enum_from_proto
from protocol.wire.generated import attribution_pb2 as pb
from protocol.wire.network_codec import FACTORY, image_from_proto
from protocol.wire.sgd_codec import sgd_from_proto, sgd_to_proto

_KERNEL = {
    KernelKind.LINEAR: pb.KERNEL_KIND_LINEAR,
    KernelKind.RBF: pb.KERNEL_KIND_RBF,
    KernelKind.NTK: pb.KERNEL_KIND_NTK,
}
_READING = {
    Reading.LOG_PROBABILITY: pb.READING_LOG_PROBABILITY,
    Reading.DECISION: pb.READING_DECISION,
    Reading.PREDICTION: pb.READING_PREDICTION,
}


def recipe_to_proto(recipe: Recipe, message: pb.Task) -> None:
    """Set the recipe of a task's message."""
    match recipe:
        case Ridge(l2=l2):
            message.ridge.CopyFrom(pb.Ridge(l2=l2))
        case Logistic(l2=l2, gradient_tolerance=tolerance):
            message.logistic.CopyFrom(pb.Logistic(l2=l2, gradient_tolerance=tolerance))
        case Kernel():
            message.kernel.CopyFrom(_kernel_to_proto(recipe))
        case Sgd():
            message.sgd.CopyFrom(sgd_to_proto(recipe))
        case Sklearn(estimator=estimator, version=version, reading=reading):
            message.sklearn.CopyFrom(pb.Sklearn(estimator=estimator, version=version, reading=_READING[reading]))


def recipe_from_proto(message: pb.Task) -> Recipe:
    """Return a valid recipe; raises :class:`MalformedMessage`, or what ``protocol.recipes`` refuses it with."""
    match message.WhichOneof("recipe"):
        case "ridge":
            return Ridge(l2=message.ridge.l2)
        case "logistic":
            recipe = message.logistic
            return Logistic(l2=recipe.l2, gradient_tolerance=recipe.gradient_tolerance)
        case "kernel":
            return _kernel_from_proto(message.kernel)
        case "sgd":
            return sgd_from_proto(message.sgd)
        case "sklearn":
            return _sklearn_from_proto(message.sklearn)
        case _:
            raise MalformedMessage("task: expected a recipe, ridge, logistic, kernel, sgd or sklearn, got none")


def _kernel_to_proto(recipe: Kernel) -> pb.Kernel:
    message = pb.Kernel(kind=_KERNEL[recipe.kernel], l2=recipe.l2, gamma=recipe.gamma)
    if recipe.network is not None:
        message.network.CopyFrom(_network_to_proto(recipe.network))
    return message


def _kernel_from_proto(message: pb.Kernel) -> Kernel:
    return Kernel(
        kernel=enum_from_proto(_KERNEL, message.kind, "recipe.kernel"),
        l2=message.l2,
        gamma=message.gamma,
        network=_network_from_proto(message.network) if message.HasField("network") else None,
    )


def _network_to_proto(network: Network) -> pb.Network:
    return pb.Network(
        factory=FACTORY[network.factory],
        factory_digest=network.factory_digest,
        widths=network.widths,
        image=network.image,
        seed=network.seed,
    )


def _network_from_proto(message: pb.Network) -> Network:
    return Network(
        factory=enum_from_proto(FACTORY, message.factory, "recipe.factory"),
        factory_digest=message.factory_digest,
        widths=tuple(message.widths),
        image=image_from_proto(message.image),
        seed=message.seed,
    )


def _sklearn_from_proto(message: pb.Sklearn) -> Sklearn:
    return Sklearn(
        estimator=message.estimator,
        version=message.version,
        reading=enum_from_proto(_READING, message.reading, "recipe.reading"),
    )
