"""A recipe is validated when made; each of its fields is in the task's digest and in the task file."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pytest

from protocol.errors import TaskFileError
from protocol.numerics import Exact
from protocol.recipes import (
    Factory,
    Kernel,
    KernelKind,
    Loss,
    Network,
    Optimiser,
    Precision,
    Reading,
    Ridge,
    Schedule,
    Sgd,
    Sklearn,
    digest_of_factory,
)
from protocol.task import TargetKind
from protocol.taskfile import parse, render
from protocol.wire.task_codec import task_from_proto, task_to_proto
from tests.protocol.test_task import CLASSES

SGD = Sgd(
    factory=Factory.MLP, factory_digest=b"", widths=(32, 16), image=(1, 8, 8), loss=Loss.CROSS_ENTROPY,
    optimiser=Optimiser.MOMENTUM, learning_rate=0.1, momentum=0.9, beta1=0.0, beta2=0.0, epsilon=0.0,
    weight_decay=0.001, schedule=Schedule.COSINE, warmup_steps=5, epochs=20, batch_size=50,
    precision=Precision.FP32, flips=False, crop_padding=0,
)  # fmt: skip
ADAMW = dataclasses.replace(SGD, optimiser=Optimiser.ADAMW, momentum=0.0, beta1=0.9, beta2=0.99, epsilon=1e-8)

OTHERS: dict[str, dict[str, Any]] = {
    "factory": {"factory": Factory.CNN},
    "factory_digest": {"factory": Factory.CUSTOM, "factory_digest": bytes(32)},
    "widths": {"widths": (16, 32)},
    "image": {"image": (1, 4, 16)},
    "loss": {"loss": Loss.SQUARED},
    "optimiser": {"optimiser": Optimiser.ADAMW, "momentum": 0.0, "epsilon": 1e-8},
    "learning_rate": {"learning_rate": 0.2},
    "momentum": {"momentum": 0.8},
    "beta1": {"beta1": 0.8},
    "beta2": {"beta2": 0.8},
    "epsilon": {"epsilon": 1e-7},
    "weight_decay": {"weight_decay": 0.0},
    "schedule": {"schedule": Schedule.LINEAR},
    "warmup_steps": {"warmup_steps": 6},
    "epochs": {"epochs": 21},
    "batch_size": {"batch_size": 51},
    "precision": {"precision": Precision.TF32},
    "flips": {"flips": True},
    "crop_padding": {"crop_padding": 2},
}


def test_every_field_of_sgd_changes_the_tasks_digest_and_survives_the_file() -> None:
    assert set(OTHERS) == {field.name for field in dataclasses.fields(Sgd)}
    digests = set()
    for name, changes in OTHERS.items():
        plain = ADAMW if name in ("beta1", "beta2", "epsilon") else SGD
        changed = dataclasses.replace(plain, **changes)
        assert getattr(changed, name) != getattr(plain, name)
        task = dataclasses.replace(CLASSES, recipe=changed)
        assert parse(render(task)) == task
        digests.add(task.digest)
    digests |= {dataclasses.replace(CLASSES, recipe=recipe).digest for recipe in (SGD, ADAMW, Ridge(l2=1.0))}
    assert len(digests) == len(OTHERS) + 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factory": Factory.CUSTOM}, "recipe.factory_digest: expected 32 bytes, got 0 bytes"),
        ({"factory_digest": bytes(32)}, "recipe.factory_digest: expected nothing with factory mlp, got 32 bytes"),
        ({"widths": (0,)}, "recipe.widths: expected widths from 1 to 65536, got 0"),
        ({"widths": (1,) * 65}, "recipe.widths: expected at most 64 widths, got 65"),
        ({"factory": Factory.CNN, "widths": ()}, "recipe.widths: expected at least one width for a cnn, got none"),
        ({"factory": Factory.CNN, "image": (0, 0, 0)}, "recipe.image: expected channels, height and width for a cnn"),
        ({"factory": Factory.RESNET9}, "recipe.widths: expected one width, the first layer's, for resnet9, got 2"),
        (
            {"factory": Factory.RESNET9, "widths": (64,), "image": (3, 12, 8)},
            "recipe.image: expected sides that 8 divides, for resnet9, got [3, 12, 8]",
        ),
        ({"factory": Factory.RESNET9, "widths": (6,)}, "recipe.widths: expected a width that 4 divides"),
        ({"image": (1, 0, 8)}, "recipe.image: expected channels, height and width, or 0, 0, 0 for no image, got [1"),
        ({"image": (2**12, 2**12, 2)}, "recipe.image: expected at most 16777216 values, got 33554432"),
        ({"image": (0, 0, 0), "flips": True}, "recipe.flips: expected false where recipe.image is not given"),
        ({"crop_padding": 9}, "recipe.crop_padding: expected 0 to 8, the image's side, got 9"),
        ({"learning_rate": 0.0}, "recipe.learning_rate: expected a number above 0, got 0"),
        ({"learning_rate": math.inf}, "recipe.learning_rate: expected a number above 0, got inf"),
        ({"weight_decay": -0.1}, "recipe.weight_decay: expected a number of at least 0, got -0.1"),
        ({"weight_decay": math.nan}, "recipe.weight_decay: expected a number of at least 0, got nan"),
        ({"momentum": 1.0}, "recipe.momentum: expected a number from 0 to below 1, got 1.0"),
        ({"beta1": 0.9}, "recipe.beta1: expected 0 with optimiser momentum, got 0.9"),
        ({"optimiser": Optimiser.ADAMW}, "recipe.momentum: expected 0 with optimiser adamw, got 0.9"),
        ({"optimiser": Optimiser.ADAMW, "momentum": 0.0}, "recipe.epsilon: expected a number above 0, got 0"),
        ({"epochs": 0}, "recipe.epochs: expected 1 to 1000000, got 0"),
        ({"batch_size": 0}, "recipe.batch_size: expected 1 to 16777216, got 0"),
    ],
)
def test_a_value_that_cannot_be_trained_with_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskFileError, match="^" + re.escape(message)):
        dataclasses.replace(SGD, **changes)


NETWORK = Network(factory=Factory.MLP, factory_digest=b"", widths=(8,), image=(0, 0, 0), seed=7)
LINEAR = Kernel(kernel=KernelKind.LINEAR, l2=0.5, gamma=0.0, network=None)
RBF = dataclasses.replace(LINEAR, kernel=KernelKind.RBF, gamma=0.25)
NTK = dataclasses.replace(LINEAR, kernel=KernelKind.NTK, network=NETWORK)
SVC = Sklearn(estimator="SVC(C=2.0)", version="1.9.1", reading=Reading.DECISION)


def test_every_field_of_kernels_and_estimators_changes_the_tasks_digest_and_survives_file_and_wire() -> None:
    recipes = [
        LINEAR, RBF, NTK, dataclasses.replace(LINEAR, l2=0.25), dataclasses.replace(RBF, gamma=0.125),
        *(
            dataclasses.replace(NTK, network=dataclasses.replace(NETWORK, **changes))
            for changes in (
                {"factory": Factory.CUSTOM, "factory_digest": bytes(32)}, {"widths": (8, 8)}, {"image": (1, 8, 8)},
                {"seed": 8},
            )
        ),
        SVC, dataclasses.replace(SVC, estimator="SVC(C=1.0)"), dataclasses.replace(SVC, version="1.9.0"),
        dataclasses.replace(SVC, reading=Reading.LOG_PROBABILITY),
    ]  # fmt: skip
    tasks = [dataclasses.replace(CLASSES, recipe=recipe) for recipe in recipes]
    for task in tasks:
        assert parse(render(task)) == task
        assert task_from_proto(task_to_proto(task)) == task
    assert len({task.digest for task in tasks}) == len(tasks)


@pytest.mark.parametrize(
    ("recipe", "changes", "message"),
    [
        (RBF, {"gamma": 0.0}, "recipe.gamma: expected a number above 0, got 0.0"),
        (RBF, {"gamma": math.inf}, "recipe.gamma: expected a number above 0, got inf"),
        (LINEAR, {"gamma": 1.0}, "recipe.gamma: expected 0 with kernel linear, got 1.0"),
        (LINEAR, {"l2": 0.0}, "recipe.l2: expected a number above 0, got 0.0"),
        (LINEAR, {"network": NETWORK}, "recipe.factory: expected none with kernel linear, got a network"),
        (NTK, {"network": None}, "recipe.factory: expected a network with kernel ntk, got none"),
        (NETWORK, {"seed": 2**63}, "recipe.network_seed: expected an integer from 0 to 2^63 - 1"),
        (NETWORK, {"factory": Factory.CNN}, "recipe.image: expected channels, height and width for a cnn, got none"),
        (SVC, {"version": "1.9.1; rm"}, "recipe.version: expected a version such as 1.9.1, got '1.9.1; rm'"),
        (SVC, {"estimator": "SVC(n_jobs=2)"}, "recipe.estimator: expected SVC without n_jobs"),
    ],
)
def test_a_kernel_or_an_estimator_that_means_nothing_is_refused(
    recipe: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(TaskFileError, match="^" + re.escape(message)):
        dataclasses.replace(recipe, **changes)


def test_keys_of_a_network_are_empty_in_the_file_of_a_kernel_without_one() -> None:
    text = render(dataclasses.replace(CLASSES, recipe=LINEAR))
    with pytest.raises(TaskFileError, match=r'^recipe\.widths: expected \[\] with factory "", got \[3\]'):
        parse(text.replace("widths = []", "widths = [3]"))
    with pytest.raises(TaskFileError, match=r'^recipe\.network_seed: expected 0 with factory "", got 3'):
        parse(text.replace("network_seed = 0", "network_seed = 3"))


def test_only_the_reading_prediction_takes_a_regression_and_it_takes_no_classes() -> None:
    data = dataclasses.replace(CLASSES.data, n_classes=0)
    prediction = dataclasses.replace(CLASSES.targets, kind=TargetKind.PREDICTION)
    predicts = dataclasses.replace(SVC, estimator="SVR()", reading=Reading.PREDICTION)
    assert dataclasses.replace(CLASSES, data=data, targets=prediction, recipe=predicts).recipe == predicts
    with pytest.raises(TaskFileError, match="sklearn with reading prediction, for a regression, got sklearn"):
        dataclasses.replace(CLASSES, data=data, targets=prediction, recipe=SVC)
    with pytest.raises(TaskFileError, match=r"^recipe\.reading: expected log-probability or decision for classes"):
        dataclasses.replace(CLASSES, recipe=predicts)


def test_only_a_squared_loss_takes_a_regression_and_only_cross_entropy_has_probabilities() -> None:
    data = dataclasses.replace(CLASSES.data, n_classes=0)
    prediction = dataclasses.replace(CLASSES.targets, kind=TargetKind.PREDICTION)
    probability = dataclasses.replace(CLASSES.targets, kind=TargetKind.PROBABILITY)
    squared = dataclasses.replace(SGD, loss=Loss.SQUARED)
    assert dataclasses.replace(CLASSES, data=data, targets=prediction, recipe=squared).recipe == squared
    assert dataclasses.replace(CLASSES, targets=probability, recipe=SGD).recipe == SGD
    with pytest.raises(
        TaskFileError, match="sgd with loss squared or sklearn with reading prediction, for a regression, got sgd"
    ):
        dataclasses.replace(CLASSES, data=data, targets=prediction, recipe=SGD)
    with pytest.raises(TaskFileError, match="margin or loss for recipe sgd, which has no probabilities"):
        dataclasses.replace(CLASSES, targets=probability, recipe=squared)


def test_a_file_that_lacks_one_of_sgds_keys_names_it() -> None:
    text = render(dataclasses.replace(CLASSES, recipe=SGD))
    with pytest.raises(TaskFileError, match=r'^recipe\.loss: expected "cross-entropy", "squared" or "squared-hinge"'):
        parse(text.replace('loss = "cross-entropy"', 'loss = "hinge"'))
    with pytest.raises(TaskFileError, match=r"^recipe\.image: expected \[channels, height, width\]"):
        parse(re.sub(r"image = \[1, 8, 8\]", "image = [8, 8]", text))
    with pytest.raises(TaskFileError, match=r"^recipe\.epochs: expected a whole number"):
        parse(text.replace("epochs = 20", ""))


def test_a_custom_factorys_name_is_its_source_and_its_own() -> None:
    of = digest_of_factory(b"def make(): ...", "make")
    assert of != digest_of_factory(b"def make(): pass", "make")
    assert of != digest_of_factory(b"def make(): ...", "other")


def test_the_exact_profile_survives_the_file_and_the_wire_and_each_of_its_bits_is_hashed() -> None:
    recipe = dataclasses.replace(SGD, loss=Loss.SQUARED, schedule=Schedule.CONSTANT, widths=(8,))
    plain = dataclasses.replace(CLASSES, recipe=recipe)
    tasks = [plain] + [
        dataclasses.replace(plain, numerics=Exact(**bits))
        for bits in ({}, {"weight_bits": 19}, {"activation_bits": 17}, {"gradient_bits": 21})
    ]
    for task in tasks:
        assert parse(render(task)) == task
        assert task_from_proto(task_to_proto(task)) == task
    assert len({task.digest for task in tasks}) == len(tasks)
    assert tasks[1].numerics.tolerance == 0.0
    text = render(tasks[1])
    with pytest.raises(TaskFileError, match=r'^numerics\.profile: expected "tolerance" or "exact", got \'exakt\''):
        parse(text.replace('"exact"', '"exakt"'))
    with pytest.raises(
        TaskFileError, match=r"^numerics\.tolerance: unknown key; expected weight_bits, activation_bits"
    ):
        parse(text + "tolerance = 0.0\n")


@pytest.mark.parametrize("changes", [{"weight_bits": 7}, {"activation_bits": 8}, {"gradient_bits": 41}])
def test_bits_that_no_format_has_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(TaskFileError, match=r"numerics\.\w+_bits: expected a whole number from \d to 40, got"):
        Exact(**changes)
