"""From the options of ``prover init --recipe kernel`` to a task that predicts well, and an engine that trains it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.svm import SVC

from protocol import taskfile
from protocol.errors import ArgumentError, TaskFileError
from protocol.game.sampling import Draw, pairs, seed_from_integer
from protocol.recipes import Factory, Kernel, KernelKind
from protocol.task import Task
from protocol.training import Dataset, Trainer
from prover import calibration, pilot
from prover.config import Choices, draft, settled
from prover.engines.local import prepare
from prover.kernel_choices import KernelChoices
from prover.network_choices import NetworkChoices

RBF = Choices(data="sklearn:digits", recipe="kernel")
KINDS = list(KernelKind)


def choices(kind: KernelKind, data: str = "sklearn:wine", **said: object) -> Choices:
    return replace(RBF, data=data, kernel=KernelChoices(kernel=kind, **said))  # type: ignore[arg-type]


def recipe_of(task: Task) -> Kernel:
    assert isinstance(task.recipe, Kernel)
    return task.recipe


def of_half_the_units(task: Task, dataset: Dataset) -> np.ndarray:
    """The targets of the model of one half of the units."""
    subset = np.random.default_rng(0).random((1, task.n_units)) < 0.5
    return Trainer(task, dataset).raw_outputs(subset, np.zeros(1, dtype=np.int64))[0]


def test_the_default_is_an_rbf_as_wide_as_scikit_learns() -> None:
    task, dataset = draft(RBF)
    recipe = recipe_of(task)
    theirs = SVC(gamma="scale").fit(dataset.x_train, dataset.y_train)._gamma
    assert recipe.gamma == pytest.approx(theirs, rel=5e-3)
    assert (recipe.kernel, recipe.l2, recipe.network) == (KernelKind.RBF, 1.0, None)


def test_a_default_penalty_is_what_a_row_says_of_itself() -> None:
    task, dataset = draft(choices(KernelKind.LINEAR))
    assert recipe_of(task).l2 == pytest.approx(np.square(dataset.x_train[:100]).sum(axis=1).mean(), rel=5e-3)
    assert recipe_of(draft(replace(choices(KernelKind.LINEAR), l2=7.0))[0]).l2 == 7.0


def test_a_tangent_kernel_has_the_network_that_is_named() -> None:
    said = replace(choices(KernelKind.NTK, network_seed=5), network=NetworkChoices(widths="8,4"))
    recipe = recipe_of(draft(said)[0])
    assert recipe.network is not None
    assert (recipe.network.factory, recipe.network.widths, recipe.network.seed) == (Factory.MLP, (8, 4), 5)
    assert recipe.l2 > 1
    assert recipe_of(draft(choices(KernelKind.NTK))[0]).network.widths == (256,)  # type: ignore[union-attr]


@pytest.mark.parametrize(("kind", "least"), [(KernelKind.LINEAR, 0.9), (KernelKind.RBF, 0.95), (KernelKind.NTK, 0.93)])
def test_defaults_tell_digits_apart(kind: KernelKind, least: float) -> None:
    task, dataset = draft(choices(kind, "sklearn:digits"))
    assert (of_half_the_units(task, dataset) > 0).mean() >= least, "share of 200 margins above 0"


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_explain_a_regression(kind: KernelKind) -> None:
    task, dataset = draft(choices(kind, "sklearn:diabetes"))
    predicted, true = of_half_the_units(task, dataset), dataset.y_test[list(task.targets.rows)]
    assert 1 - np.square(predicted - true).mean() / true.var() > 0.35


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        (choices(KernelKind.RBF, gamma=0.0), TaskFileError, "recipe.gamma: expected a number above 0"),
        (choices(KernelKind.LINEAR, gamma=1.0), TaskFileError, "recipe.gamma: expected 0 with kernel linear, got 1.0"),
        (replace(RBF, l2=-1.0), TaskFileError, "recipe.l2: expected a number above 0"),
        (replace(RBF, exact=True), TaskFileError, "numerics.profile: expected tolerance with recipe kernel, got exact"),
        (
            replace(choices(KernelKind.NTK), network=NetworkChoices(factory="vgg")),
            ArgumentError,
            "--factory: expected mlp, cnn, resnet9 or package.module:function",
        ),
    ],
)
def test_options_that_make_no_kernel_are_refused(said: Choices, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        draft(said)
    assert "\n" not in str(caught.value)


SOURCE = """
from torch import nn

def make(shape, n_outputs, widths):
    return nn.Sequential(nn.Linear(shape[0], 16), nn.Tanh(), nn.Linear(16, n_outputs))
"""


def test_a_tangent_kernel_of_the_users_own_goes_from_init_to_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_tangent_network.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(pilot, "N_PILOT", 40)
    monkeypatch.setattr(calibration, "N_REPEATED", 8)
    own = "own_tangent_network:make"
    task, dataset = draft(replace(choices(KernelKind.NTK), network=NetworkChoices(factory=own), n_targets=5))
    proposal = pilot.propose(task, dataset, factory=NetworkChoices(factory=own).own)
    assert 0 < proposal.tolerance < 1e-6
    task = taskfile.parse(taskfile.render(settled(task, lo=proposal.lo, hi=proposal.hi, tolerance=proposal.tolerance)))
    outputs: list[np.ndarray] = []
    draw = Draw(seed=seed_from_integer("test", 1), design=pairs(4))
    prepare(task, data=None, factory=own).run(
        draw, np.arange(8, dtype=np.int64), lambda done: outputs.append(done.outputs)
    )
    assert np.concatenate(outputs).shape == (8, 5)
    with pytest.raises(ArgumentError, match="expected --factory"):
        prepare(task, data=None)
