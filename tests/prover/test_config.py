"""What ``prover init`` takes for a target where the user does not say, and what it does not take from the user."""

from __future__ import annotations

import pytest

from protocol.errors import ArgumentError
from protocol.recipes import Kernel, KernelKind
from protocol.task import SeedPolicy, TargetKind
from prover.config import Choices, draft
from prover.estimator_choices import EstimatorChoices
from prover.kernel_choices import KernelChoices
from prover.network_choices import NetworkChoices


@pytest.mark.parametrize(
    ("data", "recipe", "estimator", "kind"),
    [
        ("wine", "ridge", "", TargetKind.MARGIN),
        ("wine", "logistic", "", TargetKind.MARGIN),
        ("diabetes", "kernel", "", TargetKind.PREDICTION),
        ("wine", "sklearn", "SVC()", TargetKind.MARGIN),
        ("wine", "sklearn", "RandomForestClassifier()", TargetKind.PROBABILITY),
        ("diabetes", "sklearn", "DecisionTreeRegressor()", TargetKind.PREDICTION),
    ],
)
def test_a_target_is_what_leaps_least(data: str, recipe: str, estimator: str, kind: TargetKind) -> None:
    choices = Choices(data=f"sklearn:{data}", recipe=recipe, estimator=EstimatorChoices(estimator=estimator))
    assert draft(choices)[0].targets.kind is kind


def test_the_user_may_ask_for_another_target() -> None:
    forest = EstimatorChoices(estimator="RandomForestClassifier()")
    choices = Choices(data="sklearn:wine", recipe="sklearn", estimator=forest, kind=TargetKind.MARGIN)
    assert draft(choices)[0].targets.kind is TargetKind.MARGIN


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (
            Choices(data="sklearn:wine", estimator=EstimatorChoices(estimator="SVC()")),
            "--estimator: .* use --recipe sklearn",
        ),
        (Choices(data="sklearn:wine", kernel=KernelChoices(kernel=KernelKind.NTK)), "--kernel: .* got ntk; .* kernel"),
        (Choices(data="sklearn:wine", network=NetworkChoices(batch_size=7)), "--batch-size: .* --recipe ridge, .* 7"),
        (Choices(data="sklearn:wine", recipe="kernel", network=NetworkChoices(widths="9")), "--widths: .* got 9"),
        (
            Choices(
                data="sklearn:wine",
                recipe="kernel",
                kernel=KernelChoices(kernel=KernelKind.NTK),
                network=NetworkChoices(epochs=3),
            ),
            "--epochs: expected none with --recipe kernel",
        ),
        (Choices(data="sklearn:wine", recipe="sgd", l2=0.1), "--l2: .* got 0.1; use --weight-decay"),
        (Choices(data="sklearn:wine", gradient_tolerance=0.5), "--gradient-tolerance: .* 0.5; .* --recipe logistic"),
        (
            Choices(data="sklearn:wine", recipe="kernel", kernel=KernelChoices(network_seed=9)),
            "--network-seed: expected none with --kernel rbf, .* got 9; .* use --kernel ntk",
        ),
        (
            Choices(data="sklearn:wine", seed_policy=SeedPolicy.PER_SUBSET, seed=7),
            "--seed: expected none with --seed-policy per-subset, .* got 7; .* use --seed-policy shared",
        ),
    ],
)
def test_an_option_that_the_recipe_does_not_read_is_refused(choices: Choices, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        draft(choices)


def test_an_option_that_is_typed_at_its_default_is_refused_as_well() -> None:
    with pytest.raises(ArgumentError, match=r"--epochs: expected none with --recipe ridge, .* got 20; .* --recipe sgd"):
        draft(Choices(data="sklearn:wine"), given={"data", "epochs"})


def test_a_tangent_kernel_reads_its_network() -> None:
    kernel, network = KernelChoices(kernel=KernelKind.NTK), NetworkChoices(widths="9")
    task, _ = draft(Choices(data="sklearn:wine", recipe="kernel", kernel=kernel, network=network))
    assert isinstance(task.recipe, Kernel)
    assert task.recipe.network is not None
    assert task.recipe.network.widths == (9,)
