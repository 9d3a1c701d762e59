"""The task, to protobuf and back.

A task that comes from a peer is only ever compared: its digest with the one that the user
trusts. It still has to be a valid task, whatever the bytes.
"""

from __future__ import annotations

import numpy as np

from protocol.encoding import checked_digest
from protocol.errors import MalformedMessage
from protocol.game import Measure
from protocol.numerics import Exact, Numerics, Profile
from protocol.task import (
    ConstantColumns,
    Data,
    Scaling,
    SeedPolicy,
    TargetKind,
    Targets,
    Task,
    UnitKind,
    Units,
)
from protocol.wire.fields import enum_from_proto, refusing, require_present, text_from_proto
from protocol.wire.generated import attribution_pb2 as pb
from protocol.wire.recipe_codec import recipe_from_proto, recipe_to_proto

_CONSTANT_COLUMNS = {
    ConstantColumns.REFUSE: pb.CONSTANT_COLUMNS_REFUSE,
    ConstantColumns.DROP: pb.CONSTANT_COLUMNS_DROP,
    ConstantColumns.KEEP: pb.CONSTANT_COLUMNS_KEEP,
}
_SCALING = {
    Scaling.NONE: pb.SCALING_NONE,
    Scaling.STANDARD: pb.SCALING_STANDARD,
    Scaling.RANGE: pb.SCALING_RANGE,
}
_UNIT_KIND = {UnitKind.ROW: pb.UNIT_KIND_ROW, UnitKind.CONTRIBUTOR: pb.UNIT_KIND_CONTRIBUTOR}
_TARGET_KIND = {
    TargetKind.MARGIN: pb.TARGET_KIND_MARGIN,
    TargetKind.PROBABILITY: pb.TARGET_KIND_PROBABILITY,
    TargetKind.LOSS: pb.TARGET_KIND_LOSS,
    TargetKind.PREDICTION: pb.TARGET_KIND_PREDICTION,
    TargetKind.SQUARED_ERROR: pb.TARGET_KIND_SQUARED_ERROR,
}
_SEED_POLICY = {SeedPolicy.SHARED: pb.SEED_POLICY_SHARED, SeedPolicy.PER_SUBSET: pb.SEED_POLICY_PER_SUBSET}


def task_to_proto(task: Task) -> pb.Task:
    """Return the task as a message."""
    message = pb.Task(
        data=_data_to_proto(task.data),
        units=pb.Units(kind=_UNIT_KIND[task.units.kind], n=task.units.n),
        targets=_targets_to_proto(task.targets),
        p_16=task.measure.p_16,
        seed_policy=_SEED_POLICY[task.seed_policy],
        seed=task.seed,
        numerics=_numerics_to_proto(task.numerics),
    )
    recipe_to_proto(task.recipe, message)
    return message


def task_from_proto(message: pb.Task) -> Task:
    """Return a valid task, or raise :class:`MalformedMessage` naming the key."""
    require_present(message, "data", "units", "targets", "numerics", what="task")
    with refusing("task"):
        return Task(
            data=_data_from_proto(message.data),
            units=Units(kind=enum_from_proto(_UNIT_KIND, message.units.kind, "units.kind"), n=message.units.n),
            recipe=recipe_from_proto(message),
            targets=_targets_from_proto(message.targets),
            measure=Measure(p_16=message.p_16),
            seed_policy=enum_from_proto(_SEED_POLICY, message.seed_policy, "task seed_policy"),
            seed=message.seed,
            numerics=_numerics_from_proto(message.numerics),
        )


def _data_to_proto(data: Data) -> pb.Data:
    return pb.Data(
        source=data.source,
        digest=data.digest,
        target_column=data.target_column,
        contributor_column=data.contributor_column,
        n_classes=data.n_classes,
        n_train=data.n_train,
        n_test=data.n_test,
        split_seed=data.split_seed,
        constant_columns=_CONSTANT_COLUMNS[data.constant_columns],
        scaling=_SCALING[data.scaling],
    )


def _data_from_proto(message: pb.Data) -> Data:
    return Data(
        source=text_from_proto(message.source, "data.source"),
        digest=checked_digest(message.digest, "data.digest"),
        target_column=text_from_proto(message.target_column, "data.target_column"),
        contributor_column=text_from_proto(message.contributor_column, "data.contributor_column"),
        n_classes=message.n_classes,
        n_train=message.n_train,
        n_test=message.n_test,
        split_seed=message.split_seed,
        constant_columns=enum_from_proto(_CONSTANT_COLUMNS, message.constant_columns, "data.constant_columns"),
        scaling=enum_from_proto(_SCALING, message.scaling, "data.scaling"),
    )


def _targets_to_proto(targets: Targets) -> pb.Targets:
    return pb.Targets(
        kind=_TARGET_KIND[targets.kind],
        rows=targets.rows,
        average=targets.average,
        lo=targets.lo.tolist(),
        hi=targets.hi.tolist(),
    )


def _targets_from_proto(message: pb.Targets) -> Targets:
    n_targets = 1 if message.average else len(message.rows)
    if not len(message.lo) == len(message.hi) == n_targets:
        got = f"{len(message.lo)} and {len(message.hi)}"
        raise MalformedMessage(f"targets: expected {n_targets} of lo and of hi, one per target, got {got}")
    return Targets(
        kind=enum_from_proto(_TARGET_KIND, message.kind, "targets.kind"),
        rows=tuple(message.rows),
        average=message.average,
        lo=np.array(message.lo, dtype=np.float64),
        hi=np.array(message.hi, dtype=np.float64),
    )


def _numerics_to_proto(numerics: Profile) -> pb.Numerics:
    if isinstance(numerics, Numerics):
        return pb.Numerics(tolerance=numerics.tolerance)
    bits = (numerics.weight_bits, numerics.activation_bits, numerics.gradient_bits)
    return pb.Numerics(exact=pb.Exact(weight_bits=bits[0], activation_bits=bits[1], gradient_bits=bits[2]))


def _numerics_from_proto(message: pb.Numerics) -> Profile:
    match message.WhichOneof("profile"):
        case "tolerance":
            return Numerics(tolerance=message.tolerance)
        case "exact":
            exact = message.exact
            return Exact(
                weight_bits=exact.weight_bits,
                activation_bits=exact.activation_bits,
                gradient_bits=exact.gradient_bits,
            )
        case _:
            raise MalformedMessage("numerics: expected a profile, tolerance or exact, got none")
