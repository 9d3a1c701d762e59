"""Recipe ``sgd``, to protobuf and back."""

from __future__ import annotations

from protocol.recipes import Loss, Optimiser, Precision, Schedule, Sgd
from protocol.wire.fields import enum_from_proto
from protocol.wire.generated import attribution_pb2 as pb
from protocol.wire.network_codec import FACTORY, image_from_proto

_LOSS = {
    Loss.CROSS_ENTROPY: pb.LOSS_CROSS_ENTROPY,
    Loss.SQUARED: pb.LOSS_SQUARED,
    Loss.SQUARED_HINGE: pb.LOSS_SQUARED_HINGE,
}
_OPTIMISER = {Optimiser.MOMENTUM: pb.OPTIMISER_MOMENTUM, Optimiser.ADAMW: pb.OPTIMISER_ADAMW}
_SCHEDULE = {
    Schedule.CONSTANT: pb.SCHEDULE_CONSTANT,
    Schedule.COSINE: pb.SCHEDULE_COSINE,
    Schedule.LINEAR: pb.SCHEDULE_LINEAR,
}
_PRECISION = {
    Precision.FP32: pb.PRECISION_FP32,
    Precision.TF32: pb.PRECISION_TF32,
    Precision.BF16: pb.PRECISION_BF16,
}


def sgd_to_proto(recipe: Sgd) -> pb.Sgd:
    """Return the recipe as a message."""
    return pb.Sgd(
        factory=FACTORY[recipe.factory],
        factory_digest=recipe.factory_digest,
        widths=recipe.widths,
        image=recipe.image,
        loss=_LOSS[recipe.loss],
        optimiser=_OPTIMISER[recipe.optimiser],
        learning_rate=recipe.learning_rate,
        momentum=recipe.momentum,
        beta1=recipe.beta1,
        beta2=recipe.beta2,
        epsilon=recipe.epsilon,
        weight_decay=recipe.weight_decay,
        schedule=_SCHEDULE[recipe.schedule],
        warmup_steps=recipe.warmup_steps,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        precision=_PRECISION[recipe.precision],
        flips=recipe.flips,
        crop_padding=recipe.crop_padding,
    )


def sgd_from_proto(message: pb.Sgd) -> Sgd:
    """Return a valid recipe; raises MalformedMessage, or what ``protocol.recipes`` refuses it with."""
    return Sgd(
        factory=enum_from_proto(FACTORY, message.factory, "recipe.factory"),
        factory_digest=message.factory_digest,
        widths=tuple(message.widths),
        image=image_from_proto(message.image),
        loss=enum_from_proto(_LOSS, message.loss, "recipe.loss"),
        optimiser=enum_from_proto(_OPTIMISER, message.optimiser, "recipe.optimiser"),
        learning_rate=message.learning_rate,
        momentum=message.momentum,
        beta1=message.beta1,
        beta2=message.beta2,
        epsilon=message.epsilon,
        weight_decay=message.weight_decay,
        schedule=enum_from_proto(_SCHEDULE, message.schedule, "recipe.schedule"),
        warmup_steps=message.warmup_steps,
        epochs=message.epochs,
        batch_size=message.batch_size,
        precision=enum_from_proto(_PRECISION, message.precision, "recipe.precision"),
        flips=message.flips,
        crop_padding=message.crop_padding,
    )
