"""Recipe sgd gives what a plain loop of torch's own parts gives, however models are batched."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from protocol.errors import TaskFileError, TrainingError
from protocol.recipes import Factory, Loss, Optimiser, Precision, Schedule, Sgd
from protocol.task import SeedPolicy, TargetKind, Task, UnitKind
from protocol.training import Dataset, Trainer, split
from tests.protocol.training import tasks
from tests.protocol.training.descent.plain_sgd import plain_scores

MLP = Sgd(
    factory=Factory.MLP, factory_digest=b"", widths=(6,), image=(0, 0, 0), loss=Loss.CROSS_ENTROPY,
    optimiser=Optimiser.MOMENTUM, learning_rate=0.02, momentum=0.9, beta1=0.0, beta2=0.0, epsilon=0.0,
    weight_decay=0.0, schedule=Schedule.CONSTANT, warmup_steps=0, epochs=3, batch_size=7,
    precision=Precision.FP32, flips=False, crop_padding=0,
)  # fmt: skip
ADAMW = dataclasses.replace(
    MLP, optimiser=Optimiser.ADAMW, momentum=0.0, beta1=0.9, beta2=0.99, epsilon=1e-8, learning_rate=0.01
)
CNN = dataclasses.replace(MLP, factory=Factory.CNN, widths=(3, 4), image=(2, 4, 4), epochs=1)
RESNET9 = dataclasses.replace(MLP, factory=Factory.RESNET9, widths=(4,), image=(1, 8, 8), epochs=1, learning_rate=0.005)


def changed(recipe: Sgd, **changes: Any) -> Sgd:
    return dataclasses.replace(recipe, **changes)


RECIPES = {
    "one hidden layer": MLP,
    "no hidden layer": changed(MLP, widths=()),
    "three hidden layers": changed(MLP, widths=(5, 4, 6)),
    "squared": changed(MLP, loss=Loss.SQUARED, learning_rate=0.002),
    "squared hinge": changed(MLP, loss=Loss.SQUARED_HINGE, learning_rate=0.002),
    "weight decay": changed(MLP, weight_decay=0.1),
    "no momentum": changed(MLP, momentum=0.0),
    "cosine after a warm-up": changed(MLP, schedule=Schedule.COSINE, warmup_steps=4),
    "linear after a warm-up": changed(MLP, schedule=Schedule.LINEAR, warmup_steps=4),
    "warm-up to the end and beyond": changed(MLP, schedule=Schedule.LINEAR, warmup_steps=500),
    "batches of one row": changed(MLP, batch_size=1, epochs=1),
    "one batch": changed(MLP, batch_size=1000),
    "adamw": ADAMW,
    "adamw with decay, batches of one row": changed(ADAMW, weight_decay=0.1, batch_size=1, epochs=1),
    "tf32": changed(MLP, precision=Precision.TF32, epochs=1),
    "bf16": changed(MLP, precision=Precision.BF16, epochs=1),
    "augmented mlp": changed(MLP, image=(2, 4, 4), flips=True, crop_padding=2),
    "cnn": CNN,
    "augmented cnn": changed(CNN, flips=True, crop_padding=1),
    "bf16 cnn": changed(CNN, precision=Precision.BF16),
    "resnet9": RESNET9,
}


def world(recipe: Sgd, kind: TargetKind = TargetKind.MARGIN, n_classes: int = 3) -> tuple[Task, Dataset]:
    """A task on made rows as wide as the recipe's image, or of 5 features."""
    width = int(np.prod(recipe.image)) or 5
    table = tasks.table(60, width, n_classes)
    features = np.array(table.features)
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    table = dataclasses.replace(table, features=features)
    data = tasks.data_of(table)
    return tasks.task_of(data, recipe, kind), split(table, data, UnitKind.ROW)


def own_seeds(task: Task) -> Task:
    return dataclasses.replace(task, seed_policy=SeedPolicy.PER_SUBSET)


def margins(task: Task, dataset: Dataset, subsets: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    labels = dataset.y_test[list(task.targets.rows)]
    pairs = zip(subsets, seeds.tolist(), strict=True)
    return np.array([tasks.margins(plain_scores(task, dataset, subset, seed), labels) for subset, seed in pairs])


@pytest.mark.parametrize("name", RECIPES)
def test_a_model_is_what_a_plain_loop_trains(name: str) -> None:
    recipe = RECIPES[name]
    task, dataset = world(recipe)
    subsets = tasks.subsets_of(40, 3)
    subsets[1] = ~subsets[0]
    for seeds in (np.full(3, 5), np.array([5, 6, 2**62])):
        ours = Trainer(task, dataset).raw_outputs(subsets, seeds.astype(np.int64))
        # A rounded operand may fall to the other side, here and there, when sums are added in another order.
        atol = 1e-4 if recipe.precision is Precision.FP32 else 2e-2
        np.testing.assert_allclose(ours, margins(task, dataset, subsets, seeds), rtol=0, atol=atol)


def test_few_units_leave_batches_empty_and_those_make_no_step() -> None:
    for recipe in (changed(MLP, batch_size=4, weight_decay=0.1), changed(ADAMW, batch_size=4, weight_decay=0.1)):
        task, dataset = world(recipe)
        subsets = np.zeros((4, 40), dtype=bool)
        subsets[0, 3] = subsets[1, :9] = subsets[3] = True
        seeds = np.zeros(4, dtype=np.int64)
        ours = Trainer(task, dataset).raw_outputs(subsets, seeds)
        np.testing.assert_allclose(ours, margins(task, dataset, subsets, seeds), rtol=0, atol=1e-4)


@pytest.mark.parametrize("recipe", [MLP, ADAMW, CNN], ids=["mlp", "adamw", "cnn"])
@pytest.mark.parametrize("seeds", [np.zeros(23, dtype=np.int64), np.arange(23)], ids=["one seed", "own seeds"])
def test_the_company_of_a_subset_does_not_change_its_output(recipe: Sgd, seeds: np.ndarray) -> None:
    task, dataset = world(recipe)
    subsets = tasks.subsets_of(40, 23)
    whole = Trainer(task, dataset).raw_outputs(subsets, seeds)
    assert np.unique(whole).size == whole.size
    for batch_size in (1, 7):
        parts = Trainer(task, dataset, batch_size=batch_size).raw_outputs(subsets[::-1].copy(), seeds[::-1].copy())
        np.testing.assert_allclose(parts[::-1], whole, rtol=0, atol=1e-4)


def test_models_of_one_seed_among_others_are_the_same_models() -> None:
    task, dataset = world(MLP)
    subsets = tasks.subsets_of(40, 6)
    shared = Trainer(task, dataset).raw_outputs(subsets, np.full(6, 9, dtype=np.int64))
    mixed = Trainer(task, dataset).raw_outputs(subsets, np.array([9, 1, 9, 9, 2, 9], dtype=np.int64))
    np.testing.assert_allclose(mixed[[0, 2, 3, 5]], shared[[0, 2, 3, 5]], rtol=0, atol=1e-4)
    assert np.abs(mixed[[1, 4]] - shared[[1, 4]]).max() > 0.01


def test_a_complement_trains_on_the_other_rows_in_the_same_order() -> None:
    task, dataset = world(MLP)
    subset = tasks.subsets_of(40, 1)
    pair = np.concatenate([subset, ~subset])
    ours = Trainer(task, dataset).raw_outputs(pair, np.zeros(2, dtype=np.int64))
    np.testing.assert_allclose(ours, margins(task, dataset, pair, np.zeros(2, dtype=np.int64)), rtol=0, atol=1e-4)


@pytest.mark.parametrize("loss", Loss)
def test_a_target_of_kind_loss_is_the_recipes_loss(loss: Loss) -> None:
    task, dataset = world(changed(MLP, loss=loss, learning_rate=0.002), TargetKind.LOSS)
    subsets = tasks.subsets_of(40, 2)
    ours = Trainer(task, dataset).raw_outputs(subsets, np.zeros(2, dtype=np.int64))
    labels = dataset.y_test
    for subset, row in zip(subsets, ours, strict=True):
        scores = plain_scores(task, dataset, subset, 0)
        signs = 2.0 * np.eye(3)[labels] - 1
        want = {
            Loss.CROSS_ENTROPY: np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(10), labels],
            Loss.SQUARED: ((scores - signs) ** 2).sum(axis=1),
            Loss.SQUARED_HINGE: (np.maximum(1 - signs * scores, 0) ** 2).sum(axis=1),
        }[loss]
        np.testing.assert_allclose(row, want, rtol=0, atol=1e-4)


def test_probabilities_are_the_softmax_of_the_scores() -> None:
    task, dataset = world(MLP, TargetKind.PROBABILITY)
    subsets = tasks.subsets_of(40, 1)
    ours = Trainer(task, dataset).raw_outputs(subsets, np.zeros(1, dtype=np.int64))[0]
    scores = plain_scores(task, dataset, subsets[0], 0)
    odds = np.exp(scores)
    np.testing.assert_allclose(ours, (odds / odds.sum(axis=1, keepdims=True))[np.arange(10), dataset.y_test], atol=1e-5)


def test_a_regression_is_predicted_in_its_own_unit() -> None:
    task, dataset = world(changed(MLP, loss=Loss.SQUARED), TargetKind.PREDICTION, n_classes=0)
    subsets = tasks.subsets_of(40, 3)
    ours = Trainer(task, dataset).raw_outputs(subsets, np.zeros(3, dtype=np.int64))
    want = np.array([plain_scores(task, dataset, subset, 0)[:, 0] for subset in subsets])
    np.testing.assert_allclose(ours, want, rtol=1e-4)
    assert np.abs(ours - dataset.y_train.mean()).max() < 5 * dataset.y_train.std()


def test_contributors_bring_all_their_rows() -> None:
    givers = tuple(f"giver {row % 7}" for row in range(60))
    table = tasks.table(60, 5, 3, contributors=givers)
    data = tasks.data_of(table)
    dataset = split(table, data, UnitKind.CONTRIBUTOR)
    task = tasks.task_of(data, changed(MLP, learning_rate=0.001), n_units=7)
    subsets = tasks.subsets_of(7, 3)
    ours = Trainer(task, dataset).raw_outputs(subsets, np.zeros(3, dtype=np.int64))
    np.testing.assert_allclose(ours, margins(task, dataset, subsets, np.zeros(3, dtype=np.int64)), rtol=0, atol=1e-4)


def test_a_training_that_diverges_names_the_subset_and_its_seed() -> None:
    task, dataset = world(changed(MLP, learning_rate=1e30, loss=Loss.SQUARED))
    subsets = np.zeros((3, 40), dtype=bool)
    subsets[1] = True
    message = (
        r"recipe sgd: expected a number from subset 1 \(seed 4, 40 of 40 units\), got none \(1 of 3 subsets\); "
        "training diverged: lower recipe.learning_rate"
    )
    with pytest.raises(TrainingError, match=message):
        Trainer(task, dataset).outputs(subsets, np.array([3, 4, 5], dtype=np.int64))


def test_images_of_another_size_than_the_rows_are_refused() -> None:
    table = tasks.table(60, 5)
    data = tasks.data_of(table)
    task = tasks.task_of(data, changed(MLP, image=(1, 2, 3)))
    with pytest.raises(TaskFileError, match=r"recipe.image: expected 5 values, the features of a row, got 1"):
        Trainer(task, split(table, data, UnitKind.ROW))


def test_the_seed_of_the_process_and_its_default_type_change_nothing() -> None:
    task, dataset = world(CNN)
    subsets, seeds = tasks.subsets_of(40, 2), np.zeros(2, dtype=np.int64)
    first = Trainer(task, dataset).raw_outputs(subsets, seeds)
    torch.manual_seed(123)
    assert np.array_equal(Trainer(task, dataset).raw_outputs(subsets, seeds), first)


@pytest.mark.gpu
@pytest.mark.parametrize("name", RECIPES)
def test_a_gpu_gives_the_same_outputs(name: str) -> None:
    task, dataset = world(RECIPES[name])
    subsets, atol = tasks.subsets_of(40, 17), 1e-4 if RECIPES[name].precision is Precision.FP32 else 2e-2
    for seeds in (np.zeros(17, dtype=np.int64), np.arange(17)):
        cpu, gpu = (Trainer(task, dataset, device=device).raw_outputs(subsets, seeds) for device in ("cpu", "cuda"))
        np.testing.assert_allclose(gpu, cpu, rtol=0, atol=atol)
