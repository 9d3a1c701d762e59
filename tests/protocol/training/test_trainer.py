"""What holds of every recipe: batches, order, clipping, faults."""

from __future__ import annotations

import dataclasses
import re
from typing import get_args

import numpy as np
import pytest
import torch

from protocol.errors import TrainingError
from protocol.task import Data, Logistic, Recipe, Ridge, TargetKind, UnitKind
from protocol.training import Trainer, split
from protocol.training.optima.ridge import RidgeSolver
from protocol.training.trainer import _LESS_MEMORY
from tests.protocol.training import tasks

RECIPES = [Ridge(l2=0.7), Logistic(l2=0.7, gradient_tolerance=1e-11)]
both = pytest.mark.parametrize("recipe", RECIPES, ids=["ridge", "logistic"])


@both
@pytest.mark.parametrize("batch_size", [1, 7, 15, 1000])
def test_the_batch_size_does_not_change_outputs(recipe: Recipe, batch_size: int) -> None:
    task, dataset = tasks.made(recipe)
    subsets = tasks.subsets_of(40, 15)
    whole = Trainer(task, dataset).raw_outputs(subsets, tasks.seeds_of(subsets))
    parts = Trainer(task, dataset, batch_size=batch_size).raw_outputs(subsets, tasks.seeds_of(subsets))
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-10)


@both
def test_the_order_and_the_company_of_a_subset_do_not_change_its_output(recipe: Recipe) -> None:
    task, dataset = tasks.made(recipe)
    subsets = tasks.subsets_of(40, 30)
    order = np.random.default_rng(1).permutation(30)[:17]
    trainer = Trainer(task, dataset)
    whole = trainer.raw_outputs(subsets, tasks.seeds_of(subsets))
    some = trainer.raw_outputs(subsets[order], tasks.seeds_of(subsets[order]))
    np.testing.assert_allclose(some, whole[order], rtol=0, atol=1e-10)


@both
def test_the_seed_does_not_change_outputs_of_a_recipe_without_one(recipe: Recipe) -> None:
    task, dataset = tasks.made(recipe)
    subsets = tasks.subsets_of(40, 4)
    trainer = Trainer(task, dataset)
    first, second = (trainer.raw_outputs(subsets, np.full(4, seed, dtype=np.int64)) for seed in (0, 2**62))
    assert np.array_equal(first, second)


@both
def test_only_the_target_rows_are_read_and_in_their_order(recipe: Recipe) -> None:
    table = tasks.table()
    data = tasks.data_of(table)
    dataset = split(table, data, UnitKind.ROW)
    subsets = tasks.subsets_of(40, 3)
    whole, some = (
        Trainer(tasks.task_of(data, recipe, rows=rows), dataset).raw_outputs(subsets, tasks.seeds_of(subsets))
        for rows in (None, (7, 2, 5))
    )
    np.testing.assert_allclose(some, whole[:, [7, 2, 5]], rtol=0, atol=1e-10)


def test_an_average_is_one_target() -> None:
    table = tasks.table()
    data = tasks.data_of(table)
    dataset = split(table, data, UnitKind.ROW)
    subsets = tasks.subsets_of(40, 3)
    each, mean = (
        Trainer(tasks.task_of(data, RECIPES[0], average=average), dataset).raw_outputs(subsets, tasks.seeds_of(subsets))
        for average in (False, True)
    )
    np.testing.assert_allclose(mean, each.mean(axis=1, keepdims=True), rtol=0, atol=1e-12)


def test_outputs_are_clipped_and_counted_strictly_outside_the_range() -> None:
    table = tasks.table()
    data = tasks.data_of(table)
    dataset = split(table, data, UnitKind.ROW)
    subsets = tasks.subsets_of(40, 50)
    raw = Trainer(tasks.task_of(data, RECIPES[0]), dataset).raw_outputs(subsets, tasks.seeds_of(subsets))
    bound = float(np.sort(np.abs(raw).ravel())[-20])  # 19 lie beyond, one upon
    outputs = Trainer(tasks.task_of(data, RECIPES[0], bound=bound), dataset).outputs(subsets, tasks.seeds_of(subsets))
    assert outputs.n_clipped == 19
    assert np.array_equal(outputs.values, np.clip(raw, -bound, bound))
    assert outputs.values.dtype == np.float64


def test_no_subsets_give_no_outputs() -> None:
    task, dataset = tasks.made(RECIPES[0])
    outputs = Trainer(task, dataset).outputs(np.zeros((0, 40), dtype=bool), np.zeros(0, dtype=np.int64))
    assert outputs.values.shape == (0, 10)
    assert outputs.n_clipped == 0


def test_an_output_that_is_no_number_names_the_subset_and_its_seed() -> None:
    task, dataset = tasks.made(Ridge(l2=1e-300), d=30)
    subsets = np.ones((5, 40), dtype=bool)
    subsets[3] = np.arange(40) < 4  # 30 weights from 4 rows, and no penalty to speak of
    message = (
        r"recipe ridge: expected a number from subset 3 \(seed 13, 4 of 40 units\), got none \(1 of 5 subsets\); raise"
    )
    with pytest.raises(TrainingError, match=message):
        Trainer(task, dataset, batch_size=2).outputs(subsets, np.arange(10, 15))


@pytest.mark.parametrize("device", ["tpu9", "cuda:99", "meta-physics", ""])
def test_a_device_that_is_not_there_is_one_line(device: str) -> None:
    task, dataset = tasks.made(RECIPES[0])
    with pytest.raises(
        TrainingError, match=r"device '.*': expected one that torch can use here, got .*; use device cpu"
    ) as caught:
        Trainer(task, dataset, device=device)
    assert "\n" not in str(caught.value)


def test_threads_are_set_only_when_asked() -> None:
    task, dataset = tasks.made(RECIPES[0])
    before = torch.get_num_threads()
    try:
        Trainer(task, dataset)
        assert torch.get_num_threads() == before
        Trainer(task, dataset, n_threads=before + 1)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_a_regression_reads_squared_errors() -> None:
    table = tasks.table(n_classes=0)
    data = tasks.data_of(table)
    dataset = split(table, data, UnitKind.ROW)
    subsets = tasks.subsets_of(40, 3)
    prediction, error = (
        Trainer(tasks.task_of(data, RECIPES[0], kind), dataset).raw_outputs(subsets, tasks.seeds_of(subsets))
        for kind in (TargetKind.PREDICTION, TargetKind.SQUARED_ERROR)
    )
    np.testing.assert_allclose(error, (prediction - dataset.y_test) ** 2, rtol=1e-10)


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: not enough memory: you tried to allocate"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: str(error)[:20] or "MemoryError")
def test_a_batch_that_memory_does_not_hold_halves_itself_and_goes_on(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, dataset = tasks.made(RECIPES[0])
    subsets = tasks.subsets_of(40, 30)
    whole = Trainer(task, dataset).raw_outputs(subsets, tasks.seeds_of(subsets))
    sizes, plain = [], RidgeSolver.scores

    def scores(solver: RidgeSolver, batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        if len(batch) > 4:
            raise error
        return plain(solver, batch)

    monkeypatch.setattr(RidgeSolver, "scores", scores)
    parts = Trainer(task, dataset).raw_outputs(subsets, tasks.seeds_of(subsets))
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-10)
    assert sizes == [30, 15, 8, *[4] * 7, 2]


def test_a_model_that_memory_does_not_hold_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    task, dataset = tasks.made(RECIPES[0])

    def scores(solver: RidgeSolver, batch: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(RidgeSolver, "scores", scores)
    subsets = tasks.subsets_of(40, 3)
    message = "recipe ridge: expected memory for one model on cpu, found less; use a device with more, or fewer columns"
    with pytest.raises(TrainingError, match=message):
        Trainer(task, dataset).raw_outputs(subsets, tasks.seeds_of(subsets))


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: str(error)[:20] or "MemoryError")
def test_memory_that_does_not_hold_even_the_data_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def tensor(trainer: Trainer, array: np.ndarray) -> torch.Tensor:
        raise error

    monkeypatch.setattr(Trainer, "_tensor", tensor)
    message = "recipe ridge: expected memory for the data and what it sets up on cpu, found less; use a device with mor"
    with pytest.raises(TrainingError, match=message):
        Trainer(*tasks.made(RECIPES[0]))


def test_every_recipe_is_advised_by_keys_that_it_has() -> None:
    assert {recipe.name for recipe in get_args(Recipe)} == set(_LESS_MEMORY)
    keys = {recipe.name: {field.name for field in dataclasses.fields(recipe)} for recipe in get_args(Recipe)}
    for name, advice in _LESS_MEMORY.items():
        assert set(re.findall(r"recipe\.(\w+)", advice)) <= keys[name]
        assert set(re.findall(r"data\.(\w+)", advice)) <= {field.name for field in dataclasses.fields(Data)}


def test_another_fault_of_torch_is_no_matter_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    task, dataset = tasks.made(RECIPES[0])

    def scores(solver: RidgeSolver, batch: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("shapes")

    monkeypatch.setattr(RidgeSolver, "scores", scores)
    subsets = tasks.subsets_of(40, 3)
    with pytest.raises(RuntimeError, match=r"^shapes$"):
        Trainer(task, dataset).raw_outputs(subsets, tasks.seeds_of(subsets))


@pytest.mark.gpu
@both
def test_a_gpu_gives_the_same_outputs(recipe: Recipe) -> None:
    task, dataset = tasks.made(recipe)
    subsets = tasks.subsets_of(40, 65)
    cpu, gpu = (Trainer(task, dataset, device=d).raw_outputs(subsets, tasks.seeds_of(subsets)) for d in ("cpu", "cuda"))
    np.testing.assert_allclose(gpu, cpu, rtol=0, atol=1e-8)
