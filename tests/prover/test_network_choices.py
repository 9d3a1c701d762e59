"""From the options of ``prover init --recipe sgd`` to a task, a pilot on it, and an engine that trains it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocol import taskfile
from protocol.errors import ArgumentError, TaskFileError
from protocol.game.sampling import Draw, pairs, seed_from_integer
from protocol.numerics import Exact
from protocol.recipes import Factory, Loss, Optimiser, Sgd
from protocol.task import ConstantColumns, Scaling, TargetKind, Task
from prover import calibration, pilot
from prover.config import Choices, draft, settled
from prover.engines.local import prepare
from prover.network_choices import NetworkChoices

SOURCE = "from torch import nn\ndef make(shape, n_outputs, widths):\n    return nn.Linear(shape[0], n_outputs)\n"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"own_network_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield f"{name}:make"
    sys.modules.pop(name, None)


def test_defaults_are_a_small_perceptron_on_scaled_features() -> None:
    task, _ = draft(Choices(data="sklearn:digits", recipe="sgd"))
    recipe = task.recipe
    assert isinstance(recipe, Sgd)
    assert (recipe.factory, recipe.widths, recipe.loss) == (Factory.MLP, (32,), Loss.CROSS_ENTROPY)
    assert (recipe.optimiser, recipe.learning_rate, recipe.momentum) == (Optimiser.MOMENTUM, 0.02, 0.9)
    assert task.data.scaling is Scaling.STANDARD


def test_a_regression_is_squared_and_adamw_has_its_own_numbers() -> None:
    network = NetworkChoices(optimiser=Optimiser.ADAMW, widths="8,4")
    recipe = draft(Choices(data="sklearn:diabetes", recipe="sgd", network=network))[0].recipe
    assert isinstance(recipe, Sgd)
    assert (recipe.loss, recipe.widths) == (Loss.SQUARED, (8, 4))
    assert (recipe.learning_rate, recipe.momentum, recipe.beta1) == (0.001, 0.0, 0.9)


@pytest.mark.parametrize(
    ("network", "error", "message"),
    [
        (NetworkChoices(factory="vgg"), ArgumentError, "--factory: expected mlp, cnn, resnet9 or package.module:func"),
        (NetworkChoices(factory="custom"), ArgumentError, "--factory: expected mlp, cnn, resnet9 or package.module"),
        (NetworkChoices(widths="a"), ArgumentError, "--widths: expected whole numbers with commas between, got 'a'"),
        (NetworkChoices(image="8,8"), ArgumentError, "--image: expected channels,height,width, got 8,8"),
        (NetworkChoices(factory="cnn"), TaskFileError, "recipe.image: expected channels, height and width for a cnn"),
        (NetworkChoices(learning_rate=0.0), TaskFileError, "recipe.learning_rate: expected a number above 0"),
        (NetworkChoices(factory="nowhere.at.all:make"), ArgumentError, "factory nowhere.at.all:make: expected"),
    ],
)
def test_options_that_cannot_be_trained_with_are_refused(
    network: NetworkChoices, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        draft(Choices(data="sklearn:iris", recipe="sgd", network=network))
    assert "\n" not in str(caught.value)


def test_a_network_of_the_users_own_goes_from_init_to_training(own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pilot, "N_PILOT", 40)
    network = NetworkChoices(factory=own, epochs=2)
    task, dataset = draft(Choices(data="sklearn:iris", recipe="sgd", network=network, kind=TargetKind.LOSS))
    proposal = pilot.propose(task, dataset, factory=network.own)
    task = taskfile.parse(taskfile.render(settled(task, lo=proposal.lo, hi=proposal.hi, tolerance=proposal.tolerance)))
    draw = Draw(seed=seed_from_integer("test", 1), design=pairs(4))
    outputs: list[np.ndarray] = []
    evaluations = np.arange(8, dtype=np.int64)
    prepare(task, data=None, factory=own).run(draw, evaluations, lambda done: outputs.append(done.outputs))
    assert np.concatenate(outputs).shape == (8, task.n_targets)
    with pytest.raises(ArgumentError, match="expected --factory"):
        prepare(task, data=None)


def test_the_pilot_of_an_sgd_covers_other_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pilot, "N_PILOT", 40)
    monkeypatch.setattr(calibration, "N_REPEATED", 8)
    task, dataset = draft(Choices(data="sklearn:iris", recipe="sgd", n_targets=10, network=NetworkChoices(epochs=5)))
    proposal = pilot.propose(task, dataset)
    assert proposal.n_constant == 0
    assert 0 < proposal.tolerance < 0.01 * float(np.median(proposal.hi - proposal.lo))
    assert proposal.tolerance >= 10 * proposal.difference > 0


def test_an_exact_task_is_scaled_by_ranges_and_has_no_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pilot, "N_PILOT", 40)
    choices = Choices(data="sklearn:iris", recipe="sgd", n_targets=10, exact=True, network=NetworkChoices(epochs=5))
    task, dataset = draft(choices)
    assert (task.data.scaling, task.numerics) == (Scaling.RANGE, Exact())
    assert isinstance(task.recipe, Sgd)
    assert task.recipe.loss is Loss.SQUARED_HINGE
    proposal = pilot.propose(task, dataset)
    assert (proposal.difference, proposal.tolerance) == (0.0, 0.0)
    done = settled(task, lo=proposal.lo, hi=proposal.hi, tolerance=proposal.tolerance)
    assert done.numerics == Exact()
    assert taskfile.parse(taskfile.render(done)) == done


def test_an_exact_cnn_keeps_every_pixel_and_has_as_many_bits_as_are_proved_to_fit() -> None:
    def drafted(**changes: Any) -> Task:
        network = NetworkChoices(factory="cnn", image="1,8,8", **changes)
        return draft(Choices(data="sklearn:digits", recipe="sgd", n_targets=10, exact=True, network=network))[0]

    task = drafted()
    assert (task.data.constant_columns, task.numerics) == (ConstantColumns.KEEP, Exact())
    assert isinstance(task.recipe, Sgd)
    assert task.recipe.learning_rate == 0.02
    assert taskfile.parse(taskfile.render(task)) == task
    assert drafted(widths="16,256").numerics == Exact(gradient_bits=21)
    with pytest.raises(TaskFileError, match=r"\(a smaller recipe.batch_size or recipe.momentum\), got 53.* of layer 1"):
        drafted(batch_size=110)


def test_ridge_has_no_exact_form() -> None:
    with pytest.raises(TaskFileError, match=r"numerics\.profile: expected tolerance with recipe ridge, got exact"):
        draft(Choices(data="sklearn:iris", exact=True))
