"""A task is validated when made, cannot change, and has a digest over every field."""

from __future__ import annotations

import math
import re
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest

from protocol.encoding import Digest
from protocol.errors import TaskFileError
from protocol.game import Measure
from protocol.task import (
    ConstantColumns,
    Data,
    Logistic,
    Numerics,
    Ridge,
    Scaling,
    SeedPolicy,
    TargetKind,
    Targets,
    Task,
    UnitKind,
    Units,
)

CLASSES = Task(
    data=Data(
        source="sklearn:digits", digest=Digest(bytes(range(32))), target_column="", contributor_column="owner",
        n_classes=10, n_train=8, n_test=5, split_seed=3, constant_columns=ConstantColumns.REFUSE,
        scaling=Scaling.NONE,
    ),
    units=Units(kind=UnitKind.ROW, n=8),
    recipe=Logistic(l2=1.0, gradient_tolerance=1e-8),
    targets=Targets(
        kind=TargetKind.MARGIN, rows=(0, 4), average=False, lo=np.array([-1.0, -2.0]), hi=np.array([1.0, 2.0])
    ),
    measure=Measure(p_16=1 << 15),
    seed_policy=SeedPolicy.SHARED,
    seed=7,
    numerics=Numerics(tolerance=1e-6),
)  # fmt: skip


def changed(path: str, value: Any, task: Task = CLASSES) -> Task:
    """``task`` with the field at ``path`` set, made anew and so validated."""
    first, _, rest = path.partition(".")
    if not rest:
        return replace(task, **{first: value})
    part = getattr(task, first)
    return replace(task, **{first: replace(part, **{rest: value})})


# One other value for every field there is; test_every_field_is_listed holds this list to the classes.
OTHER_VALUES: dict[str, Any] = {
    "data.source": "digits.csv",
    "data.digest": Digest(bytes(32)),
    "data.target_column": "label",
    "data.contributor_column": "",
    "data.n_classes": 2,
    "data.n_train": 9,
    "data.n_test": 6,
    "data.split_seed": 4,
    "data.constant_columns": ConstantColumns.DROP,
    "data.scaling": Scaling.STANDARD,
    "units.kind": UnitKind.CONTRIBUTOR,
    "units.n": 9,
    "recipe.l2": 2.0,
    "recipe.gradient_tolerance": 1e-9,
    "targets.kind": TargetKind.LOSS,
    "targets.rows": (0, 3),
    "targets.average": True,
    "targets.lo": np.array([-1.0, -3.0]),
    "targets.hi": np.array([1.5, 2.0]),
    "measure.p_16": 20000,
    "seed_policy": SeedPolicy.PER_SUBSET,
    "seed": 8,
    "numerics.tolerance": 1e-7,
}
TOGETHER = {
    "data.n_train": {"units.n": 9},
    "units.n": {"data.n_train": 9},
    "targets.average": {"targets.lo": np.array([-1.0]), "targets.hi": np.array([1.0])},
    "seed_policy": {"seed": 0},
}


def with_others(path: str) -> Task:
    """CLASSES with one field changed, and with it what must change along."""
    parts: dict[str, dict[str, Any]] = {}
    for key, value in {path: OTHER_VALUES[path], **TOGETHER.get(path, {})}.items():
        first, _, rest = key.partition(".")
        parts.setdefault(first, {})[rest] = value
    made = {first: new[""] if "" in new else replace(getattr(CLASSES, first), **new) for first, new in parts.items()}
    return replace(CLASSES, **made)


def test_every_field_is_listed() -> None:
    listed = set()
    for field in fields(CLASSES):
        value = getattr(CLASSES, field.name)
        listed |= {f"{field.name}.{f.name}" for f in fields(value)} if is_dataclass(value) else {field.name}
    assert listed == set(OTHER_VALUES)


def test_every_field_changes_the_digest() -> None:
    digests = {path: with_others(path).digest for path in OTHER_VALUES}
    digests["recipe"] = replace(CLASSES, recipe=Ridge(l2=1.0)).digest
    digests["nothing"] = CLASSES.digest
    # units.n and data.n_train change together, in both lines.
    assert digests["units.n"] == digests.pop("data.n_train")
    assert len(set(digests.values())) == len(digests)


def test_two_tasks_of_one_digest_are_the_same() -> None:
    again = changed("seed", 7)
    assert again == CLASSES
    assert hash(again) == hash(CLASSES)
    assert changed("seed", 8) != CLASSES
    assert CLASSES != "a task"
    assert again.targets == CLASSES.targets
    assert len({again.targets, CLASSES.targets, with_others("targets.lo").targets}) == 2


def test_a_whole_number_where_a_float_is_meant_is_the_same_task() -> None:
    assert changed("recipe.l2", 1).digest == CLASSES.digest
    assert changed("numerics.tolerance", 0).digest == changed("numerics.tolerance", 0.0).digest
    assert replace(CLASSES, recipe=Ridge(l2=1)).digest == replace(CLASSES, recipe=Ridge(l2=1.0)).digest


def test_a_task_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        CLASSES.seed = 8
    for bound in (CLASSES.targets.lo, CLASSES.targets.hi):
        with pytest.raises(ValueError, match="read-only"):
            bound[0] = 0.0


def test_what_a_task_says_of_itself() -> None:
    assert (CLASSES.measure.p, CLASSES.measure.has_complements, CLASSES.n_units, CLASSES.n_targets) == (0.5, True, 8, 2)
    assert not changed("measure", Measure(p_16=32769)).measure.has_complements
    assert changed("measure.p_16", 16384).measure.p == 0.25
    assert CLASSES.targets.width.tolist() == [2.0, 4.0]
    assert with_others("targets.average").n_targets == 1
    assert [kind for kind in TargetKind if kind.larger_is_worse] == [TargetKind.LOSS, TargetKind.SQUARED_ERROR]
    assert [kind for kind in TargetKind if kind.for_regression] == [TargetKind.PREDICTION, TargetKind.SQUARED_ERROR]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("data.source", "", "data.source: expected sklearn:NAME or a file name, got nothing"),
        ("data.digest", b"short", "data.digest: expected 32 bytes, got 5 bytes"),
        ("data.n_classes", 1, "data.n_classes: expected 0 (regression) or at least 2, got 1"),
        ("data.n_classes", -1, "data.n_classes: expected"),
        ("data.n_train", 0, "data.n_train: expected at least 1 training row, got 0"),
        ("data.n_test", 0, "data.n_test: expected at least 1 test row (the test set is empty), got 0"),
        ("data.split_seed", -1, "data.split_seed: expected an integer from 0 to 2^63 - 1, got -1"),
        ("data.split_seed", 2**63, "data.split_seed: expected an integer"),
        ("units.n", 1, "units.n: expected 2 to 10000000 units, got 1"),
        ("units.n", 10_000_001, "units.n: expected 2 to 10000000 units, got 10000001"),
        ("units.n", 7, "units.n: expected n_train = 8, got 7"),
        ("recipe.l2", 0.0, "recipe.l2: expected a number above 0, got 0.0"),
        ("recipe.l2", math.inf, "recipe.l2: expected a number above 0, got inf"),
        ("recipe.gradient_tolerance", 0.0, "recipe.gradient_tolerance: expected a number above 0, got 0.0"),
        ("recipe.gradient_tolerance", math.nan, "recipe.gradient_tolerance: expected a number above 0, got nan"),
        ("targets.rows", (), "targets.rows: expected at least one test row"),
        ("targets.rows", (1, 1), "targets.rows: expected each test row once, got a row twice"),
        ("targets.rows", (-1, 1), "targets.rows: expected row numbers from 0, got -1"),
        ("targets.rows", (0, 5), "targets.rows: expected row numbers below n_test = 5, got 5"),
        ("targets.rows", (0, 1, 2), "targets.lo: expected 3 numbers, one per target, got 2"),
        ("targets.lo", np.array([0.0]), "targets.lo: expected 2 numbers, one per target, got 1"),
        ("targets.hi", np.array([math.nan, 1.0]), "targets.hi: expected finite numbers, got NaN or infinity"),
        ("targets.lo", np.array([-math.inf, 1.0]), "targets.lo: expected finite numbers, got NaN or infinity"),
        ("targets.lo", np.array([0.0, 2.0]), "targets.lo: expected lo < hi for every target, got lo = 2.0, hi = 2.0"),
        ("targets.kind", TargetKind.PREDICTION, "targets.kind: expected margin, probability or loss for classes, got"),
        ("measure.p_16", 0, "sampling.p: expected a probability strictly between 0 and 1, got 0.0"),
        ("measure.p_16", 65536, "sampling.p: expected a probability strictly between 0 and 1, got 1.0"),
        ("seed", -1, "sampling.seed: expected an integer from 0"),
        ("seed", 2**63, "sampling.seed: expected an integer from 0"),
        ("seed_policy", SeedPolicy.PER_SUBSET, "sampling.seed: expected 0 when every subset has a seed of its own"),
        ("numerics.tolerance", -1e-9, "numerics.tolerance: expected a number from 0 to 1e+50, got -1e-09"),
        ("numerics.tolerance", math.nan, "numerics.tolerance: expected a number from 0 to 1e+50, got nan"),
    ],
)
def test_a_faulty_value_is_refused_by_name(path: str, value: Any, message: str) -> None:
    with pytest.raises(TaskFileError, match="^" + re.escape(message)):
        changed(path, value)


def test_too_many_targets_are_refused() -> None:
    rows = tuple(range(100_001))
    with pytest.raises(TaskFileError, match=r"targets\.rows: expected at most 100000 targets, got 100001"):
        Targets(kind=TargetKind.MARGIN, rows=rows, average=False, lo=np.zeros(1), hi=np.ones(1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"data": replace(CLASSES.data, contributor_column=""), "units": Units(kind=UnitKind.CONTRIBUTOR, n=3)},
            "units.kind: expected data.contributor_column to be set, got none",
        ),
        ({"units": Units(kind=UnitKind.CONTRIBUTOR, n=9)}, "units.n: expected at most n_train = 8, got 9"),
        (
            {"recipe": Ridge(l2=1.0), "targets": replace(CLASSES.targets, kind=TargetKind.PROBABILITY)},
            "targets.kind: expected margin or loss for recipe ridge, which has no probabilities, got probability",
        ),
        (
            {"data": replace(CLASSES.data, n_classes=0)},
            "targets.kind: expected prediction or squared-error for a regression, got margin",
        ),
        (
            {
                "data": replace(CLASSES.data, n_classes=0),
                "targets": replace(CLASSES.targets, kind=TargetKind.PREDICTION),
            },
            "recipe.name: expected ridge, kernel, sgd with loss squared or sklearn with reading prediction, for a",
        ),
    ],
    ids=[
        "contributors unnamed",
        "more contributors than rows",
        "ridge probabilities",
        "margin of a regression",
        "logistic regression",
    ],
)
def test_parts_that_do_not_fit_together_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskFileError, match="^" + re.escape(message)):
        replace(CLASSES, **changes)


def test_contributors_may_be_fewer_than_rows() -> None:
    assert replace(CLASSES, units=Units(kind=UnitKind.CONTRIBUTOR, n=3)).n_units == 3
