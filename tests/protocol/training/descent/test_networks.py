"""Which networks are trained: ours by name, the user's by the digest of its source, and none that mixes rows."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from protocol.errors import ArgumentError, TaskFileError, TrainingError
from protocol.recipes import Factory, digest_of_factory
from protocol.training import Trainer
from protocol.training.descent.networks import cnn, mlp, network, own_factory, resnet9
from tests.protocol.training import tasks
from tests.protocol.training.descent.test_sgd import CNN, MLP, RESNET9, world

SOURCE = """
from torch import nn
IMPORTED = True
def make(shape, n_outputs, widths):
    return nn.Sequential(nn.Linear(shape[0], widths[0]), nn.ReLU(), nn.Linear(widths[0], n_outputs))
def dropping(shape, n_outputs, widths):
    return nn.Sequential(nn.Linear(shape[0], n_outputs), nn.Dropout(0.5))
def kept(shape, n_outputs, widths):
    return nn.Sequential(nn.Linear(shape[0], n_outputs), nn.Dropout(0.0))
def mixing(shape, n_outputs, widths):
    return nn.Sequential(nn.Linear(shape[0], n_outputs), nn.BatchNorm1d(n_outputs))
def normed(shape, n_outputs, widths):
    return nn.Sequential(nn.Linear(shape[0], 6), nn.LayerNorm(6), nn.Linear(6, n_outputs))
def recurrent(shape, n_outputs, widths):
    return nn.Sequential(nn.GRU(shape[0], n_outputs))
def number(shape, n_outputs, widths):
    return 7
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"networks_of_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


def custom(path: str) -> tuple:
    own = own_factory(path)
    return dataclasses.replace(MLP, factory=Factory.CUSTOM, factory_digest=own.digest), own


def test_the_shapes_of_our_networks() -> None:
    x = torch.zeros(2, 3, 8, 16)
    assert mlp((3, 8, 16), 5, (7, 6))(x).shape == (2, 5)
    assert mlp((4,), 5, ())(torch.zeros(2, 4)).shape == (2, 5)
    assert cnn((3, 8, 16), 5, (4, 6, 8, 8, 8, 8))(x).shape == (2, 5)
    assert resnet9((3, 8, 16), 5, (8,))(x).shape == (2, 5)
    sizes = [parameter.numel() for parameter in resnet9((3, 32, 32), 10, (64,)).parameters()]
    assert sum(sizes) == 3 * 64 * 9 + (64 * 128 + 2 * 128**2 + 128 * 256 + 256**2 + 2 * 256**2) * 9 + 10 * 257 + 2 * (
        64 + 3 * 128 + 4 * 256
    )


@pytest.mark.parametrize("recipe", [MLP, CNN, RESNET9], ids=["mlp", "cnn", "resnet9"])
def test_no_layer_of_ours_mixes_rows(recipe) -> None:
    d = int(np.prod(recipe.image)) or 5
    model = network(recipe, d, 3, None)
    rows = torch.randn(4, d)
    shaped = rows.view(4, *recipe.image) if recipe.is_image else rows
    torch.testing.assert_close(model(shaped)[:1], model(shaped[:1]))


def test_a_network_of_the_users_own_trains_like_ours_of_the_same_layers(module: str) -> None:
    recipe, own = custom(f"{module}:make")
    task, dataset = world(recipe)
    subsets, seeds = tasks.subsets_of(40, 5), np.arange(5)
    theirs = Trainer(task, dataset, factory=own).raw_outputs(subsets, seeds)
    ours = Trainer(dataclasses.replace(task, recipe=MLP), dataset).raw_outputs(subsets, seeds)
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-4)


def test_a_source_of_another_digest_is_refused_and_never_imported(module: str) -> None:
    recipe, own = custom(f"{module}:make")
    other = dataclasses.replace(recipe, factory_digest=digest_of_factory(b"another", "make"))
    with pytest.raises(
        ArgumentError, match=r"expected source of digest [0-9a-f]{16}, file and function, got [0-9a-f]{16}"
    ):
        network(other, 5, 3, own)
    assert module not in sys.modules
    network(recipe, 5, 3, own)
    assert module in sys.modules


def test_another_function_of_the_same_file_is_refused_and_never_imported(module: str) -> None:
    recipe, _ = custom(f"{module}:make")
    with pytest.raises(ArgumentError, match="expected source of digest"):
        network(recipe, 5, 3, own_factory(f"{module}:normed"))
    assert module not in sys.modules


def test_a_custom_recipe_needs_the_users_own_word_for_where_it_is(module: str) -> None:
    recipe, _ = custom(f"{module}:make")
    with pytest.raises(ArgumentError, match=r"factory: expected --factory package.module:function, the one of digest"):
        network(recipe, 5, 3, None)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere", "expected package.module:function"),
        (":make", "expected package.module:function"),
        ("no_such_module_anywhere:make", "expected a module with a source file, found none"),
        ("no_such.module_anywhere:make", "expected a module with a source file, found none"),
        ("protocol.no_such_module:make", "expected a module with a source file, found none"),
        ("protocol.errors.below:make", "expected a module with a source file, found none"),
        ("..relative:make", "expected package.module:function"),
        ("sys:exit", "expected a module with a source file, found none"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(path: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message) as caught:
        own_factory(path)
    assert "\n" not in str(caught.value)


def test_a_function_that_is_not_there_is_one_line(module: str) -> None:
    recipe, own = custom(f"{module}:nothing")
    with pytest.raises(ArgumentError, match="expected it to import, got AttributeError"):
        network(recipe, 5, 3, own)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("dropping", "layer 1: expected no Dropout, which draws at random; set its p to 0 and use recipe.weight_decay"),
        ("mixing", "layer 1: expected no BatchNorm1d, which mixes the rows of a batch; use GroupNorm or LayerNorm"),
        ("recurrent", "layer 0: expected layers that torch.func can stack, got GRU"),
        ("number", "factory .*: expected a torch.nn.Module, got int"),
    ],
)
def test_a_network_that_cannot_be_proved_is_refused(module: str, function: str, message: str) -> None:
    recipe, own = custom(f"{module}:{function}")
    with pytest.raises(TrainingError, match="^" + message):
        network(recipe, 5, 3, own)


@pytest.mark.parametrize("function", ["kept", "normed"])
def test_dropout_of_nothing_and_norms_of_a_row_are_allowed(module: str, function: str) -> None:
    recipe, own = custom(f"{module}:{function}")
    task, dataset = world(recipe)
    outputs = Trainer(task, dataset, factory=own).raw_outputs(tasks.subsets_of(40, 2), np.zeros(2, dtype=np.int64))
    assert np.isfinite(outputs).all()


def test_instance_norm_with_running_statistics_is_refused() -> None:
    from protocol.training.descent.networks import _refuse

    _refuse("0", nn.InstanceNorm2d(3))
    with pytest.raises(TrainingError, match="expected no InstanceNorm2d"):
        _refuse("0", nn.InstanceNorm2d(3, track_running_stats=True))


@pytest.mark.parametrize(
    ("recipe", "widths"),
    [(MLP, (65536, 65536)), (CNN, (65536, 65536)), (RESNET9, (65536,))],
    ids=["mlp", "cnn", "resnet9"],
)
def test_a_network_of_tens_of_gigabytes_is_refused_before_it_is_built(recipe, widths: tuple[int, ...]) -> None:
    huge = dataclasses.replace(recipe, widths=widths)
    n_features = int(np.prod(recipe.image)) or 5
    with pytest.raises(
        TaskFileError, match=r"^recipe\.widths: expected a network of at most 268435456 weights, got \d{10,} "
    ):
        network(huge, n_features, 10, None)
