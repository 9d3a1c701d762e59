"""What ``prover init`` takes for a target where the user does not say."""

from __future__ import annotations

import pytest

from protocol.task import TargetKind
from prover.config import Choices, draft
from prover.estimator_choices import EstimatorChoices


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
