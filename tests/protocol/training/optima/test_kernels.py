"""Kernel ridge regression against NumPy, against scikit-learn, and against what its kernels must be."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import sklearn.kernel_ridge
import torch

from protocol.encoding import digest
from protocol.errors import ArgumentError, TaskFileError, TrainingError
from protocol.game.sampling import initial_weights
from protocol.recipes import Factory, Kernel, KernelKind, Network
from protocol.task import Task, UnitKind
from protocol.training import Dataset, Trainer, split
from protocol.training.descent import networks
from protocol.training.optima import kernels, submatrices, tangent_kernel
from tests.protocol.training import tasks

LINEAR = Kernel(kernel=KernelKind.LINEAR, l2=0.7, gamma=0.0, network=None)
RBF = Kernel(kernel=KernelKind.RBF, l2=0.05, gamma=0.02, network=None)
MLP = Network(factory=Factory.MLP, factory_digest=b"", widths=(5, 3), image=(0, 0, 0), seed=11)
NTK = Kernel(kernel=KernelKind.NTK, l2=0.5, gamma=0.0, network=MLP)
ALL = pytest.mark.parametrize("recipe", [LINEAR, RBF, NTK], ids=lambda recipe: recipe.kernel.value)


def outputs_of(task: Task, dataset: Dataset, subsets: np.ndarray, **options: object) -> np.ndarray:
    return Trainer(task, dataset, **options).raw_outputs(subsets, tasks.seeds_of(subsets))  # type: ignore[arg-type]


def awkward_subsets(n: int, m: int = 8) -> np.ndarray:
    """Return subsets with the full one, the empty one and one of a single unit among them."""
    subsets = tasks.subsets_of(n, m)
    subsets[0], subsets[1], subsets[2] = True, False, False
    subsets[2, 3] = True
    return subsets


def kernel_by_the_book(recipe: Kernel, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the kernel of rows x and z from its definition, one pair or one row at a time."""
    if recipe.kernel is KernelKind.LINEAR:
        return np.array([[float(np.dot(a, b)) for b in z] for a in x])
    if recipe.kernel is KernelKind.RBF:
        return np.array([[np.exp(-recipe.gamma * ((a - b) ** 2).sum()) for b in z] for a in x])
    assert recipe.network is not None
    return gradients_by_autograd(recipe.network, x) @ gradients_by_autograd(recipe.network, z).T


def gradients_by_autograd(recipe: Network, x: np.ndarray) -> np.ndarray:
    """Return each row's gradient in all weights by torch's plain autograd."""
    module = networks.network(recipe, x.shape[1], 1, None).to(torch.float64)
    with torch.no_grad():
        for j, (name, parameter) in enumerate(module.named_parameters()):
            if parameter.ndim == 1:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
                continue
            fan_in = parameter.numel() // len(parameter)
            values = (6 / fan_in) ** 0.5 * initial_weights(recipe.seed, j, parameter.numel())
            parameter.copy_(torch.tensor(values).view_as(parameter))
    rows = []
    for row in torch.tensor(x):
        shaped = row.view(1, *recipe.image) if recipe.image[0] else row.unsqueeze(0)
        gradients = torch.autograd.grad(module(shaped).sum(), list(module.parameters()))
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]).numpy())
    return np.array(rows)


def twin(recipe: Kernel, dataset: Dataset, n_classes: int, subsets: np.ndarray) -> np.ndarray:
    """Return margins or predictions by one plain solve a subset."""
    mean = 0.0 if n_classes else dataset.y_train.mean()
    y = 2.0 * np.eye(n_classes)[dataset.y_train] - 1 if n_classes else (dataset.y_train - mean)[:, None]
    own = kernel_by_the_book(recipe, dataset.x_train, dataset.x_train)
    of_target = kernel_by_the_book(recipe, dataset.x_test, dataset.x_train)
    found = []
    for subset in subsets:
        rows = np.flatnonzero(subset[dataset.unit_of_row])
        alpha = np.linalg.solve(own[np.ix_(rows, rows)] + recipe.l2 * np.eye(len(rows)), y[rows])
        scores = of_target[:, rows] @ alpha + mean
        found.append(tasks.margins(scores, dataset.y_test) if n_classes else scores[:, 0])
    return np.array(found)


@ALL
@pytest.mark.parametrize("n_classes", [0, 2, 3])
@pytest.mark.parametrize("d", [1, 4, 90])
def test_any_subset_is_one_plain_solve(recipe: Kernel, n_classes: int, d: int) -> None:
    task, dataset = tasks.made(recipe, n_classes, d=d)
    subsets = awkward_subsets(40)
    found = outputs_of(task, dataset, subsets)
    np.testing.assert_allclose(found, twin(recipe, dataset, n_classes, subsets), rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("recipe", [LINEAR, RBF], ids=["linear", "rbf"])
def test_digits_scores_are_those_of_sklearns_kernel_ridge(recipe: Kernel) -> None:
    recipe = dataclasses.replace(recipe, l2=256.0 if recipe is LINEAR else 0.1, gamma=recipe.gamma / 20)
    task, dataset = tasks.digits(recipe)
    subsets = tasks.subsets_of(1000, 3)
    y = 2.0 * np.eye(10)[dataset.y_train] - 1
    gamma = recipe.gamma or None
    for subset, found in zip(subsets, outputs_of(task, dataset, subsets), strict=True):
        model = sklearn.kernel_ridge.KernelRidge(alpha=recipe.l2, kernel=recipe.kernel.value, gamma=gamma)
        scores = model.fit(dataset.x_train[subset], y[subset]).predict(dataset.x_test)
        np.testing.assert_allclose(found, tasks.margins(scores, dataset.y_test), rtol=0, atol=1e-9)


@ALL
@pytest.mark.parametrize("n_classes", [0, 3])
def test_the_empty_subset_scores_zero_or_the_mean_of_all_rows(recipe: Kernel, n_classes: int) -> None:
    task, dataset = tasks.made(recipe, n_classes)
    found = outputs_of(task, dataset, np.zeros((2, 40), dtype=bool))
    assert np.array_equal(found, np.full_like(found, 0.0 if n_classes else found[0, 0]))
    if not n_classes:
        assert found[0, 0] == pytest.approx(dataset.y_train.mean(), rel=1e-15)


@ALL
def test_a_contributor_is_all_its_rows(recipe: Kernel) -> None:
    table = tasks.table(contributors=tuple("abcdefghijk"[i * i % 11] for i in range(60)))
    data = tasks.data_of(table)
    by_row, by_who = split(table, data, UnitKind.ROW), split(table, data, UnitKind.CONTRIBUTOR)
    subsets = awkward_subsets(by_who.n_units, 6)
    few = outputs_of(tasks.task_of(data, recipe, n_units=by_who.n_units), by_who, subsets)
    rows = outputs_of(tasks.task_of(data, recipe), by_row, subsets[:, by_who.unit_of_row])
    np.testing.assert_allclose(few, rows, rtol=0, atol=1e-10)
    np.testing.assert_allclose(few, twin(recipe, by_who, 3, subsets), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("d", [3, 20, 40])
def test_a_linear_kernel_has_one_result_in_rows_and_in_weights(d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    task, dataset = tasks.made(LINEAR, d=d)
    subsets = awkward_subsets(40)
    found = []
    for in_weights in (True, False):
        monkeypatch.setattr(kernels, "_weights_are_cheaper", lambda *_, answer=in_weights: answer)
        found.append(outputs_of(task, dataset, subsets))
    assert not np.array_equal(*found)  # two routes they are
    np.testing.assert_allclose(*found, rtol=1e-9, atol=1e-9)


def test_a_linear_kernel_takes_the_route_of_less_arithmetic() -> None:
    narrow, wide = torch.zeros(100, 5), torch.zeros(100, 90)
    assert kernels._weights_are_cheaper(narrow.double(), 100, 10, 0.5)
    assert not kernels._weights_are_cheaper(wide.double(), 100, 10, 0.5)
    assert kernels._weights_are_cheaper(wide.double(), 2, 10, 1.0)  # sums of two contributors cost next to nothing
    assert not kernels._weights_are_cheaper(torch.zeros(100, 101).double(), 100, 10, 0.5)


@ALL
@pytest.mark.parametrize("d", [4, 90])
def test_outputs_do_not_depend_on_how_many_are_trained_at_once(recipe: Kernel, d: int) -> None:
    task, dataset = tasks.made(recipe, d=d)
    subsets = awkward_subsets(40, 50)
    whole = outputs_of(task, dataset, subsets)
    for batch_size in (1, 7, 50):
        found = outputs_of(task, dataset, subsets, batch_size=batch_size)
        np.testing.assert_allclose(found, whole, rtol=0, atol=1e-10)


def spd(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a kernel of n rows with its row of zeros, and right-hand sides."""
    rng = np.random.default_rng(seed)
    x, matrix, right = rng.normal(size=(n, n)), np.zeros((n + 1, n + 1)), np.zeros((n + 1, 3))
    matrix[:n, :n], right[:n] = x @ x.T, rng.normal(size=(n, 3))
    return torch.tensor(matrix), torch.tensor(right)


@pytest.mark.parametrize("block", [1, 7, 64, 300])
@pytest.mark.parametrize("tile_bytes", [1, 1 << 20, 1 << 30])
def test_submatrices_of_any_size_are_solved_by_any_blocks_and_tiles(
    block: int, tile_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submatrices, "BLOCK", block)
    monkeypatch.setattr(submatrices, "MAX_BLOCKS", 1000)
    monkeypatch.setitem(submatrices.TILE_BYTES, "cpu", tile_bytes)
    matrix, right = spd(130)
    rng = np.random.default_rng(1)
    inside = torch.tensor(rng.random((12, 130)) < np.linspace(0, 1, 12)[:, None])
    solutions, failed = submatrices.solve_submatrices(matrix, right, inside, 0.3)
    assert not failed.any()
    for subset, found in zip(inside, solutions, strict=True):
        rows = subset.nonzero().flatten()
        own = matrix[rows][:, rows] + 0.3 * torch.eye(len(rows), dtype=torch.float64)
        expected = torch.zeros_like(found)
        expected[:, rows] = torch.linalg.solve(own, right[rows]).T
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


def test_no_subset_at_all_has_no_solution() -> None:
    matrix, right = spd(5)
    solutions, failed = submatrices.solve_submatrices(matrix, right, torch.zeros(0, 5, dtype=torch.bool), 0.3)
    assert solutions.shape == (0, 3, 6)
    assert failed.shape == (0,)


def test_a_singular_subset_is_told_apart_from_its_neighbours() -> None:
    matrix, right = spd(200)
    matrix[150], matrix[:, 150] = matrix[10].clone(), matrix[10].clone()
    matrix[150, 150] = matrix[10, 10]  # rows 10 and 150 are one
    inside = torch.ones(3, 200, dtype=torch.bool)
    inside[0, 10] = inside[2, 150] = False
    solutions, failed = submatrices.solve_submatrices(matrix, right, inside, 1e-14)
    assert failed.tolist() == [False, True, False]
    assert torch.isfinite(solutions[~failed]).all()


def test_a_matrix_that_is_not_positive_definite_fails_and_its_neighbour_does_not() -> None:
    matrix, right = spd(20)
    matrix[3, 5] = matrix[5, 3] = 1e3 * matrix[3, 3]
    inside = torch.ones(2, 20, dtype=torch.bool)
    inside[1, 5] = False
    assert submatrices.solve_submatrices(matrix, right, inside, 0.3)[1].tolist() == [True, False]


@pytest.mark.parametrize(("recipe", "d"), [(LINEAR, 90), (RBF, 4), (NTK, 4)], ids=["linear", "rbf", "ntk"])
def test_a_singular_kernel_names_the_subset_and_the_remedy(recipe: Kernel, d: int) -> None:
    task, dataset = tasks.made(dataclasses.replace(recipe, l2=1e-300), d=d)
    doubled = dataclasses.replace(dataset, x_train=np.repeat(dataset.x_train[:20], 2, axis=0))
    subsets = np.zeros((3, 40), dtype=bool)
    subsets[0, ::2] = recipe is not NTK  # each row once, but that a small network's kernel has no full rank
    subsets[1, :4] = True
    with pytest.raises(TrainingError, match=r"subset 1 \(seed 0, 4 of 40 units\).*raise recipe\.l2") as caught:
        outputs_of(task, doubled, subsets)
    assert caught.value.row == 1


def test_a_kernel_too_large_to_keep_is_refused_by_its_rows_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    task, dataset = tasks.made(RBF)
    monkeypatch.setattr(kernels, "MAX_KERNEL_BYTES", 8 * 51 * 41)
    outputs_of(task, dataset, tasks.subsets_of(40, 2))
    monkeypatch.setattr(kernels, "MAX_KERNEL_BYTES", 8 * 51 * 41 - 1)
    with pytest.raises(
        TaskFileError, match=r"data\.n_train: expected .* got .* 40 training and 10 target rows.*recipe ridge"
    ):
        Trainer(task, dataset)


def test_a_linear_kernel_too_large_to_keep_is_solved_in_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    task, dataset = tasks.made(LINEAR, d=38)
    subsets = awkward_subsets(40)
    in_rows = outputs_of(task, dataset, subsets)
    monkeypatch.setattr(kernels, "MAX_KERNEL_BYTES", 0)
    found = outputs_of(task, dataset, subsets)
    assert not np.array_equal(found, in_rows)
    np.testing.assert_allclose(found, in_rows, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("[enforce fail] can't allocate memory: 9 bytes")])
def test_no_memory_for_the_kernel_is_said_so(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_left(*_: object) -> None:
        raise error

    task, dataset = tasks.made(RBF)
    monkeypatch.setattr(kernels, "_radial", nothing_left)
    with pytest.raises(TrainingError, match=r"expected memory for the kernel of 40 rows, .* GB .* found less on cpu"):
        Trainer(task, dataset)


def test_a_kernel_that_overflows_is_refused() -> None:
    task, dataset = tasks.made(dataclasses.replace(NTK, network=dataclasses.replace(MLP, widths=(9, 9, 9))))
    huge = dataclasses.replace(dataset, x_train=dataset.x_train * 1e200)
    with pytest.raises(TrainingError, match="expected finite numbers from kernel ntk"):
        Trainer(task, huge)


# --- rbf


def test_squared_distances_keep_their_digits_between_neighbours_far_from_the_origin() -> None:
    """Two clusters of rows about 1e-3 apart: |x|^2 + |z|^2 - 2<x, z> alone would lose thirteen digits in one."""
    x = np.random.default_rng(0).normal(size=(30, 4)) * 1e-3
    x[15:] += 1e4
    expected = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    found = kernels._squared_distances(torch.tensor(x), torch.tensor(x)).numpy()
    np.testing.assert_allclose(found, expected, rtol=2.0**-40, atol=0)
    assert (found.diagonal() == 0).all()


def test_rbf_does_not_mind_where_the_origin_is() -> None:
    task, dataset = tasks.made(RBF)
    sixteenths = {name: np.round(getattr(dataset, name) * 16) / 16 for name in ("x_train", "x_test")}
    near = dataclasses.replace(dataset, **sixteenths)
    far = dataclasses.replace(dataset, **{name: x + 2.0**30 for name, x in sixteenths.items()})
    subsets = tasks.subsets_of(40, 3)
    np.testing.assert_allclose(outputs_of(task, far, subsets), outputs_of(task, near, subsets), rtol=0, atol=1e-9)


def test_rbf_is_the_same_in_blocks_of_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.tensor(np.random.default_rng(0).normal(size=(20, 3)))
    whole = kernels._radial(x, 12, 0.5)
    monkeypatch.setattr(kernels, "_BLOCK_BYTES", 1)
    torch.testing.assert_close(kernels._radial(x, 12, 0.5), whole, rtol=0, atol=1e-15)
    assert (whole.diagonal() == 1).all()


# --- ntk


def test_the_tangent_kernel_of_a_linear_network_is_the_inner_product_plus_one() -> None:
    x = torch.tensor(np.random.default_rng(0).normal(size=(9, 4)))
    linear = dataclasses.replace(MLP, widths=())
    found = tangent_kernel.tangent_kernel(linear, x, 6, None)
    torch.testing.assert_close(found, x @ x[:6].T + 1, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("factory", "widths", "image"),
    [(Factory.MLP, (7, 5), (0, 0, 0)), (Factory.CNN, (3, 4), (2, 8, 8)), (Factory.RESNET9, (4,), (2, 8, 8))],
    ids=["mlp", "cnn", "resnet9"],
)
def test_the_tangent_kernel_is_of_plain_gradients_in_any_parts(
    factory: Factory, widths: tuple[int, ...], image: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Network(factory=factory, factory_digest=b"", widths=widths, image=image, seed=3)
    x = np.random.default_rng(0).normal(size=(5, 128))
    gradients = gradients_by_autograd(recipe, x)
    expected = torch.tensor(gradients @ gradients[:3].T)
    whole = tangent_kernel.tangent_kernel(recipe, torch.tensor(x), 3, None)
    torch.testing.assert_close(whole, expected, rtol=1e-12, atol=1e-12)
    monkeypatch.setattr(tangent_kernel, "GRADIENT_BYTES", gradients.nbytes // 5)
    monkeypatch.setattr(tangent_kernel, "_ROWS", 2)
    in_parts = tangent_kernel.tangent_kernel(recipe, torch.tensor(x), 3, None)
    torch.testing.assert_close(in_parts, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("most", [1, 5, 24, 25, 1000])
def test_parts_hold_every_weight_once_and_no_more_than_they_may(most: int) -> None:
    weights = {"a": torch.zeros(4, 5), "b": torch.zeros(4), "c": torch.zeros(3, 1)}
    parts = list(tangent_kernel._parts(weights, most))
    seen = [[(piece.name, k) for piece in part for k in range(piece.start, piece.stop)] for part in parts]
    assert max(len(numbers) for numbers in seen) <= most
    every = [(name, k) for name, weight in weights.items() for k in range(weight.numel())]
    assert [number for numbers in seen for number in numbers] == every


def test_the_networks_seed_decides_its_kernel_and_the_training_seed_does_not() -> None:
    task, dataset = tasks.made(NTK)
    subsets = tasks.subsets_of(40, 3)
    trainer = Trainer(task, dataset)
    first = trainer.raw_outputs(subsets, np.zeros(3, dtype=np.int64))
    assert np.array_equal(trainer.raw_outputs(subsets, np.arange(3)), first)
    other = dataclasses.replace(NTK, network=dataclasses.replace(MLP, seed=12))
    assert not np.allclose(outputs_of(dataclasses.replace(task, recipe=other), dataset, subsets), first)


def own_network(body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Kernel, networks.OwnFactory]:
    """Return a recipe whose network is the user's own, and where it is."""
    name = f"own_{digest('test', body).hex()[:8]}"
    (tmp_path / f"{name}.py").write_text("from torch import nn\n\ndef make(shape, n_outputs, widths):\n    " + body)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    own = networks.own_factory(f"{name}:make")
    custom = Network(factory=Factory.CUSTOM, factory_digest=own.digest, widths=(), image=(0, 0, 0), seed=0)
    return dataclasses.replace(NTK, network=custom), own


def test_a_network_of_the_users_own_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, own = own_network("return nn.Linear(shape[0], n_outputs)", tmp_path, monkeypatch)
    task, dataset = tasks.made(recipe)
    subsets = tasks.subsets_of(40, 3)
    built_in = dataclasses.replace(NTK, network=dataclasses.replace(MLP, widths=()))
    expected = twin(built_in, dataset, 3, subsets)
    np.testing.assert_allclose(outputs_of(task, dataset, subsets, factory=own), expected, rtol=1e-9, atol=1e-8)
    with pytest.raises(ArgumentError, match="expected --factory"):
        Trainer(task, dataset)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return nn.Sequential(nn.BatchNorm1d(shape[0]), nn.Linear(shape[0], 1))", "use GroupNorm"),
        ("return nn.Sequential(nn.Linear(shape[0], 1), nn.Dropout(0.5))", "set its p to 0"),
        ("return nn.Linear(shape[0], 2)", r"expected one output for one row, got shape \(1, 2\)"),
    ],
    ids=["batch-norm", "dropout", "two-outputs"],
)
def test_a_network_with_no_tangent_kernel_is_refused(
    body: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, own = own_network(body, tmp_path, monkeypatch)
    with pytest.raises(TrainingError, match=message):
        Trainer(*tasks.made(recipe), factory=own)


@pytest.mark.gpu
@ALL
def test_a_gpu_gives_the_processors_outputs(recipe: Kernel) -> None:
    task, dataset = tasks.made(recipe, d=90)
    subsets = awkward_subsets(40, 64)
    on_cpu = outputs_of(task, dataset, subsets)
    np.testing.assert_allclose(outputs_of(task, dataset, subsets, device="cuda"), on_cpu, rtol=1e-9, atol=1e-9)


@pytest.mark.gpu
def test_a_gpu_solves_many_blocks_as_the_processor_does() -> None:
    task, dataset = tasks.digits(dataclasses.replace(RBF, gamma=1e-3))
    subsets = tasks.subsets_of(1000, 40)
    on_cpu = outputs_of(task, dataset, subsets)
    np.testing.assert_allclose(outputs_of(task, dataset, subsets, device="cuda"), on_cpu, rtol=0, atol=1e-9)


def test_the_memory_that_a_subset_takes_is_what_is_said() -> None:
    task, dataset = tasks.digits(dataclasses.replace(RBF, gamma=1e-3))
    solver = Trainer(task, dataset)._solver
    n, c, q = 1000, 10, 200
    arrays = n + 8 * n + 8 * c * (n + 1) + 2 * 8 * q * c  # inside, its row numbers, weights, scores twice
    assert arrays <= solver.bytes_per_subset <= 2 * arrays
